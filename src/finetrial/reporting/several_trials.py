"""Set trials beside each other from their reports: scores, grades, cost, what differs in their settings, and where
the prompts are the same the paired differences between them.

Nothing is computed from the samples: the numbers are those of each trial's results.json, which `finetrial verify`
checks, so bundles will do.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial import __version__
from finetrial.errors import UserError
from finetrial.metrics.metric import Direction
from finetrial.metrics.metric_table import metric_name, metric_named
from finetrial.reporting import formats
from finetrial.reporting.document import (
    ArmName,
    Block,
    Document,
    Fact,
    Facts,
    Heading,
    Notice,
    Paragraph,
    Section,
    Table,
    TableCell,
    TableRow,
    Text,
)
from finetrial.reporting.formats import DASH
from finetrial.reporting.packed_trial import is_packed, unpacked
from finetrial.reporting.results import read_results
from finetrial.stats.comparison import Comparison, compare_on_new_prompts
from finetrial.store.layout import TrialFolder
from finetrial.trial.folder import open_trial
from finetrial.units import listing

_LEAST_SHARED = 2  # prompts: with one there is no spread


@dataclass(frozen=True, slots=True)
class ReportedTrial:
    """A trial by the results.json of its report."""

    name: str  # unique among those that are compared
    results: Mapping[str, Any]

    def setting(self, label: str) -> str:
        """What the report says under a label of what was compared."""
        return str(self.results.get("asked", {}).get(label, DASH))

    def means(self, metric: str, arm: str) -> Mapping[str, float]:
        """An arm's means by prompt, where this is the metric that they are of."""
        return (self.results.get("prompt_means") or {}).get(arm, {}) if self.results.get("metric") == metric else {}


def read_trials(paths: Sequence[Path]) -> tuple[ReportedTrial, ...]:
    """The trials of trial files, folders and bundles. Raises UserError where one has no report."""
    found = [_read(path) for path in paths]
    names = [str(results["trial"]) for results in found]
    seen = Counter(names)
    unique = [
        name if seen[name] == 1 else f"{name} ({path.stem or path.name})"
        for name, path in zip(names, paths, strict=True)
    ]
    if len(set(unique)) < len(unique):
        unique = [f"{number}. {name}" for number, name in enumerate(names, start=1)]
    return tuple(ReportedTrial(name, results) for name, results in zip(unique, found, strict=True))


def _read(path: Path) -> Mapping[str, Any]:
    if is_packed(path):
        with unpacked(path) as root:
            return read_results(TrialFolder(root))
    return read_results(open_trial(path)[1])


def _rows(trials: Sequence[ReportedTrial]) -> Iterable[tuple[ReportedTrial, str]]:
    """Every arm of every trial."""
    return ((trial, arm) for trial in trials for arm in trial.results["arms"])


def _head(trial: ReportedTrial, arm: str) -> Text:
    return (trial.name, ": ", ArmName(arm))


def _verdicts(trials: Sequence[ReportedTrial]) -> Iterable[Block]:
    for trial in trials:
        yield Paragraph(f"{trial.name}: {trial.results['answer']}")
    primaries = {str(trial.results.get("primary")) for trial in trials}
    if len(primaries) > 1:
        yield Notice((f"The trials are decided by different metrics: {listing(sorted(primaries))}.",))
    versions = {str(trial.results.get("finetrial")) for trial in trials}
    if len(versions) > 1:
        yield Notice((f"Different versions of finetrial wrote the reports: {listing(sorted(versions))}.",))


def _setting_of_each(trials: Sequence[ReportedTrial], label: str) -> Fact:
    first, *more = (f"{trial.name}: {trial.setting(label)}" for trial in trials)
    return Fact(label, first, tuple(more))


def _settings(trials: Sequence[ReportedTrial]) -> Iterable[Block]:
    labels = list(dict.fromkeys(label for trial in trials for label in trial.results.get("asked", {})))
    differing = [label for label in labels if len({trial.setting(label) for trial in trials}) > 1]
    if differing:
        yield Heading("What differs")
        yield Facts(tuple(_setting_of_each(trials, label) for label in differing))
    if alike := [label for label in labels if label not in differing]:
        yield Heading("What is the same")
        yield Facts(tuple(Fact(label, trials[0].setting(label)) for label in alike))


def _score_cell(cell: Mapping[str, Any] | None) -> TableCell:
    if cell is None or cell.get("mean") is None:
        return TableCell(DASH)
    low, high = cell.get("low"), cell.get("high")
    lines = () if low is None or high is None else (formats.span(low, high),)
    return TableCell(formats.score(cell["mean"]), lines)


def _scores(trials: Sequence[ReportedTrial]) -> Iterable[Block]:
    metrics = list(dict.fromkeys(metric for trial in trials for metric in trial.results["metrics"]))
    rows = tuple(
        TableRow(
            _head(trial, arm),
            tuple(_score_cell(trial.results["metrics"].get(metric, {}).get(arm)) for metric in metrics),
        )
        for trial, arm in _rows(trials)
    )
    note = "Means over each trial’s own prompts, with 95\u00a0% intervals."
    for metric in metrics:
        ways = {trial.results["signatures"].get(metric) for trial in trials if metric in trial.results["metrics"]}
        if len(ways) > 1:
            note += f" {metric_name(metric)} was computed in {len(ways)} ways: its scores do not compare."
    if metrics:
        yield Table("scores", "Trial and arm", tuple(map(metric_name, metrics)), rows, note)


def _grades(trials: Sequence[ReportedTrial]) -> Iterable[Block]:
    rows = []
    for trial, arm in _rows(trials):
        if (good := (trial.results.get("good") or {}).get(arm)) is not None:
            lines = () if good["low"] is None else (f"{good['low']:.2f} to {good['high']:.2f}",)
            rows.append(TableRow(_head(trial, arm), (TableCell(f"{good['good']}/{good['of']}", lines),)))
    if rows:
        note = "Good of those called good or bad, with 95\u00a0% intervals. Other raters may grade more strictly."
        yield Table("good", "Trial and arm", ("Good answers",), tuple(rows), note)


def _costs(trials: Sequence[ReportedTrial]) -> Iterable[Block]:
    rows = []
    for trial, arm in _rows(trials):
        measured = trial.results["arms"][arm].get("measured")
        if measured is not None and measured.get("trained_parameters"):
            shown = (
                formats.whole(measured["trained_parameters"]),
                formats.size(measured["stored_bytes"]),
                formats.duration(measured["tune_seconds"]),
                formats.size(measured["peak_memory_bytes"]),
                formats.power_of_ten(measured["flops_total"]),
            )
            rows.append(TableRow(_head(trial, arm), tuple(map(TableCell, shown))))
    if rows:
        titles = ("Trained parameters", "Stored", "Tuning time", "Peak memory", "FLOPs")
        yield Table("costs", "Trial and arm", titles, tuple(rows), "As measured; machines may differ.")


@dataclass(frozen=True, slots=True)
class Between:
    """The same arm of two trials on the prompts that both sampled: the first minus the second."""

    arm: str
    first: str
    second: str
    metric: str
    found: Comparison


def between_trials(trials: Sequence[ReportedTrial]) -> tuple[Between, ...]:
    """Arms of one name in two trials, compared prompt by prompt where the deciding metric, the way it is computed
    and at least two prompts, by their ids, are the same."""
    rows = []
    for one, two in itertools.combinations(trials, 2):
        metric = one.results.get("metric")
        if metric is None or metric != two.results.get("metric"):
            continue
        if one.results["signatures"].get(metric) != two.results["signatures"].get(metric):
            continue
        for arm in one.results["arms"]:
            a, b = one.means(metric, arm), two.means(metric, arm)
            shared = [prompt_id for prompt_id in a if prompt_id in b]
            if len(shared) >= _LEAST_SHARED:
                values = ([side[prompt_id] for prompt_id in shared] for side in (a, b))
                found = compare_on_new_prompts(*values, bounds=metric_named(metric).bounds)
                rows.append(Between(arm, one.name, two.name, metric, found))
    return tuple(rows)


def _between(trials: Sequence[ReportedTrial]) -> Iterable[Block]:
    found = between_trials(trials)
    if not found:
        yield Paragraph(
            "No two trials share an arm’s name, the metric that decides and the way it is computed, and at least "
            "two prompts: nothing can be compared prompt by prompt."
        )
        return
    rows = []
    for row in found:
        pair = row.found
        low, high = pair.low, pair.high
        lines = () if low is None or high is None else (formats.difference_span(low, high),)
        cells = (
            TableCell(f"{row.first} − {row.second}"),
            TableCell(metric_name(row.metric)),
            TableCell(formats.difference(pair.difference), lines),
            TableCell(formats.p_value(pair.p)),
            TableCell(str(pair.n_units)),
        )
        rows.append(TableRow((ArmName(row.arm),), cells))
    note = (
        "Differences on the prompts that both trials sampled, matched by their ids, with 95\u00a0% intervals; p is "
        "that of a sign-flip test. Exploratory: no comparison between trials was named beforehand, and the "
        "p-values are not corrected. The trials may differ in more than one thing at once."
    )
    lower = {row.metric for row in found if metric_named(row.metric).direction is Direction.LOWER}
    if lower:
        note += f" Of {listing(sorted(map(metric_name, lower)))} lower is better."
    yield Table("between", "Arm", ("Trials", "Metric", "Difference", "p", "Prompts"), tuple(rows), note, n_text=2)


_SECTIONS = (
    ("scores", "Scores", _scores),
    ("between", "The same arm in two trials", _between),
    ("good", "What people said", _grades),
    ("costs", "Cost", _costs),
    ("settings", "What was compared", _settings),
)


def compare_trials(trials: Sequence[ReportedTrial]) -> Document:
    """The document that sets trials beside each other. Raises UserError for fewer than two."""
    if len(trials) < 2:
        raise UserError("one trial cannot be compared", expected="two or more")
    sections = []
    for name, title, make in _SECTIONS:
        if blocks := tuple(make(trials)):
            sections.append(Section(name, title, blocks, brief=blocks))
    names = listing([trial.name for trial in trials])
    return Document(
        trial=names,
        title=f"{len(trials)} trials compared",
        authors=(),
        arms={},
        lead=Section("opening", "Verdicts", tuple(_verdicts(trials))),
        sections=tuple(sections),
        version=__version__,
        kind="Trials compared",
        made_from=f"the reports of {names}",
    )
