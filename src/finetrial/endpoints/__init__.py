"""Servers that speak OpenAI's completions: how they are named, asked and paid. Judges and arms use them."""
