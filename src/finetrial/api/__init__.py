"""The Python API: what `import finetrial` offers, and what the command line calls."""
