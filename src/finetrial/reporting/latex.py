"""Write a report's tables in LaTeX with booktabs, to be included in a paper as they are."""

from __future__ import annotations

import re

from finetrial import __version__
from finetrial.reporting import tables
from finetrial.reporting.grading import said_title
from finetrial.reporting.results import Results
from finetrial.reporting.serving import serving_table
from finetrial.reporting.tables import Table
from finetrial.reporting.text import latex

_POWER = re.compile(r"10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def _number(text: str) -> str:
    """A number as TeX writes it, powers of ten included."""
    return _POWER.sub(lambda match: f"$10^{{{match[1].translate(_DIGITS)}}}$", latex(text))


def _table(table: Table, *, first: str, name: str, caption: str, against: bool = False) -> str:
    lines = [
        r"\begin{table}",
        r"  \centering\small",
        f"  \\caption{{{latex(caption)} {latex(table.note)}}}",
        f"  \\label{{tab:{name}}}",
        f"  \\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"    \toprule",
        "    " + " & ".join([first, *(latex(column) for column in table.columns)]) + r" \\",
        r"    \midrule",
    ]
    for row in table.rows:
        cells = [latex(f"{row.arm} against {row.about}" if against else row.arm)]
        for cell in row.cells:
            text = f"\\textbf{{{_number(cell.text)}}}" if cell.best else _number(cell.text)
            cells.append(text + (f" ({_number('; '.join(cell.lines))})" if cell.lines else ""))
        lines.append("    " + " & ".join(cells) + r" \\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"])


def render_latex(results: Results) -> str:
    """tables.tex. Needs \\usepackage{booktabs}."""
    made = [
        (tables.score_table(results), "Arm", "scores", f"{results.title}: scores."),
        (tables.cost_table(results), "Arm", "costs", f"{results.title}: what the arms cost."),
        (serving_table(results), "Arm", "serving", f"{results.title}: what a request takes."),
        (tables.pair_table(results), "Pair", "pairs", f"{results.title}: arm against arm."),
        (tables.good_table(results), "Arm", "good", f"{results.title}: {said_title(results).lower()}."),
    ]
    head = f"% Written by finetrial {__version__}; needs \\usepackage{{booktabs}}."
    bodies = [
        _table(table, first=first, name=name, caption=caption, against=first == "Pair")
        for table, first, name, caption in made
        if table.rows and table.columns
    ]
    return "\n\n".join([head, *bodies]) + "\n"
