"""VeRA: vectors between random projections that all matrices share."""
