"""Open the report: what could overturn the verdict, the verdict, the recommendation, and further warnings."""

from __future__ import annotations

from collections.abc import Iterable

from finetrial.evidence.findings import Costs
from finetrial.evidence.verdict_warnings import HEADING
from finetrial.reporting.answer import CAVEAT
from finetrial.reporting.document import Block, Figure, Level, Notice, Paragraph, SectionMaker, Tone
from finetrial.reporting.results import Material
from finetrial.reporting.verdict_figure import verdict_figure

_WRITTEN_BY_PROGRAM = (
    "The text that the base model has learned was written by a program. What is seen here shows how the arms "
    "differ, not what a model of people’s writing can do."
)


def break_even(costs: Costs | None) -> str | None:
    """After how many requests each tuned arm breaks even; None where no arm is prompted."""
    found: dict[str, list[str]] = {}
    for row in () if costs is None else costs.break_even:
        if row.never or row.requests is not None:
            when = "never" if row.never else f"after {row.requests:,} requests"
            found.setdefault(row.against, []).append(f"{row.arm} {when}")
    return " ".join(f"Breaks even with {arm}: {', '.join(said)}." for arm, said in found.items()) or None


def _opening(material: Material) -> Iterable[Block]:
    results, found = material.results, material.results.findings
    if found.verdict_warnings:
        yield Notice(tuple(row.text for row in found.verdict_warnings), HEADING, Level.GRAVE)
    yield Paragraph(results.answer, Tone.VERDICT)
    if found.beside is not None:
        yield Paragraph(found.beside.text, Tone.VERDICT)
        if found.beside.agreement:
            yield Paragraph(found.beside.agreement)
    if found.recommendation is not None:
        yield Paragraph(found.recommendation.text, Tone.RECOMMENDATION)
    if (shown := verdict_figure(results)) is not None:
        yield Figure(shown, "Each arm’s mean with its 95\u00a0% interval over prompts, where there is one.")
    if found.verdict is None and results.metric is not None:
        yield Paragraph(CAVEAT, Tone.ASIDE)
    if (paid := break_even(found.costs)) is not None:
        yield Paragraph(paid, Tone.ASIDE)
    if results.written_by_program:
        yield Notice((_WRITTEN_BY_PROGRAM,))
    if results.unfinished:
        yield Notice(results.unfinished, "Not done yet", Level.WARNING)
    if results.warnings:
        yield Notice(results.warnings, "Warnings", Level.WARNING)


OPENING = SectionMaker("opening", "Verdict", _opening)
