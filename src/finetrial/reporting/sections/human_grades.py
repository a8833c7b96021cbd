"""Show what people said: good answers of all for each arm, their agreement, and the metric's with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from finetrial.evidence.findings import GoodShare, MetricVsPeople
from finetrial.evidence.good_grid import GoodCount, GoodGrid
from finetrial.metrics.metric_table import metric_name
from finetrial.reporting import formats
from finetrial.reporting.document import (
    ArmName,
    Block,
    Code,
    Fact,
    Facts,
    Folded,
    Paragraph,
    Quote,
    SectionMaker,
    Table,
    TableCell,
    TableRow,
    Text,
    Tone,
)
from finetrial.reporting.formats import DASH
from finetrial.reporting.raters_words import grades_by_sample, reasons_by_arm
from finetrial.reporting.results import Material, Results
from finetrial.reporting.safe_text import one_line

_PROMPT = 60  # characters of a prompt in a table
_LONGEST_TEXT = 400  # characters of an answer among those that are seen most differently
_MOST_OPEN = 20  # prompts in a grid that is shown without a click


def _good(results: Results) -> Table:
    """Good of n per arm."""
    rows = tuple(
        TableRow(
            _name(results, arm),
            (TableCell(f"{row.good} of {row.of}"), TableCell(_interval(row) or DASH)),
        )
        for arm, row in results.findings.good.items()
    )
    note = f"Graded blind: the raters did not know which arm wrote what.{_references_note(results)}"
    return Table("good", "Arm", ("Good", "95\u00a0% interval"), rows, note)


def _name(results: Results, arm: str) -> Text:
    """The arm in its colour; the references, which are no arm, as they are."""
    return (ArmName(arm),) if any(arm == row.name for row in results.arms) else arm


def _interval(share: GoodShare | None) -> str | None:
    if share is None or share.low is None or share.high is None:
        return None
    return f"{share.low:.2f} to {share.high:.2f}"


def _references_note(results: Results) -> str:
    if all(any(arm == row.name for row in results.arms) for arm in results.findings.good):
        return ""
    return " The references are the data’s own completions, graded among the answers without being named."


def _is_open(grid: GoodGrid | None) -> bool:
    """Whether the grid is shown without a click, with the sums that stand in a table of their own otherwise."""
    return grid is not None and 2 <= len(grid.prompts) <= _MOST_OPEN


def _by_prompt(results: Results) -> Iterable[Block]:
    """Good of n by prompt and arm with the sums and their intervals: what stands behind each share."""
    grid = results.findings.good_grid
    if grid is None or len(grid.prompts) < 2:
        return
    arms = tuple(arm for arm in grid.arms if any(arm in row.arms for row in grid.prompts))
    rows = [
        TableRow(
            (one_line(row.prompt, longest=_PROMPT),),
            tuple(_cell(row.arms[arm]) if arm in row.arms else TableCell(DASH) for arm in arms),
        )
        for row in grid.prompts
    ]
    sums = [
        replace(_cell(grid.total(arm)), lines=tuple(filter(None, [_interval(results.findings.good.get(arm))])))
        for arm in arms
    ]
    rows.append(TableRow(("All prompts",), tuple(sums)))
    note = (
        "Good answers of those that were called good or bad, by the majority of a sample’s raters. An even vote "
        "(split) and an answer of which nobody could tell (can’t tell) count as neither. Below each sum is the "
        f"95\u00a0% interval of its share.{_references_note(results)}"
    )
    title = f"Good answers by prompt, as {_whose(results)} judged them"
    table = Table("good_by_prompt", "Prompt", arms, tuple(rows), note, title=title)
    if _is_open(grid):
        yield table
    else:
        yield Folded(title, (replace(table, title=None),))


def _cell(count: GoodCount) -> TableCell:
    """2/3, and beside it what counted as neither."""
    aside = [f"{count.unsure} can’t tell"] * bool(count.unsure) + [f"{count.split} split"] * bool(count.split)
    return TableCell(", ".join([str(count), *aside]))


def _agreement(results: Results) -> tuple[str, ...]:
    """How far raters agree with each other."""
    found, notes = results.findings, []
    agreement = found.agreement
    if agreement is not None and agreement.n_raters > 1:
        if agreement.raw.value is None:
            notes.append(f"Agreement between raters is undefined: {agreement.raw.reason}.")
        else:
            alpha = agreement.krippendorff_alpha
            shown = formats.score(alpha.value) if alpha.value is not None else f"undefined, for {alpha.reason}"
            if alpha.low is not None and alpha.high is not None:
                shown += f" (95\u00a0% interval {formats.span(alpha.low, alpha.high)})"
            notes.append(
                f"{agreement.n_raters} raters agree on {formats.percent(agreement.raw.value)} of "
                f"{agreement.raw.n_items} texts; Krippendorff’s alpha is {shown}."
            )
    return tuple(notes)


def _metrics_beside(results: Results) -> Iterable[Block]:
    """How far each metric ranks answers as the raters do, a row each."""
    compared = results.findings.metric_vs_people
    if not compared:
        return
    rows = [TableRow((metric_name(name),), _beside(row)) for name, row in compared.items()]
    note = (
        "Of two answers to one prompt that raters judged differently, the share that the metric ranks as they do, "
        "with 95\u00a0% intervals over prompts; 50\u00a0% is chance. Same best arm: the share of resamples of the "
        "prompts in which both name it."
    )
    ranked = [row.ranking for row in compared.values()]
    if any(ranking.n_arms == 3 for ranking in ranked):
        note += " With three arms even a perfect rank correlation has p = 1/6."
    reasons = dict.fromkeys(row.concordance.reason for row in compared.values() if row.concordance.reason)
    if reasons:
        note += f" No interval, or no share: {'; '.join(map(str, reasons))}."
    title = "Metrics beside the raters"
    yield Table(
        "metrics_beside_raters", "Metric", ("Ranks as raters do", "Same best arm"), tuple(rows), note, title
    )


def _beside(row: MetricVsPeople) -> tuple[TableCell, TableCell]:
    within = row.concordance
    bounds: tuple[str, ...] = ()
    if within.low is not None and within.high is not None:
        bounds = (f"{100 * within.low:.0f} to {100 * within.high:.0f}\u00a0%",)
    return TableCell(formats.percent(within.value), bounds), TableCell(formats.percent(row.ranking.same_best))


def _disagreements(material: Material) -> Iterable[Block]:
    """The answers that the metric and people see most differently, with their texts."""
    results = material.results
    compared = results.findings.metric_vs_people
    name = results.metric if results.metric in compared else next(iter(compared), None)
    if name is None or not (row := compared[name]).disagreements:
        return
    metric, texts = metric_name(name), {sample.id: sample.text for sample in material.records.samples}
    facts = tuple(
        Fact(
            f"{one.arm}: {metric} {formats.score(one.score)}, grade {formats.score(one.grade)}",
            (Quote(one_line(texts.get(one.sample_id, ""), longest=_LONGEST_TEXT)), " ", Code(one.sample_id)),
        )
        for one in row.disagreements
    )
    note = Paragraph("A grade is the mean of an answer’s raters, good 1 and bad 0.", Tone.ASIDE)
    yield Folded(f"Where {metric} and raters differ most", (Facts(facts), note))


def _reasons(material: Material) -> Iterable[Block]:
    """Why answers were called what they were called, counted by arm."""
    found = reasons_by_arm(grades_by_sample(material.records))
    arms = [arm.name for arm in material.results.arms if any(arm.name in row for row in found.values())]
    if not arms:
        return
    rows = tuple(
        TableRow((reason,), tuple(TableCell(str(row[arm])) for arm in arms)) for reason, row in found.items()
    )
    note = "How often raters gave each reason, over all grades of an arm’s answers."
    yield Table("reasons", "Reason", tuple(arms), rows, note, title="Reasons")


def _whose(results: Results) -> str:
    """Whose judgement the tables hold: people's, unless no person graded."""
    facts = results.findings.grading
    return "raters" if facts is None else facts.word


def _title(material: Material) -> str:
    return f"What {_whose(material.results)} said"


def _people(material: Material) -> Iterable[Block]:
    results = material.results
    yield from _by_prompt(results)
    if not _is_open(results.findings.good_grid):
        yield _good(results)
    yield from _reasons(material)
    yield from map(Paragraph, _agreement(results))
    yield from _metrics_beside(results)
    yield from _disagreements(material)


PEOPLE = SectionMaker("good", _title, _people, needs=lambda m: m.results.findings.good)
