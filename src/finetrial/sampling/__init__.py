"""Sampling: the same prompts and random numbers for every arm."""
