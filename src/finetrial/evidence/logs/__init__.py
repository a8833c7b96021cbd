"""The logs of other evaluation tools, read as outputs: one module a format, listed in `log_table`."""
