"""Write a report as one page that loads nothing and runs nothing.

Every string is escaped when an element is built from it; only the style sheet and the figures, which this package
makes itself, are inserted as they are. The content security policy allows that one style sheet, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import assert_never

from markupsafe import Markup, escape

from finetrial.reporting import formats
from finetrial.reporting.document import (
    Answers,
    ArmName,
    Block,
    Code,
    Commands,
    Completion,
    Document,
    Equation,
    Equations,
    Excerpt,
    Fact,
    Facts,
    Figure,
    Folded,
    Heading,
    Inline,
    Level,
    Notice,
    Paragraph,
    Quote,
    Section,
    Table,
    TableCell,
    TableRow,
    Text,
    Tone,
    Transcript,
    parts,
)
from finetrial.reporting.palette import arm_role, style_variables
from finetrial.reporting.render.mathml import mathml
from finetrial.reporting.safe_text import one_line, visible

_STYLE = Path(__file__).with_name("report.css")
_LONG = 1600  # characters of a prompt from which it gets a box that scrolls
_EMPTY = frozenset(("meta",))
_TONES = {Tone.VERDICT: "answer", Tone.RECOMMENDATION: "way", Tone.ASIDE: "small", Tone.BODY: None}
_LEVELS = {Level.NOTE: "note", Level.WARNING: "note mark", Level.GRAVE: "note mark first"}


def _tag(name: str, *children: str | Markup | None, **attributes: str | None) -> Markup:
    """An element. Strings are made visible and escaped; Markup, which only this module makes, is taken as it is.

    Attributes' names end in _ where Python needs it, have - for _, and are left out where None.
    """
    given = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), visible(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(_safe(child) for child in children if child is not None)
    if name in _EMPTY:
        return Markup("<{}{}>").format(Markup(name), given)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), given, inner)


def _safe(text: str | Markup) -> Markup:
    return text if isinstance(text, Markup) else escape(visible(text))


# What must not end a line between a number and its sign: 95 %, p < .001
_TORN = re.compile(r"(?<=\d) (?=%)|(?<=\bp) (?=[<>=≤≥] ?[.\d])|(?<=\bp [<>=≤≥]) (?=[.\d])")


def _prose(text: str) -> Markup:
    """The report's own words, with numbers held together with their signs; never a prompt or an answer."""
    return _safe(_TORN.sub("\u00a0", text))


def _lines(parts: Iterable[Markup]) -> Markup:
    return Markup("\n").join(parts)


class _Page:
    """The renderer of one document: it knows the arms' colours."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def arm(self, name: str) -> Markup:
        slot = self.document.arms.get(name)
        return _tag("span", name, class_=None if slot is None else f"arm {arm_role(slot)}")

    def text(self, text: Text) -> Markup:
        return Markup("").join(self.inline(part) for part in parts(text))

    def inline(self, part: Inline) -> Markup:
        match part:
            case str():
                return _prose(part)
            case ArmName(name):
                return self.arm(name)
            case Code(text):
                return _tag("span", one_line(text, longest=60), class_="mono where")
            case Quote(text):
                return _tag("q", text, dir="auto")
        assert_never(part)

    def blocks(self, blocks: Iterable[Block], *, label: dict[str, str]) -> Markup:
        """Blocks one after the other. `label` names the region of a table that has no title of its own."""
        return _lines(self.block(block, label=label) for block in blocks)

    def block(self, block: Block, *, label: dict[str, str]) -> Markup:
        match block:
            case Heading(text):
                return _tag("h3", text)
            case Paragraph(text, tone):
                return _tag("p", self.text(text), class_=_TONES[tone])
            case Notice():
                return _notice(block)
            case Facts():
                return self.facts(block)
            case Table():
                return self.table(block, label=label)
            case Figure():
                return _figure(block)
            case Equations(equations):
                return _lines(map(_equation, equations))
            case Commands(text):
                return _tag("pre", text)
            case Excerpt():
                body = _body(block.text, left_out=block.left_out, where=block.where)
                return _tag("p", self.text(block.label), class_="label") + _tag("div", body, class_="long")
            case Folded(summary, inner):
                opened = _tag("summary", _tag("span", summary), class_="plain")
                return _tag("details", opened, self.blocks(inner, label={"aria_label": summary}))
            case Transcript():
                return self.transcript(block)
        assert_never(block)

    def facts(self, facts: Facts) -> Markup:
        rows = (
            _tag("dt", fact.label) + _tag("dd", self.fact(fact), class_="hash" if facts.code else None)
            for fact in facts.rows
        )
        return _tag("dl", _lines(rows))

    def fact(self, fact: Fact) -> Markup:
        if not fact.more:
            return self.text(fact.text)
        return Markup("").join(_tag("p", self.text(text)) for text in (fact.text, *fact.more))

    def table(self, table: Table, *, label: dict[str, str]) -> Markup:
        title = Markup("")
        if table.title is not None:
            title = _tag("p", _prose(table.title), class_="label", id=f"{table.name}-title")
            label = {"aria_labelledby": f"{table.name}-title"}
        head = _tag("th", table.first, scope="col", class_="words")
        for place, column in enumerate(table.columns):
            kind = "words" if place < table.n_text else "keep" if " " not in column else None
            head += _tag("th", _prose(column), scope="col", class_=kind)
        rows = _lines(self.row(row, n_text=table.n_text) for row in table.rows)
        whole = _tag("table", _tag("thead", _tag("tr", head)), _tag("tbody", rows))
        region = _tag("div", whole, class_="scroll", tabindex="0", role="region", **label)
        return title + region + (_tag("p", _prose(table.note), class_="small") if table.note else Markup(""))

    def row(self, row: TableRow, *, n_text: int) -> Markup:
        about = _tag("span", _prose(row.about), class_="about") if row.about else None
        cells = (_cell(cell, words=place < n_text) for place, cell in enumerate(row.cells))
        return _tag("tr", _tag("th", self.text(row.head), about, scope="row"), Markup("").join(cells))

    def transcript(self, one: Transcript) -> Markup:
        summary = _tag(
            "summary",
            _tag("span", f"=== PROMPT {one.number} ===", class_="mono"),
            _tag("span", one.teaser, class_="teaser", dir="auto"),
        )
        prompt = _body(one.source, left_out=one.source_left_out, where="samples/")
        if len(one.source) > _LONG:
            prompt = _tag("div", prompt, class_="long", tabindex="0")
        name = _tag("span", one_line(one.prompt_id, longest=60), class_="mono")
        sources = _tag("div", _tag("p", "Prompt ", name, class_="label"), prompt)
        if one.references:
            said = "Reference" if len(one.references) == 1 else f"{len(one.references)} references"
            texts = (_body(text, left_out=0, where="") for text in one.references)
            sources += _tag("div", _tag("p", said, class_="label"), *texts)
        return _tag(
            "details",
            summary,
            _tag("div", sources, class_="sources two" if one.references else "sources"),
            _tag("div", *(self.answers(row, metric=one.metric) for row in one.answers), class_="columns"),
            class_="prompt",
            id=f"prompt-{one.number}",
            open="" if one.is_open else None,
        )

    def answers(self, row: Answers, *, metric: str | None) -> Markup:
        completions = _lines(_completion(c, arm=row.arm, metric=metric) for c in row.completions)
        role = arm_role(self.document.arms[row.arm])
        return _tag("div", _tag("h3", row.arm), completions, class_=f"column {role}")

    def section(self, section: Section) -> Markup:
        transcripts = [block for block in section.blocks if isinstance(block, Transcript)]
        title = f"{section.id}-title"
        matter = self.blocks(section.blocks, label={"aria_labelledby": title})
        if any(not one.is_open for one in transcripts):
            on_paper = "Printed are the prompts that were open in the browser; the others stand in the page."
            matter = _tag("p", on_paper, class_="small on-paper") + matter
        return _tag(
            "section",
            _tag("h2", section.title, id=title),
            _tag("div", matter, class_="matter"),
            id=section.id,
            class_="broad" if transcripts else None,
            aria_labelledby=title,
        )

    def header(self) -> Markup:
        document = self.document
        beside = [
            b
            for b in document.lead.blocks
            if isinstance(b, Figure) or (isinstance(b, Notice) and b.level is not Level.GRAVE)
        ]
        said = self.blocks((b for b in document.lead.blocks if b not in beside), label={})
        links = (_tag("li", _tag("a", section.title, href=f"#{section.id}")) for section in document.sections)
        return _tag(
            "header",
            _tag("p", document.kind, class_="kind"),
            _tag("h1", document.title),
            _tag("p", ", ".join(document.authors), class_="authors") if document.authors else None,
            _tag(
                "div",
                _tag("div", said),
                _tag("div", self.blocks(beside, label={}), class_="beside") if beside else None,
                class_="opening",
            ),
            _tag("nav", _tag("ul", *links), aria_label="Sections"),
        )


def _equation(equation: Equation) -> Markup:
    """One step of a derivation, its right-hand sides below each other, and where it comes from."""
    rows = []
    for place, right in enumerate(equation.right):
        left = mathml(equation.left) if not place else Markup("")
        rows.append(_tag("mtr", _tag("mtd", left), _tag("mtd", Markup("<mo>=</mo>") + mathml(right))))
    # the text is for whoever reads no MathML
    whole = _tag("math", _tag("mtable", *rows, displaystyle="true"), display="block", alttext=equation.text)
    shown = _tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=equation.left.text)
    return _tag(
        "div",
        shown,
        _tag("p", _prose(equation.about), class_="small") if equation.about else None,
        class_="equation",
    )


def _notice(notice: Notice) -> Markup:
    role = None if notice.level is Level.NOTE else "note"
    if notice.title is None:
        return _tag(
            "div", *(_tag("p", _prose(text)) for text in notice.texts), class_=_LEVELS[notice.level], role=role
        )
    listed = _tag("ul", *(_tag("li", _prose(text)) for text in notice.texts))
    label = _tag("p", notice.title, class_="label")
    return _tag("div", label, listed, class_=_LEVELS[notice.level], role=role)


def _cell(cell: TableCell, *, words: bool) -> Markup:
    text = _prose(cell.text)
    value = _tag("span", text, class_="best") if cell.best else text
    under = [_tag("span", _prose(line), class_="under") for line in cell.lines]
    under += [_tag("span", "best", class_="under is-best")] * cell.best
    return _tag("td", value, *under, class_="words" if words else None)


def _figure(figure: Figure) -> Markup:
    """A figure of ours at two widths, of which the style sheet shows one."""
    images = []
    for kind, svg in (("wide", figure.drawing.wide), ("narrow", figure.drawing.narrow)):
        assert svg.startswith("<svg ")
        images.append(Markup(svg.replace("<svg ", f'<svg class="{kind}" ', 1)))
    return _tag("figure", *images, _tag("figcaption", _prose(figure.caption)))


def _body(text: str, *, left_out: int, where: str) -> Markup:
    if not text:
        return _tag("p", "(no text)", class_="text empty")
    rest = f"… {formats.whole(left_out)} more characters in {where}"
    more: Sequence[str | Markup] = (" ", _tag("span", rest, class_="empty")) if left_out else ()
    return _tag("p", text, *more, class_="text", dir="auto")


def _completion(one: Completion, *, arm: str, metric: str | None) -> Markup:
    body = _body(one.text, left_out=one.left_out, where=f"samples/{arm}.jsonl")
    known = []
    if one.score is not None:
        known.append(_tag("span", formats.score(one.score), title=metric))
    if one.ending is not None:
        known.append(_tag("span", one.ending, class_="cut" if one.is_truncated else None))
    if one.judged is not None:
        known.insert(0, _tag("span", one.judged, class_="judged"))
    ending = _tag("p", Markup(" · ").join(known), class_="ending") if known else None
    return _tag("div", _tag("span", one.letter, class_="letter"), _tag("div", body, ending), class_="completion")


def render_html(document: Document) -> str:
    """index.html."""
    style = style_variables() + _STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    page = _Page(document)
    head = (
        _tag("meta", charset="utf-8"),
        _tag("meta", http_equiv="Content-Security-Policy", content=policy),
        _tag("meta", name_="referrer", content="no-referrer"),
        _tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        _tag("meta", name_="color-scheme", content="light dark"),
        _tag("meta", name_="generator", content=f"finetrial {document.version}"),
        _tag("title", f"{document.title} · finetrial"),
        _tag("style", Markup(style)),
    )
    made_from = document.made_from or f"the records of the trial {document.trial}"
    foot = f"Written by finetrial {document.version} from {made_from}. This page loads nothing and runs nothing."
    sheet = _lines(
        (
            page.header(),
            _tag("main", _lines(map(page.section, document.sections)), id="content"),
            _tag("footer", foot),
        )
    )
    body = _tag("a", "To the results", class_="skip", href="#content") + _tag("div", sheet, class_="sheet")
    whole = _tag("html", _tag("head", _lines(head)), "\n", _tag("body", body), lang="en")
    return f"<!doctype html>\n{whole}\n"
