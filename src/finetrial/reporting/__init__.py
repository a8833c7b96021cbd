"""What does a reader see of a trial? Figures, HTML, Markdown and LaTeX from its records; needs no model.

`reporting.write.write_report` writes them all; `reporting.terminal.score_table` is the short form for a terminal.
"""
