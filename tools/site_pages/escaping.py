"""Keep plain text plain in Markdown."""

from __future__ import annotations

import re


def escaped(text: str) -> str:
    """The text with the marks that Markdown would read taken for what they are; code in backticks stays."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else _plain(part) for part in parts)


def code_cell(text: str) -> str:
    """Code for a table's cell: a bar within backticks would end the cell, and escaped it shows its backslash."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;").replace("*", "&#42;")
    return f"<code>{safe.replace('_', '&#95;')}</code>"


def _plain(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*").replace("[", "\\[").replace("{{", "{ {")
