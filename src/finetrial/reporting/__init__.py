"""The report of a trial: one document made from its records, rendered in every form; needs no model.

`reporting.write.write_report` writes them all; `reporting.terminal.score_table` is the short form for a terminal.
"""
