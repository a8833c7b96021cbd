"""IA3: vectors that scale what projections give and what the MLP reads."""
