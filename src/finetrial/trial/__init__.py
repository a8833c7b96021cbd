"""What was declared? The trial file, the data it names, and the gate both must pass."""
