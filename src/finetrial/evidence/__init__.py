"""What do the records of a trial say? Records in, scores and comparisons out; needs no model."""
