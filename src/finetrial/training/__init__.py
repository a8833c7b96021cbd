"""Tuning: the loop, gradients, the optimizer, checkpoints; pretraining goes through the same loop."""
