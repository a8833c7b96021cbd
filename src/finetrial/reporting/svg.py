"""Make a drawn figure follow the page's colours and fonts.

matplotlib's SVG carries its looks in style attributes. A strict page allows none, so known colours become classes
that the page's style sheet colours, and the rest becomes plain attributes. Text stays text, in the page's font.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from finetrial.reporting.palette import LIGHT, style_variables

_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_ROLES = {colour: name for name, colour in LIGHT.items()}
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
# What CSS spells as one property and SVG as none.
_FONT = re.compile(r"font:\s*(?P<rest>[^;]*?)(?P<size>[\d.]+)px[^;]*")
_ALONE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}"
    "svg{background:var(--page)}"
)


def _name(tag: str) -> str:
    return f"{{{_SVG}}}{tag}"


def _unstyle(element: ElementTree.Element) -> None:
    """Turn a style attribute into classes for known colours and attributes for the rest."""
    style = element.attrib.pop("style", "")
    classes = []
    font = _FONT.search(style)
    if font is not None:
        element.set("font-size", font["size"])
        if "bold" in font["rest"] or re.search(r"\b[67]00\b", font["rest"]):
            element.set("font-weight", "600")
        style = style.replace(font[0], "")
    for declaration in filter(None, (part.strip() for part in style.split(";"))):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        role = _ROLES.get(value.lower())
        if name in ("fill", "stroke") and role is not None:
            classes.append(f"{'fill' if name == 'fill' else 'line'}-{role}")
        elif name not in ("font-family", "stroke-linejoin"):
            element.set(name, value.removesuffix("px") if name in ("font-size",) else value)
    if classes:
        element.set("class", " ".join(classes))


def _rename(element: ElementTree.Element, *, prefix: str) -> None:
    """Make identifiers the figure's own, for several figures share one page."""
    for key, value in list(element.attrib.items()):
        if key == "id":
            element.set(key, f"{prefix}-{value}")
        elif key in (f"{{{_LINK}}}href", "href") and value.startswith("#"):
            del element.attrib[key]
            element.set("href", f"#{prefix}-{value[1:]}")
        elif "url(#" in value:
            element.set(key, _REFERENCE.sub(rf"url(#{prefix}-\1)", value))


def _add_tips(root: ElementTree.Element, tips: Mapping[str, Sequence[str]]) -> None:
    """Put words behind the marks of the named groups, mark by mark."""
    for group in root.iter(_name("g")):
        words = tips.get(group.get("id", ""))
        if words is None:
            continue
        defined = {id(child) for defs in group.iter(_name("defs")) for child in defs.iter()}
        drawn = (_name("use"), _name("path"))  # matplotlib repeats a mark by reference, a single one it draws
        marks = [child for child in group.iter() if child.tag in drawn and id(child) not in defined]
        assert len(marks) == len(words), (group.get("id"), len(marks), len(words))
        for mark, text in zip(marks, words, strict=True):
            ElementTree.SubElement(mark, _name("title")).text = text


def themed(
    drawn: str, *, prefix: str, title: str, description: str, tips: Mapping[str, Sequence[str]], alone: bool
) -> str:
    """matplotlib's SVG as an element for a page, or as a file that stands `alone` with a style sheet of its own."""
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(drawn)
    _add_tips(root, tips)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (_name("metadata"), _name("style")):
                parent.remove(child)
    for element in root.iter():
        _unstyle(element)
        _rename(element, prefix=prefix)
    for name in ("version",) if alone else ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("stroke-linejoin", "round")
    root.set("aria-labelledby", f"{prefix}-title {prefix}-description")
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        child = ElementTree.Element(_name(tag), id=f"{prefix}-{'title' if tag == 'title' else 'description'}")
        child.text = text
        root.insert(place, child)
    if alone:
        sheet = ElementTree.Element(_name("style"))
        sheet.text = style_variables() + _ALONE
        root.insert(0, sheet)
        return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
    return ElementTree.tostring(root, encoding="unicode")
