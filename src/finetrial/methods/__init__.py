"""How an arm gets its answers: one folder a method, a pure half in each, and a torch half where it trains.

`trial/`, `evidence/`, `reporting/` and the command line see the pure halves alone, by way of `method_table`.
"""
