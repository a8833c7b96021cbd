"""Say how the grading went: its pace, its blindness, its steadiness, and who won side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from finetrial.evidence.findings import GradingSummary
from finetrial.reporting import formats
from finetrial.reporting.document import (
    ArmName,
    Block,
    Code,
    Fact,
    Facts,
    Folded,
    Heading,
    Paragraph,
    SectionMaker,
    Table,
    TableCell,
    TableRow,
)
from finetrial.reporting.raters_words import notes_of_pairs, quoted_note
from finetrial.reporting.results import Material
from finetrial.reporting.safe_text import one_line, plural
from finetrial.stats.bradley_terry import BradleyTerry, Strength
from finetrial.stats.guessing import Guessing
from finetrial.store.grade_records import UnblindedNote
from finetrial.units import listing

_ALPHA = 0.05  # below it guesses are called better than chance; the usual convention


def _pace(facts: GradingSummary) -> Iterable[str]:
    if not facts.grades:
        return
    said = {"stand-in": " (a stand-in)", None: " (person or stand-in: not declared)"}
    raters = [rater + said.get(facts.kinds.get(rater, "person"), "") for rater in facts.raters]
    text = f"{plural(facts.grades, 'grade')} by {listing(raters)}"
    if facts.median_seconds is not None:
        text += f", each in {facts.median_seconds:.1f}\u00a0s (the median)"
    if not facts.not_blind:
        text += "; all were given before anybody had opened the key"
    else:
        text += f"; {facts.not_blind} of them after somebody had opened the key, which are not blind"
    yield f"{text}."


def _guesses(guesses: Guessing) -> str:
    start = f"Asked at the end which arm wrote what, raters were right {guesses.hits} of {guesses.of} times"
    if guesses.p is None or guesses.expected is None:
        return f"{start}; whether that is more than chance cannot be said, for {guesses.reason}."
    p = "p\u00a0<\u00a00.001" if guesses.p < 0.001 else f"p\u00a0=\u00a0{guesses.p:.3f}"
    text = f"{start}; by chance it would be {guesses.expected:.1f} ({p}, by shuffling the guesses)."
    if guesses.p < _ALPHA:
        return f"{text} They recognised arms: the grades were blind in form and not in effect."
    return f"{text} That is no sign that they knew which arm they graded."


def _notes(facts: GradingSummary) -> tuple[str, ...]:
    """Sentences on the grading."""
    notes = list(_pace(facts))
    if facts.rule is not None:
        notes.append(f"On the scale that raters chose from, {facts.rule}; k of n and every test read it so.")
    notes += [
        f"{row.rater} took {row.median_seconds:.1f}\u00a0s a grade (the median): nobody reads a text in that time."
        for row in facts.too_fast
    ]
    notes += [
        f"Shown texts a second time without being told, {row.rater} gave {row.same} of {row.of} the same grade."
        for row in facts.consistency
    ]
    if facts.guesses is not None:
        notes.append(_guesses(facts.guesses))
    if facts.strengths is not None and facts.strengths.strengths is None:
        notes.append(
            f"From {_choices(facts)} no strengths can be computed (Bradley-Terry): {facts.strengths.reason}."
        )
    return tuple(notes)


def _choices(facts: GradingSummary) -> str:
    return plural(facts.choices, "side-by-side choice")


def _strengths(facts: GradingSummary, fitted: BradleyTerry, strengths: Mapping[str, Strength]) -> Table:
    """The arms by their strength in side-by-side choices, the strongest first."""
    order = sorted(strengths, key=lambda arm: -strengths[arm].value)
    weakest = order[-1]
    rows = []
    for arm in order:
        strength = strengths[arm]
        preferred = None if arm == weakest else fitted.probability(arm, weakest)
        bounds: tuple[str, ...] = ()
        if strength.low is not None and strength.high is not None:
            bounds = (formats.difference_span(strength.low, strength.high),)
        cells = (
            TableCell(formats.difference(strength.value), bounds),
            TableCell(formats.percent(preferred)),
        )
        rows.append(TableRow((ArmName(arm),), cells))
    spread = f". No intervals: {fitted.reason}." if fitted.reason else ", with 95\u00a0% intervals over prompts."
    note = (
        f"From {_choices(facts)}, a tie half a win for either (Bradley and Terry 1952). Strengths are logarithms, "
        f"0 the mean of the arms{spread}"
    )
    return Table("strengths", "Arm", ("Log strength", f"Preferred to {weakest}"), tuple(rows), note)


def _grading(material: Material) -> Iterable[Block]:
    facts = material.results.findings.grading
    if facts is None:
        return
    yield from map(Paragraph, _notes(facts))
    if facts.strengths is not None and facts.strengths.strengths is not None:
        yield Heading("Side by side")
        yield _strengths(facts, facts.strengths, facts.strengths.strengths)
    yield from _pair_notes(material)


def _pair_notes(material: Material) -> Iterable[Block]:
    """What raters wrote on side-by-side choices, which stand at no single transcript."""
    rows = [
        Fact(_about_two(note), (quoted_note(note.text), " ", Code(note.prompt_id)))
        for note in notes_of_pairs(material.records)
    ]
    if rows:
        yield Folded("Notes on side-by-side choices", (Facts(tuple(rows)),))


def _about_two(note: UnblindedNote) -> str:
    return f"{one_line(note.rater, longest=40)}, {' against '.join(sorted(note.arms))}"


# There are facts once the grades are locked or opened.
GRADED = SectionMaker("grading", "How it was graded", _grading)
