"""Read a text as Markdown and describe it as plain nodes, from which the page builds elements one by one.

markdown-it parses (CommonMark with tables and strikethrough, HTML switched off, so that a tag is text). What leaves
here is [tag, attribute, children]: tags from a fixed list, text as text. No HTML is made anywhere, links are shown
and cannot be followed, pictures are named and not loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

LONGEST = 20_000  # characters; the page shows longer texts as they are, and folds them anyway
# A node is a text, or [tag, attribute or None, children].
Node = Any
_PARSER = MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False}).enable(
    ["table", "strikethrough"]
)
_TAGS = {
    "p": "p",
    "blockquote": "blockquote",
    "ul": "ul",
    "ol": "ol",
    "li": "li",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tr": "tr",
    "th": "th",
    "td": "td",
    "em": "em",
    "strong": "strong",
    "s": "s",
    # headings of a sample are not headings of the page, whose outline a screen reader walks through
    **{f"h{level}": f"h{level}" for level in range(1, 7)},
}


def _node(tag: str, attribute: str | None = None, children: Sequence[Node] = ()) -> Node:
    return [tag, attribute, list(children)]


def _leaf(token: Token) -> list[Node]:
    """The nodes of a token that holds no others."""
    if token.type in ("text", "text_special", "html_inline", "html_block"):
        return [token.content] if token.content else []
    if token.type == "softbreak":
        return ["\n"]
    if token.type == "hardbreak":
        return [_node("br")]
    if token.type == "code_inline":
        return [_node("code", None, [token.content])]
    if token.type in ("fence", "code_block"):
        language = token.info.strip().split(maxsplit=1)[0][:30] if token.info.strip() else None
        return [_node("pre", language, [token.content.removesuffix("\n")])]
    if token.type == "hr":
        return [_node("hr")]
    if token.type == "image":
        return [_node("picture", str(token.attrs.get("src", "")), [token.content])]
    return [token.content] if token.content else []


def _nodes(tokens: Sequence[Token]) -> list[Node]:
    root: list[Node] = []
    # (where children go, what the opening token added; None: nothing of its own, as a paragraph in a tight list)
    stack: list[list[Node]] = [root]
    for token in tokens:
        if token.type == "inline":
            stack[-1] += _nodes(token.children or [])
        elif token.nesting == 1:
            if token.type == "link_open":
                node = _node("link", str(token.attrs.get("href", "")))
            elif token.hidden or token.tag not in _TAGS:
                stack.append(stack[-1])
                continue
            else:
                start = token.attrs.get("start")
                node = _node(_TAGS[token.tag], None if start is None else str(start))
            stack[-1].append(node)
            stack.append(node[2])
        elif token.nesting == -1:
            stack.pop()
        else:
            stack[-1] += _leaf(token)
    return root


def _is_plain(nodes: Sequence[Node]) -> bool:
    """Paragraphs of text alone: nothing is gained by formatting them."""
    return all(isinstance(node, str) or (node[0] in ("p", "br") and _is_plain(node[2])) for node in nodes)


def formatted(text: str) -> list[Node] | None:
    """The text as nodes; None where formatting would change nothing, or the text is too long for it."""
    if len(text) > LONGEST:
        return None
    nodes = _nodes(_PARSER.parse(text))
    return None if _is_plain(nodes) else nodes


def formatted_block(content: Mapping[str, Any]) -> dict[str, Any]:
    """`GradingSession.block_content` formatted: the same shape, with nodes (or None) where texts stand."""
    turns = content.get("turns")
    return {
        "prompt": formatted(content["prompt"]),
        **({"turns": [formatted(turn[1]) for turn in turns]} if turns else {}),
        "cells": [
            {name: formatted(cell[name]) for name in ("text", "left", "right") if name in cell}
            for cell in content["cells"]
        ],
    }
