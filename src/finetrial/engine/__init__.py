"""How are models loaded, tuned, measured and sampled? The only room that imports torch and transformers."""
