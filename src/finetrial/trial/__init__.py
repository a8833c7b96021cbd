"""What is declared: the trial file, the data it names, and the gate that both must pass."""
