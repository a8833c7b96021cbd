"""Compare every form of a report with the document that the records give."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrial.plotting import load_matplotlib
from finetrial.reporting.document import Drawing
from finetrial.reporting.verify.figure_content import compare_png, compare_svg
from finetrial.reporting.verify.stand_ins import rests_on_texts
from finetrial.reporting.verify.tally import Tally, is_number, leaves, same, short
from finetrial.store.layout import TrialFolder
from finetrial.store.left_out import original_hashes

_FIGURE = re.compile(r"<svg .*?</svg>", re.DOTALL)
_CUT = "<svg/>"  # stands in a page for a figure, which is compared apart
# What another program leaves beside a report: LaTeX's files, an editor's, a system's. Others are named as strange.
_LEFT_BY_OTHERS = (".pdf", ".aux", ".log", ".out", ".gz", ".fls", ".fdb_latexmk", ".swp", "~", ".DS_Store")


def duplicate_keys(text: str) -> tuple[str, ...]:
    """The keys that stand twice in one object: a reader sees the first, a program the last."""
    found: list[str] = []

    def noted(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        found.extend(name for name in dict.fromkeys(names) if names.count(name) > 1)
        return dict(pairs)

    json.loads(text, object_pairs_hook=noted)
    return tuple(found)


def is_of_another_version(reported: Mapping[str, Any], recomputed: Mapping[str, Any]) -> bool:
    """True where another version of finetrial wrote the report."""
    return any(reported.get(key) != recomputed[key] for key in ("version", "finetrial"))


def compare_results(
    folder: TrialFolder, reported: Mapping[str, Any], recomputed: Mapping[str, Any], *, tally: Tally
) -> bool:
    """Compare results.json value by value. A key that is absent says what null says. Returns whether the pages can
    be compared, too: not where texts are left out on which what they say rests.

    Of a report by another version, which may word things otherwise and know other keys, the numbers and hashes that
    it gives are compared. Files beside an arm's weights may be left out of a copied folder.
    """
    for key in duplicate_keys((folder.report / "results.json").read_text(encoding="utf-8")):
        tally.differs(f"results.json: {key}", "stands twice in one object", "once")
    said, found = (
        {p: v for p, v in leaves(side) if not p.startswith("figures.")} for side in (reported, recomputed)
    )
    for path in [path for path in said if path.startswith("hashes.arms/") and path not in found]:
        if not (folder.root / path.removeprefix("hashes.")).exists():
            del said[path]
            tally.not_looked_at(f"{path.removeprefix('hashes.')}, which is not here")
    if is_of_another_version(reported, recomputed):
        said = {p: v for p, v in said.items() if (is_number(v) and p != "version") or p.startswith("hashes.")}
        found = {path: value for path, value in found.items() if path in said}
    resting: dict[str, None] = {}
    has_texts = not original_hashes(folder)
    for path in dict.fromkeys((*said, *found)):
        if not same(said.get(path), found.get(path)):
            if not has_texts and rests_on_texts(path, recomputed):
                resting[re.split(r"[.\[]", path, maxsplit=1)[0]] = None
                continue
            tally.differs(f"results.json: {path}", said.get(path), found.get(path))
        elif is_number(said.get(path)):
            tally.agreed["numbers"] += 1
    if resting:
        tally.not_looked_at(f"pages and results.json ({', '.join(resting)}), which rest on the texts left out")
    return not resting


def compare_pages(folder: TrialFolder, pages: Mapping[str, str], *, same_library: bool, tally: Tally) -> None:
    """Compare the pages with those of the records, their figures by content and all else letter by letter."""
    for name, text in pages.items():
        path, what = folder.report / name, f"report/{name}"
        if not path.exists():
            tally.differs(what, None, "a page")
            continue
        try:
            now = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            tally.differs(what, f"byte {error.start} is no UTF-8", "UTF-8")
            continue
        said, found = (_FIGURE.sub(_CUT, page).split("\n") for page in (now, text))
        drawn = tuple(zip(_FIGURE.findall(now), _FIGURE.findall(text), strict=False))
        if said != found:
            number, lines = _first_difference(said, found)
            tally.differs(f"{what}, line {number}", *(short(line) for line in lines))
        else:
            tally.agreed["pages"] += 1
            for place, (one, other) in enumerate(drawn, start=1):
                compare_svg(f"{what}, figure {place}", one, other, same_library=same_library, tally=tally)


def _first_difference(a: Sequence[str], b: Sequence[str]) -> tuple[int, tuple[str | None, str | None]]:
    for number, (one, other) in enumerate(zip(a, b, strict=False), start=1):
        if one != other:
            ends = (i for i, (x, y) in enumerate(zip(one, other, strict=False)) if x != y)
            start = max(0, next(ends, min(len(one), len(other))) - 30)
            return number, (one[start : start + 64], other[start : start + 64])
    number = min(len(a), len(b))
    return number + 1, (next(iter(a[number:]), None), next(iter(b[number:]), None))


def drawn_alike(reported: Mapping[str, Any]) -> bool:
    """Whether the matplotlib that drew the report's figures is the one that is here."""
    noted = reported.get("figures")
    return isinstance(noted, Mapping) and noted.get("matplotlib") == load_matplotlib().__version__


def compare_figures(folder: TrialFolder, drawings: Sequence[Drawing], *, same_library: bool, tally: Tally) -> None:
    """Compare the files of figures/ with the figures of the records."""
    for drawing in drawings:
        svg, png = (folder.report / "figures" / f"{drawing.name}{suffix}" for suffix in (".svg", ".png"))
        names = [f"report/figures/{path.name}" for path in (svg, png)]
        if not svg.exists():
            tally.differs(names[0], None, "a figure")
        else:
            compare_svg(
                names[0],
                svg.read_bytes().decode("utf-8", errors="replace"),
                drawing.file,
                same_library=same_library,
                tally=tally,
            )
        if not png.exists():
            tally.differs(names[1], None, "a figure")
        elif same_library:
            compare_png(names[1], png.read_bytes(), drawing.png, tally=tally)
        else:
            tally.not_looked_at(f"{names[1]}, which another version of matplotlib drew")


def name_strange_files(folder: TrialFolder, known: Sequence[Path], *, tally: Tally) -> None:
    """Name what stands in report/ and no renderer wrote. What a program for reading leaves is only mentioned."""
    expected = {path.resolve() for path in known}
    for path in sorted(folder.report.rglob("*")):
        if path.is_dir() or path.resolve() in expected:
            continue
        name = path.relative_to(folder.root).as_posix()
        if path.name.endswith(_LEFT_BY_OTHERS):
            tally.not_looked_at(f"{name}, which finetrial did not write")
        else:
            tally.differs(name, "a file", "no part of the report")
