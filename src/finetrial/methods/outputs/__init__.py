"""Answers that stand in a file."""
