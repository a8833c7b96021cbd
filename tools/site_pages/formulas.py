"""Set formulas as MathML, which browsers show without a script.

A formula stands between `$$` on lines of their own; a derivation is a block `math` with LaTeX's `aligned`, as
reports write it.
"""

from __future__ import annotations

import re

from finetrial.reporting.document import Formula
from finetrial.reporting.render.mathml import mathml

_DISPLAY = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.M | re.S)
_ALIGNED = re.compile(r"^```math\n\\begin\{aligned\}\n(.+?)\n\\end\{aligned\}\n```$", re.M | re.S)


def with_formulas(markdown: str) -> str:
    """The page with its formulas set. Raises ValueError for LaTeX that is not read."""
    one = _DISPLAY.sub(lambda found: _block(_set(found[1])), markdown)
    return _ALIGNED.sub(lambda found: _block(_steps(found[1])), one)


def _set(latex: str) -> str:
    return mathml(Formula(text=latex, latex=latex))


def _steps(latex: str) -> str:
    """Lines `left &= right`, the equality signs below one another."""
    rows = []
    for line in re.split(r"\\\\\s*\n", latex):
        left, mark, right = line.partition("&=")
        if not mark:
            raise ValueError(f"a step without &=: {line!r}")
        first = _set(left) if left.strip() else ""
        rows.append(f"<mtr><mtd>{first}</mtd><mtd><mo>=</mo>{_set(right)}</mtd></mtr>")
    return f'<mtable columnalign="right left" displaystyle="true">{"".join(rows)}</mtable>'


def _block(inner: str) -> str:
    return f'<div class="formula"><math display="block">{inner}</math></div>'
