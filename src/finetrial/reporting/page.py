"""Write a report as one page that loads nothing and runs nothing.

Everything is escaped by the template but two things that this package makes itself: the style sheet and the
figures. The content security policy allows that one style sheet, by its hash, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import jinja2
from markupsafe import Markup

from finetrial import __version__
from finetrial.evidence.verdict_warnings import HEADING
from finetrial.metrics.all import metric_name
from finetrial.reporting import numbers, tables, words
from finetrial.reporting.answer import CAVEAT
from finetrial.reporting.figures import Drawing
from finetrial.reporting.grading import grading_notes, said_title, strength_table
from finetrial.reporting.palette import arm_role, style_variables
from finetrial.reporting.results import Results
from finetrial.reporting.serving import serving_table
from finetrial.reporting.text import one_line, visible
from finetrial.reporting.transcripts import Transcripts

_TEMPLATES = Path(__file__).with_name("templates")


def _inline_svg(svg: str, kind: str) -> Markup:
    """A figure of ours, shown at one of the two widths."""
    assert svg.startswith("<svg ")
    return Markup(svg.replace("<svg ", f'<svg class="{kind}" ', 1))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "line": lambda text: one_line(text, longest=60),
        "score": numbers.score,
        "whole": numbers.whole,
        "metric_name": metric_name,
        "inline_svg": _inline_svg,
    }
    return environment


def _sections(results: Results, *, losses: bool) -> list[tuple[str, str]]:
    found = results.findings
    present = [
        ("asked", "What was asked", True),
        ("arms", "Arms and cost", True),
        ("losses", "Loss", losses),
        ("scores", "Scores", True),
        ("pairs", "Arm against arm", bool(found.pairs)),
        ("good", said_title(results), bool(found.good)),
        ("grading", "How it was graded", bool(grading_notes(results) or strength_table(results).rows)),
        ("diagnostics", "What goes wrong", bool(found.diagnostics)),
        ("transcripts", "Transcripts", True),
        ("recompute", "How to recompute", True),
    ]
    return [(name, title) for name, title, is_there in present if is_there]


def render_page(results: Results, transcripts: Transcripts, *, losses: Drawing | None, dots: Drawing | None) -> str:
    """index.html."""
    style = style_variables() + (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            r=results,
            t=transcripts,
            version=__version__,
            style=Markup(style),
            style_hash=f"sha256-{digest}",
            roles={arm.name: arm_role(arm.slot) for arm in results.arms},
            sections=_sections(results, losses=losses is not None),
            caveat=CAVEAT,
            written_by_program=words.WRITTEN_BY_PROGRAM,
            metric=metric_name(results.metric) if results.metric else None,
            heading=HEADING,
            costs=tables.cost_table(results),
            serving=serving_table(results),
            searches=tables.search_table(results),
            scores=tables.score_table(results),
            pairs=tables.pair_table(results),
            exploratory=tables.exploratory_table(results),
            people_notes=words.people_notes(results),
            disagreements=results.findings.metric_vs_people[results.metric].disagreements
            if results.metric in results.findings.metric_vs_people
            else (),
            examples=[row for row in results.findings.diagnostics if row.examples],
            grading_notes=grading_notes(results),
            strengths=strength_table(results),
            good=tables.good_table(results),
            good_title=said_title(results),
            diagnostics=tables.diagnostic_table(results),
            losses=losses,
            losses_caption=words.LOSSES,
            dots=dots,
            dots_caption=words.dots_caption(results) if dots else None,
            transcripts_note=words.transcripts_note(results, transcripts),
            awaiting_note=words.awaiting_note(transcripts),
        )
    )
