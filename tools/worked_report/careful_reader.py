"""Say what a careful reader would say of the figures, with the numbers that show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finetrial.metrics.rouge import rouge
from finetrial.reporting import formats
from finetrial.reporting.document import Notice, Paragraph, Section
from finetrial.scaling.target_loss import Outcome
from finetrial.units import listing
from worked_report.comparisons import Compared, Graded
from worked_report.scaling_exercises import Worked, big, epochs_of
from worked_report.trial_record import TrialRecord

# Two sentences of the same words that say opposite things.
_ONE, _OTHER = "The bank refused the loan, and she sued.", "She refused, and the bank sued: the loan."


def _of_scaling(worked: Worked) -> Iterator[str]:
    after, cheap = worked.after, worked.cheap
    if not isinstance(after, Outcome) or cheap is None:
        return
    total, added = epochs_of(after)
    larger = epochs_of(cheap.larger)[0]
    if worked.repeats:
        yield (
            f"{added} epochs and {larger} epochs are not the same kind of number: {added} are added to the first "
            f"epoch, which makes {total} in all; {larger} is a total."
        )
        yield (
            f"C′ = {big(after.flops_effective, digits=4)} FLOPs does not pay for the repetitions: reading the data "
            f"{total} times takes {big(after.flops_processed, digits=4)}."
        )
    ratio = cheap.best.params / after.params
    if abs(ratio / worked.grow - 1) > 0.05:
        yield (
            f"{worked.grow:g} N is not the optimum of that compute: {ratio:.2f} N is, with a loss of "
            f"{cheap.best.loss:.5f} against {cheap.larger.loss:.5f}."
        )
    yield (
        "A figure may differ from a printed one because something was rounded on the way: from a loss of "
        f"{worked.before.loss:.2f} in place of {worked.before.loss:.6f} follow {_rounded(worked)} effective tokens "
        f"in place of {big(after.tokens_effective, digits=4)}."
    )


def _rounded(worked: Worked) -> str:
    loss = (1 - worked.share) * round(worked.before.loss, 2)
    tokens = worked.law.tokens_for_loss(worked.before.params, loss=loss)
    return "no" if tokens is None else big(tokens, digits=3)


def _of_metrics() -> Iterator[str]:
    same = rouge(_ONE, _OTHER).scores["rouge1"].fmeasure
    assert same == 1, "the two sentences are made of the same words"
    yield (
        f"ROUGE-1 = {same:g} does not mean identical texts. It counts words, not their order: “{_ONE}” and "
        f"“{_OTHER}” score it against each other."
    )


def _who(record: TrialRecord) -> str:
    """one person, one stand-in, 3 raters"""
    if len(record.raters) > 1:
        return f"{len(record.raters)} raters"
    word = record.rater_word
    return "one rater" if word == "raters" else "one person" if word == "people" else f"one {word}"


def _of_grades(compared: Compared) -> Iterator[str]:
    published = compared.given.published
    rows: list[tuple[str, Graded, str]] = []
    if published is not None and compared.published is not None:
        rows.append((f"published of {published.model}", compared.published, published.raters))
    if compared.graded is not None and compared.record is not None:
        rows.append(("here", compared.graded, _who(compared.record)))
    for where, graded, raters in rows:
        tested = [pair for pair in graded.pairs if pair.p_holm is not None]
        if not tested:
            continue
        best = min(tested, key=lambda pair: (pair.p_holm, pair.p))
        first, second = (graded.arms[arm] for arm in (best.a, best.b))
        clear = best.p_holm is not None and best.p_holm <= 0.05
        yield (
            f"{compared.given.title}, {where}: {best.a} {first} against {best.b} {second} "
            f"{'shows' if clear else 'does not show clearly'} that one is better on new prompts: {raters}, "
            f"{len(graded.prompts)} prompts, p = {formats.p_value(best.p_holm)} after Holm."
        )


def reader_section(worked: Worked | None, every: Sequence[Compared]) -> Section:
    """Everything a careful reader would say, exercise by exercise."""
    blocks = []
    if worked is not None and (said := tuple(_of_scaling(worked))):
        blocks.append(Notice(said, title="Of the exercises"))
    blocks.append(Notice(tuple(_of_metrics()), title="Of the metric"))
    grades = tuple(text for one in every for text in _of_grades(one))
    if grades:
        blocks.append(Notice(grades, title="Of the grades"))
    models = [one.given.published.model for one in every if one.given.published is not None]
    if models:
        text = (
            f"The published figures are of {listing(models)}, the others of the models named with each trial: the "
            "columns stand beside each other so that the questions can be compared, not the numbers."
        )
        blocks.append(Notice((text,), title="Of the comparison"))
    return Section(
        "reader", "What a careful reader would say", (Paragraph("Before any figure is quoted:"), *blocks)
    )
