"""The model with examples, a template or a text of its own in the prompt."""
