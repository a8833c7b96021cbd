"""Aim a document's links at the site: documents stand where they are read on their own, beside the code.

A link to a file that the site has becomes a link to its place there, one to a folder a link to its README, and one
to anything else of the project its text alone. Links to other hosts stay; what no file answers is left for mkdocs
to refuse.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What stands outside docs/ and has a page of its own.
BESIDE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "README.md": "index.md"}
# A page that loads nothing would be written over by the Markdown of the same name.
RENAMED = {"docs/worked-report/worked-report.html": "worked-report/page.html"}
EXAMPLES = (".md", ".yaml", ".csv", ".json", ".jsonl", ".ipynb", ".py")
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s:]+?)(#[^)\s]*)?\)")


def site_place(path: Path) -> str | None:
    """Where a file of the project stands in the site; None where it does not."""
    name = path.relative_to(ROOT).as_posix()
    if name in RENAMED:
        return RENAMED[name]
    if name in BESIDE:
        return BESIDE[name]
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    return name if name.startswith("examples/") and path.suffix in EXAMPLES else None


def aimed(markdown: str, *, source: Path) -> str:
    """The document `source` with its links aimed at the site."""
    place = site_place(source)
    assert place is not None, f"{source} is no page"
    start = posixpath.dirname(place) or "."

    def one(link: re.Match[str]) -> str:
        target = (source.parent / link[2]).resolve()
        if not target.is_relative_to(ROOT) or not target.exists():
            return link[0]
        if target.is_dir():
            target /= "README.md"
        found = site_place(target) if target.exists() else None
        return link[1] if found is None else f"[{link[1]}]({posixpath.relpath(found, start)}{link[3] or ''})"

    return _LINK.sub(one, markdown)
