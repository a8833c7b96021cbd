"""List the renderers that write a file of the report, and load those that installed packages add.

A new form of the report is one file in `render/` and one row here. Installed packages add theirs through the
entry-point group `finetrial.renderers`. The terminal's form is printed; results.json and numbers.csv hold numbers.
All these stand beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

from finetrial.installed import installed
from finetrial.reporting.document import Document
from finetrial.reporting.render.comma_separated import render_tables_csv
from finetrial.reporting.render.html import render_html
from finetrial.reporting.render.latex import render_article, render_tables
from finetrial.reporting.render.markdown import render_markdown

GROUP = "finetrial.renderers"
NUMBERS = "numbers.csv"  # written from results.json, whose numbers are not in the document
RESERVED = ("results.json", NUMBERS, "figures")


@dataclass(frozen=True, slots=True)
class Renderer:
    """What turns a document into the text of one file of the report."""

    file: str
    render: Callable[[Document], str]

    def __post_init__(self) -> None:
        """Raises ValueError where the file would not stand in the report's folder, or is a form of results.json."""
        if "/" in self.file or "\\" in self.file or self.file in ("", ".", "..", *RESERVED):
            raise ValueError(f"not the name of a file that a renderer may write: {self.file!r}")


HTML = Renderer("index.html", render_html)
MARKDOWN = Renderer("report.md", render_markdown)
TABLES = Renderer("tables.tex", render_tables)
ARTICLE = Renderer("report.tex", render_article)
TABLES_CSV = Renderer("tables.csv", render_tables_csv)

RENDERERS = (HTML, MARKDOWN, TABLES, ARTICLE, TABLES_CSV)


def _is_renderer(value: object) -> TypeGuard[Renderer]:
    return isinstance(value, Renderer)


def renderers() -> tuple[Renderer, ...]:
    """RENDERERS, then those of installed packages. Raises UserError where one of these cannot be used."""
    taken = [renderer.file for renderer in RENDERERS]
    added = installed(GROUP, noun="renderer", is_one=_is_renderer, name=lambda one: one.file, taken=taken)
    return (*RENDERERS, *(row.value for row in added))
