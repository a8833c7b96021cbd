"""A model or adapter that was tuned elsewhere."""
