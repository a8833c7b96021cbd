"""Tie the site together for mkdocs: generated pages, figures, formulas, and links that leave docs/.

mkdocs calls these functions by their names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "src")]

from mkdocs.structure.files import File, Files  # noqa: E402

from site_pages.command_reference import command_reference  # noqa: E402
from site_pages.formulas import with_formulas  # noqa: E402
from site_pages.python_reference import python_reference, record_reference  # noqa: E402
from site_pages.results_figures import with_figures  # noqa: E402
from site_pages.site_links import BESIDE, EXAMPLES, RENAMED, aimed, site_place  # noqa: E402

GENERATED: dict[str, Callable[[], str]] = {
    "reference/commands.md": command_reference,
    "reference/python.md": python_reference,
    "reference/records.md": record_reference,
}
# One wide table each, with next to no headings: the room of a table of contents is theirs.
WIDE = ("trial-file.md", "results/families.md")


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, the examples, and what stands beside docs/."""
    for name, made in GENERATED.items():
        files.append(File.generated(config, name, content=made()))
    beside = [ROOT / name for name in BESIDE if name != "README.md"]
    examples = [path for path in sorted((ROOT / "examples").rglob("*")) if path.suffix in EXAMPLES]
    for path in (*beside, *examples, *(ROOT / name for name in RENAMED)):
        if "runs" not in path.parts:
            files.append(File.generated(config, str(site_place(path)), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put figures, formulas and links in their places."""
    source = page.file.abs_src_path
    if source is not None:  # not a generated page
        markdown = aimed(markdown, source=Path(source))
    if page.file.src_uri in WIDE:
        page.meta["hide"] = ["toc"]
    return with_formulas(with_figures(markdown))
