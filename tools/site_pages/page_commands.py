"""Read the commands and files of a page, as a reader would type and save them.

A fenced block `sh` holds commands. A block with a title and `<!-- file -->` on the line above is a file that the
reader writes. Other remarks above a block of commands:

  <!-- status: 1 -->            the exit status that is right, where it is not 0
  <!-- long -->                 takes minutes: run by the long tests alone
  <!-- elsewhere: tests/... --> run by that test, which installs packages or wants a hub

A page whose first lines are `---`, `long: true`, `---` is long as a whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(
    r"^(?:<!-- (?P<remark>[^>]*?) -->\n)?(?P<indent> *)```(?P<language>\w+)?(?P<options>[^\n]*)\n"
    r"(?P<body>.*?)^ *```$",
    re.M | re.S,
)


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page."""

    text: str
    status: int
    long: bool
    elsewhere: str | None  # the test that runs it


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file that the reader writes."""

    name: str
    text: str


def read_page(path: Path) -> list[Command | PageFile]:
    """The commands and files of a page, in its order."""
    text = path.read_text(encoding="utf-8")
    front = re.match(r"---\n(.*?)---\n", text, re.S)
    page_long = front is not None and "long: true" in front[1]
    found: list[Command | PageFile] = []
    for block in _BLOCK.finditer(text):
        remark = (block["remark"] or "").strip()
        body = re.sub(rf"^{block['indent']}", "", block["body"], flags=re.M)
        title = re.search(r'title="([^"]+)"', block["options"])
        if remark == "file":
            assert title is not None, f"{path.name}: a file without a name"
            found.append(PageFile(title[1], body))
        elif block["language"] == "sh":
            status = re.search(r"status: (\d+)", remark)
            test = re.search(r"elsewhere: (\S+)", remark)
            found += [
                Command(
                    line,
                    status=int(status[1]) if status else 0,
                    long=page_long or "long" in remark,
                    elsewhere=test[1] if test else None,
                )
                for line in command_lines(body)
            ]
    return found


def command_lines(body: str) -> list[str]:
    """The commands of a block: continued lines joined, remarks and empty lines left out."""
    joined = re.sub(r"\\\n\s*", "", body)
    lines = (re.sub(r"\s{2,}# .*$", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def pages() -> list[Path]:
    """The pages whose commands are run: the first one, the way to install, tutorials, guides and recipes."""
    folders = ("tutorials", "guides", "recipes")
    found = [page for name in folders for page in sorted((DOCS / name).glob("*.md"))]
    return [DOCS / "index.md", DOCS / "install.md", *found]
