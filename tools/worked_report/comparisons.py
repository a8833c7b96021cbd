"""Write what a trial found beside what was published of other models: grades, scores, tests and the texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import factorial
from pathlib import Path
from typing import Any

from finetrial.api.outputs import score
from finetrial.evidence.good_grid import PromptGrades
from finetrial.metrics.metric_table import metric_name
from finetrial.reporting import formats
from finetrial.reporting.document import (
    ArmName,
    Block,
    Commands,
    Fact,
    Facts,
    Heading,
    Notice,
    Paragraph,
    Section,
    Table,
    TableCell,
    TableRow,
    Tone,
)
from finetrial.reporting.safe_text import one_line
from finetrial.units import listing
from worked_report.inputs import Comparison, Published
from worked_report.scaling_exercises import LEAVES_OUT
from worked_report.trial_record import TrialRecord, read_record

NOT_GRADED, NOT_RUN = "not graded", "not run"
_PROMPT = 52  # characters of a prompt in a table
_TRANSCRIPTS = 2  # unless the inputs name prompts
_SETUP = ("Model", "Data", "Examples", "Prompts", "Shown as", "Tuning", "Sampling", "A good answer")


@dataclass(frozen=True, slots=True)
class Counted:
    """Good answers of an arm."""

    good: int
    of: int
    low: float | None
    high: float | None

    def __str__(self) -> str:
        return f"{self.good}/{self.of}"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arms compared by their grades, prompt by prompt."""

    a: str
    b: str
    difference: float | None
    p: float | None
    p_holm: float | None


@dataclass(frozen=True, slots=True)
class Graded:
    """What counts of good answers say, by the same tests wherever they come from."""

    arms: Mapping[str, Counted]
    pairs: tuple[Pair, ...]
    prompts: tuple[PromptGrades, ...]

    @property
    def smallest_p(self) -> float:
        """What no p on new prompts can be below: all signs alike, two-sided."""
        return min(1.0, 2.0 ** (1 - len(self.prompts)))


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison with everything that was read for it."""

    given: Comparison
    record: TrialRecord | None  # None: not run
    graded: Graded | None
    published: Graded | None
    rerun: TrialRecord | None = None  # a trial of the published model itself
    rerun_graded: Graded | None = None


def rouge1_of(record: TrialRecord) -> Mapping[str, float]:
    """Each arm's mean ROUGE-1."""
    rows = record.results["metrics"].get("rouge1", {})
    return {arm: row["mean"] for arm, row in rows.items() if row["mean"] is not None}


def graded_of(counts: Any) -> Graded | None:
    """The tests on counts of good answers: rows of prompt, arm, good, of, or a file of them."""
    if not isinstance(counts, Path) and not counts:
        return None
    found = score(counts, primary="grade").findings
    pairs = [pair for pair in found.pairs if pair.metric == "grade" and pair.question == "new"]
    grid = found.good_grid
    return Graded(
        arms={arm: Counted(row.good, row.of, row.low, row.high) for arm, row in found.good.items()},
        pairs=tuple(Pair(p.a, p.b, p.difference, p.p, p.p_holm) for p in pairs if p.a and p.b),
        prompts=() if grid is None else grid.prompts,
    )


def read_comparison(given: Comparison, *, base: Path) -> Compared:
    """Read a comparison's trial and published counts; paths start at `base`."""
    record = read_record(base / given.records)
    published = given.published
    rerun = read_record(base / published.ran) if published is not None and published.ran else None
    return Compared(
        given=given,
        record=record,
        graded=None if record is None else graded_of(record.counts),
        published=graded_of(base / published.counts) if published is not None and published.counts else None,
        rerun=rerun,
        rerun_graded=None if rerun is None else graded_of(rerun.counts),
    )


def _setup(record: TrialRecord, given: Comparison) -> Iterator[Fact]:
    asked = record.results["asked"]
    yield from (Fact(label, asked[label]) for label in _SETUP if label in asked)
    for arm in record.arms:
        row = record.results["arms"][arm]
        words = given.arms.get(arm) or row["description"]
        rate = (row.get("measured") or {}).get("learning_rate")
        if rate is not None:
            words += "; learning rate " + formats.power_of_ten(rate).replace(" ", "\u00a0")
        yield Fact(f"Arm {arm}", words)
    yield Fact("Graded by", _raters(record))


def _raters(record: TrialRecord) -> str:
    if not record.raters:
        return NOT_GRADED
    facts = record.results["grading_facts"]
    named = [f"{name} ({kind or 'not declared'})" for name, kind in record.raters.items()]
    text = f"{listing(named)}: {facts['grades']} grades through the page, before the key was opened"
    if facts["not_blind"]:
        text += f" but for {facts['not_blind']}"
    if facts["median_seconds"] is not None:
        text += f"; {facts['median_seconds']:.1f}\u00a0s each (median)"
    return text


def _interval(row: Counted | None) -> tuple[str, ...]:
    if row is None or row.low is None or row.high is None:
        return ()
    return (f"{row.low:.2f} to {row.high:.2f}",)


def _by_arm(compared: Compared, record: TrialRecord) -> Table:
    """Good answers and ROUGE-1 of every arm, ours and published ones in columns of their own."""
    published, metrics = compared.given.published, record.results["metrics"].get("rouge1", {})
    columns = [f"Good ({record.rater_word})" if record.raters else "Good", "ROUGE-1"]
    if published is not None:
        columns += [f"Good, published of {published.model}"]
        columns += [f"ROUGE-1, published of {published.model}"] if published.rouge1 else []
    graded, theirs = compared.graded, compared.published
    names = list(record.arms)
    names += [arm for arm in (theirs.arms if theirs else {}) if arm not in names]
    rows = []
    for arm in names:
        counted = graded.arms.get(arm) if graded else None
        cell = metrics.get(arm)
        cells = [
            TableCell(str(counted), _interval(counted)) if counted else TableCell(NOT_GRADED),
            TableCell(
                formats.score(cell["mean"]) if cell else formats.DASH,
                (formats.span(cell["low"], cell["high"]),) if cell and cell["low"] is not None else (),
            ),
        ]
        if published is not None:
            found = theirs.arms.get(arm) if theirs else None
            cells.append(TableCell(str(found) if found else formats.DASH))
            if published.rouge1:
                value = published.rouge1.get(arm)
                cells.append(TableCell(formats.DASH if value is None else f"{value:g}"))
        rows.append(TableRow((ArmName(arm),), tuple(cells)))
    prompts = {row["n_prompts"] for row in metrics.values()}
    note = f"ROUGE-1 on {listing([str(n) for n in sorted(prompts)])} prompts. In small type: 95\u00a0% intervals."
    if published is not None:
        note += f" Published figures come from another model, {published.model}, graded by {published.raters}."
    return Table(f"{compared.given.id}_arms", "Arm", tuple(columns), tuple(rows), note, title="The arms")


def _grid(name: str, title: str, graded: Graded, *, arms: Sequence[str]) -> Table:
    """k of n by prompt and arm."""

    def cells(counts: Mapping[str, object]) -> tuple[TableCell, ...]:
        return tuple(TableCell(str(counts.get(arm, formats.DASH))) for arm in arms)

    rows = [TableRow(one_line(row.prompt, longest=_PROMPT), cells(row.arms)) for row in graded.prompts]
    return Table(name, "Prompt", tuple(arms), (*rows, TableRow("all", cells(graded.arms))), title=title)


def _by_prompt(compared: Compared, record: TrialRecord) -> Iterator[Table]:
    """The grades here, and those that were published, of other prompts."""
    name, published = compared.given.id, compared.given.published
    if compared.graded is not None:
        title = f"Good answers by prompt ({record.rater_word})"
        yield _grid(f"{name}_prompts", title, compared.graded, arms=record.arms)
    if compared.published is not None and published is not None:
        title = f"Good answers by prompt, published of {published.model}"
        arms = list(compared.published.arms)
        yield _grid(f"{name}_published", title, compared.published, arms=arms)


def _tests(compared: Compared) -> Table | None:
    """Whether the grades would hold on new prompts, by one test for ours and for what was published."""
    graded, theirs, published = compared.graded, compared.published, compared.given.published
    if graded is None:
        return None
    columns = ["Difference in good", "p", "p after Holm"]
    if theirs is not None and published is not None:
        columns += [f"Difference, {published.model}", f"p after Holm, {published.model}"]
    other = {frozenset((p.a, p.b)): p for p in (theirs.pairs if theirs else ())}
    rows = []
    for pair in graded.pairs:
        cells = [
            TableCell(formats.difference(pair.difference)),
            TableCell(formats.p_value(pair.p)),
            TableCell(formats.p_value(pair.p_holm)),
        ]
        if theirs is not None and published is not None:
            found = other.get(frozenset((pair.a, pair.b)))
            sign = 1 if found is None or found.a == pair.a else -1
            value = None if found is None or found.difference is None else sign * found.difference
            cells += [
                TableCell(formats.difference(value)),
                TableCell(formats.p_value(found.p_holm if found else None)),
            ]
        rows.append(TableRow((ArmName(pair.a), " against ", ArmName(pair.b)), tuple(cells)))
    note = (
        f"The first arm’s share of good answers minus the second’s, prompt by prompt, by a sign-flip test. With "
        f"{len(graded.prompts)} prompts no p on new prompts can be smaller than {graded.smallest_p:.3g}."
    )
    return Table(f"{compared.given.id}_tests", "Pair", tuple(columns), tuple(rows), note, title="On new prompts")


def _leaves_out(compared: Compared, record: TrialRecord) -> Iterator[str]:
    facts = record.results.get("grading_facts") or {}
    if record.rater_word == "stand-in":
        yield "No person graded: the grades are a stand-in’s, and say what it calls good."
    elif record.raters and None in record.raters.values():
        yield "What the raters were, nobody declared."
    guesses = facts.get("guesses")
    if guesses and guesses["p"] is not None and guesses["p"] < 0.05:
        yield (
            f"Blind is not the same as unaware: asked afterwards which arm wrote what, the rater was right "
            f"{guesses['hits']} times of {guesses['of']}, where chance gives {guesses['expected']:.1f} "
            f"(p = {guesses['p']:.2g})."
        )
    yield from (row["text"] for row in record.results.get("verdict_warnings", ()))
    yield from compared.given.leaves_out


def _blocks(compared: Compared) -> Iterator[Block]:
    given, record = compared.given, compared.record
    yield Paragraph(given.question)
    if record is None:
        yield Notice((f"{NOT_RUN.capitalize()}: there is no trial at {given.records}.",))
        return
    yield Facts(tuple(_setup(record, given)))
    if compared.graded is None:
        yield Notice((f"{NOT_GRADED.capitalize()}: nobody has graded this trial.",))
    yield from _by_prompt(compared, record)
    yield _by_arm(compared, record)
    tests = _tests(compared)
    if tests is not None:
        yield tests
    metric = record.results["metric"]
    if metric is not None:
        yield Paragraph(f"By {metric_name(metric)}: {record.results['answer']}", Tone.ASIDE)
    yield Notice(tuple(_leaves_out(compared, record)), title=LEAVES_OUT)
    shown = given.shown or tuple(one.prompt_id for one in record.transcripts[:_TRANSCRIPTS])
    texts = [one for one in record.transcripts if one.prompt_id in shown]
    if texts:
        yield Heading("What they wrote")
        yield Paragraph(
            "Each answer with what was said of it, its ROUGE-1 and how it ended. A, B, C are an arm’s answers in "
            "the order of drawing.",
            Tone.ASIDE,
        )
        yield from texts
    command = record.results["recompute"].get("Command")
    if command:
        yield Commands(command)


def comparison_section(compared: Compared) -> Section:
    """One comparison."""
    return Section(compared.given.id, compared.given.title, tuple(_blocks(compared)))


def _order(values: Mapping[str, float]) -> str:
    """lora > full = base"""
    ordered = sorted(values, key=lambda arm: -values[arm])
    text = ""
    for place, arm in enumerate(ordered):
        if place:
            text += " = " if values[arm] == values[ordered[place - 1]] else " > "
        text += arm
    return text


def _shares(graded: Graded | None) -> Mapping[str, float]:
    return {} if graded is None else {arm: row.good / row.of for arm, row in graded.arms.items() if row.of}


def _same(first: Mapping[str, float], second: Mapping[str, float]) -> str:
    arms = [arm for arm in first if arm in second]
    if len(arms) < 2:
        return formats.DASH
    one, other = ({arm: row[arm] for arm in arms} for row in (first, second))
    return "yes" if _order(one) == _order(other) else "no"


def _concordance(record: TrialRecord) -> str:
    row = record.results.get("metric_vs_people", {}).get("rouge1", {}).get("concordance")
    if not row or row["value"] is None:
        return formats.DASH
    low, high = row["low"], row["high"]
    bounds = f" ({low:.2f} to {high:.2f})" if low is not None and high is not None else ""
    return f"{row['value']:.2f}{bounds}"


def ranking_section(every: Sequence[Compared]) -> Section | None:
    """The arms by ROUGE-1 and by grades, here and where it was published."""
    rows = []
    for one in every:
        if one.record is not None:
            cells = (
                TableCell(_order(rouge1_of(one.record)) or formats.DASH),
                TableCell(_order(_shares(one.graded)) or NOT_GRADED),
                TableCell(_same(rouge1_of(one.record), _shares(one.graded))),
                TableCell(_concordance(one.record)),
            )
            word = f" ({one.record.rater_word})" if one.record.raters else ""
            rows.append(TableRow(f"{one.given.title}{word}", cells))
        published: Published | None = one.given.published
        if published is not None and published.rouge1:
            cells = (
                TableCell(_order(published.rouge1)),
                TableCell(_order(_shares(one.published))),
                TableCell(_same(published.rouge1, _shares(one.published))),
                TableCell(formats.DASH),
            )
            rows.append(TableRow(f"{one.given.title}, published of {published.model}", cells))
    if not rows:
        return None
    columns = ("By ROUGE-1", "By good answers", "Same order", "Good above bad")
    arms = [one.record.arms if one.record is not None else tuple(_shares(one.published)) for one in every]
    fewest = min(len(names) for names in arms if names)
    note = (
        "Good above bad: of all pairs of one good and one bad answer to one prompt, the share in which the good "
        "one has the higher ROUGE-1; 0.5 is chance. In brackets its 95\u00a0% interval, by prompts."
    )
    blocks: list[Block] = [
        Paragraph("Does the metric put the arms in the order in which a reader puts them, and the answers too?"),
        Table("ranking", "Trial", columns, tuple(rows), note, n_text=3),
        Notice(
            (
                f"{fewest} arms have {factorial(fewest)} orders: two rankings that agree do so by chance one time "
                f"in {factorial(fewest)}.",
                "Arms in the same order say nothing of single answers, which is where a metric is used to choose.",
            ),
            title=LEAVES_OUT,
        ),
    ]
    return Section("ranking", "The ranking by ROUGE-1 against the ranking by grades", tuple(blocks))
