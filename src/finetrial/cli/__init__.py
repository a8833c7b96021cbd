"""Thin commands: parse, call, print. A command's code is imported when it runs."""
