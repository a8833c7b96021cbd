"""Compare a figure with the one that is drawn anew: its elements, words and places.

A figure may hold what matplotlib draws and nothing else: scripts, embedded pages, links and style sheets of another
hand are differences, whatever they say. Places are compared to a tenth of a point, for libraries round otherwise.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np

from finetrial.plotting import load_matplotlib
from finetrial.reporting.verify.tally import Tally, short

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_FORBIDDEN = re.compile(r"<!DOCTYPE|<!ENTITY|<\?(?!xml )", re.IGNORECASE)
_PLACE = 0.1  # points; an assumption, far below what a reader sees
_SHADE = 3  # of 255: what compression and rounding of colours may differ by; an assumption

# (element, attributes with their numbers taken out, words) and the numbers
Shown = tuple[tuple[str, tuple[tuple[str, str], ...], str], tuple[float, ...]]


class NotAFigure(ValueError):
    """The text is not an SVG that could be compared."""


def _shown(element: ElementTree.Element) -> Iterator[Shown]:
    attributes, numbers = [], []
    for name, value in sorted(element.attrib.items()):
        if name in ("id", "href", "aria-labelledby", "clip-path") or name.startswith("xml"):
            attributes.append((name, value))
            continue
        attributes.append((name, _NUMBER.sub("#", value)))
        numbers += [float(number) for number in _NUMBER.findall(value)]
    words = "\0".join(((element.text or "").strip(), (element.tail or "").strip()))
    yield (element.tag, tuple(attributes), words), tuple(numbers)
    for child in element:
        yield from _shown(child)


def _content(text: str) -> list[Shown]:
    if _FORBIDDEN.search(text):
        raise NotAFigure("a document type, an entity or an instruction stands in it")
    try:
        return list(_shown(ElementTree.fromstring(text)))
    except ElementTree.ParseError as error:
        raise NotAFigure(str(error)) from None


def compare_svg(what: str, reported: str, drawn: str, *, same_library: bool, tally: Tally) -> None:
    """Compare an SVG with the one drawn anew. Drawn by another version of the library, only its elements' kinds and
    its words are compared."""
    if reported == drawn:
        tally.agreed["figures"] += 1
        return
    try:
        said = _content(reported)
    except NotAFigure as error:
        tally.differs(what, f"not a figure: {error}", "the figure of the records")
        return
    found = _content(drawn)
    if not same_library:
        _compare_words(what, said, found, tally=tally)
        return
    for (mark, numbers), (own, places) in zip(said, found, strict=False):
        alike = len(numbers) == len(places) and np.allclose(numbers, places, rtol=0, atol=_PLACE)
        if mark != own or not alike:
            tally.differs(what, _named(mark, numbers), _named(own, places))
            return
    if len(said) != len(found):
        tally.differs(what, f"{len(said)} elements", f"{len(found)} elements")
    else:
        tally.agreed["figures"] += 1


def _named(mark: tuple[str, tuple[tuple[str, str], ...], str], numbers: tuple[float, ...]) -> str | None:
    tag, attributes, words = mark
    said = words.replace("\0", " ").strip()
    name = tag.rsplit("}", 1)[-1]
    return short(f"<{name}> {said or ' '.join(f'{k}={v}' for k, v in attributes)} {numbers[:6]}")


def _compare_words(what: str, said: list[Shown], found: list[Shown], *, tally: Tally) -> None:
    strange = {mark[0] for mark, _ in said} - {mark[0] for mark, _ in found}
    words, own = ([mark[2] for mark, _ in side if mark[2] != "\0"] for side in (said, found))
    if strange:
        tally.differs(what, f"elements {', '.join(sorted(tag.rsplit('}', 1)[-1] for tag in strange))}", None)
    elif sorted(words) != sorted(own):
        extra = [word.replace("\0", " ") for word in words if word not in own]
        tally.differs(what, extra[0] if extra else None, "the words of the records' figure")
    else:
        tally.agreed["figures"] += 1
        tally.not_looked_at("the places of marks in figures, which another version of matplotlib drew")


def compare_png(what: str, reported: bytes, drawn: bytes, *, tally: Tally) -> None:
    """Compare a PNG with the one drawn anew, pixel by pixel."""
    if reported == drawn:
        tally.agreed["figures"] += 1
        return
    read = load_matplotlib().image.imread
    try:
        said = np.asarray(read(io.BytesIO(reported), format="png"))
    except Exception as error:  # whatever the decoder makes of a file that is no PNG
        tally.differs(what, f"not a PNG: {type(error).__name__}", "the figure of the records")
        return
    found = np.asarray(read(io.BytesIO(drawn), format="png"))
    if said.shape != found.shape:
        tally.differs(what, f"{said.shape} pixels", f"{found.shape} pixels")
    elif (apart := int((np.abs(said - found) > _SHADE / 255).any(axis=-1).sum())) > 0:
        tally.differs(what, f"{apart} pixels of another colour", "the figure of the records")
    else:
        tally.agreed["figures"] += 1
