"""Full tuning: every parameter, or some matrices."""
