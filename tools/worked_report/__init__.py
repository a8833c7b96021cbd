"""The worked report: exercises in scaling and storage and comparisons of real trials, as one document."""
