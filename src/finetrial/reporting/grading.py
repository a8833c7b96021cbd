"""What does a report say of the grading itself: how fast, how blind, how steady, and who won side by side?"""

from __future__ import annotations

from collections.abc import Iterable

from finetrial.evidence.findings import GradingFacts
from finetrial.reporting import numbers
from finetrial.reporting.answer import listing
from finetrial.reporting.results import Results
from finetrial.reporting.tables import Table, TableCell, TableRow
from finetrial.stats.guessing import Guessing

_ALPHA = 0.05  # below it guesses are called better than chance; the usual convention


def _pace(facts: GradingFacts) -> Iterable[str]:
    if not facts.grades:
        return
    plural = "s" * (facts.grades != 1)
    said = {"stand-in": " (a stand-in)", None: " (person or stand-in: not declared)"}
    raters = [rater + said.get(facts.kinds.get(rater, "person"), "") for rater in facts.raters]
    text = f"{facts.grades} grade{plural} by {listing(raters)}"
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
        return f"{text} They could tell arms apart: the grades were blind in form and not in effect."
    return f"{text} That is no sign that they knew which arm they graded."


def said_title(results: Results) -> str:
    """Whose judgement the table of good of n holds: people's, unless no person graded."""
    facts = results.findings.grading
    return "What stand-ins said" if facts is not None and facts.only_stand_ins else "What people said"


def grading_notes(results: Results) -> tuple[str, ...]:
    """Sentences on the grading; empty until the grades are locked or opened, and where nobody graded."""
    facts = results.findings.grading
    if facts is None:
        return ()
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


def _choices(facts: GradingFacts) -> str:
    return f"{facts.choices} side-by-side choice{'s' * (facts.choices != 1)}"


def strength_table(results: Results) -> Table:
    """The arms by their strength in side-by-side choices, the strongest first."""
    facts = results.findings.grading
    fitted = facts.strengths if facts is not None else None
    if facts is None or fitted is None or fitted.strengths is None:
        return Table((), (), "")
    order = sorted(fitted.strengths, key=lambda arm: -fitted.strengths[arm].value)  # type: ignore[index]
    weakest = order[-1]
    rows = []
    for arm in order:
        strength = fitted.strengths[arm]
        interval = f"{numbers.difference(strength.low)} to {numbers.difference(strength.high)}"
        preferred = None if arm == weakest else fitted.probability(arm, weakest)
        cells = (
            TableCell(numbers.difference(strength.value), (interval,)),
            TableCell(numbers.DASH if preferred is None else f"{100 * preferred:.0f}\u00a0%"),
        )
        rows.append(TableRow(arm, "", cells))
    note = (
        f"From {_choices(facts)}, a tie half a win for either (Bradley and Terry 1952). Strengths are logarithms, "
        "0 the mean of the arms, with 95\u00a0% intervals. Choices under one prompt are not independent: read the "
        "intervals as too narrow."
    )
    return Table(("Log strength", f"Preferred to {weakest}"), tuple(rows), note)
