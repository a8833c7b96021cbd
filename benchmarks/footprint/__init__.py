"""Planned beside measured: memory and time of training steps, each in a fresh process."""
