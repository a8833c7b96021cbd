"""Warn of what makes scores or comparisons less than they seem: copies, holes, constant and mixed values."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from finetrial.evidence.sample_scores import output_of
from finetrial.evidence.score_table import Distinct, Table
from finetrial.metrics.mean_grade import GRADE
from finetrial.metrics.metric import ComputedMetric, Metric, Settings
from finetrial.metrics.metric_table import metric_name
from finetrial.store.records import Sample, Score
from finetrial.trial.data_findings import counted
from finetrial.units import listing

_MOST_NAMED = 3
_MOST_PAIRS = 3  # of arms that are named one by one; beyond, the most alike of them


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _MOST_NAMED} more" if len(listed) > _MOST_NAMED else ""
    return ", ".join(listed[:_MOST_NAMED]) + more


def _copies(distinct: Distinct) -> Iterable[str]:
    if distinct.times > 1:
        yield (
            f"Every row of the file stands {distinct.times} times, and each is counted once; a column that tells "
            "samples apart, such as their seed, keeps them."
        )


def _prompts(samples: Sequence[Sample]) -> Iterable[str]:
    ids: dict[str, set[str]] = defaultdict(set)
    groups: dict[str, set[str | None]] = defaultdict(set)
    references: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for sample in samples:
        ids[sample.source if sample.source is not None else sample.prompt].add(sample.prompt_id)
        groups[sample.prompt_id].add(sample.group)
        references[sample.prompt_id].add(sample.references)
    several = [sorted(found) for found in ids.values() if len(found) > 1]
    if several:
        n = sum(map(len, several))
        yield f"{n} prompts are only {len(several)} different texts ({_some(several[0])}): not independent."
    if mixed := sorted(prompt for prompt, found in groups.items() if len(found) > 1):
        yield f"{len(mixed)} prompts stand in more than one group ({_some(mixed)}); the last one counts."
    if mixed := sorted(prompt for prompt, found in references.items() if len(found) > 1):
        yield f"{len(mixed)} prompts have other references in other rows ({_some(mixed)}): scores may not compare."


def _same_texts(samples: Sequence[Sample], *, arms: Sequence[str]) -> Iterable[str]:
    texts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for sample in samples:
        texts[sample.arm][sample.prompt_id][sample.text] += 1
    alike: list[tuple[float, str]] = []
    for a, b in itertools.combinations(arms, 2):
        common = texts[a].keys() & texts[b].keys()
        same = sum(texts[a][prompt] == texts[b][prompt] for prompt in common)
        if same and (same == len(common) or same > len(common) / 2):
            said = f"{a} and {b} gave the same texts on {same} of {counted(len(common), 'prompt')}"
            alike.append((same / len(common), said))
    if len(alike) > _MOST_PAIRS:
        most = max(share for share, _ in alike)
        first = next(said for share, said in alike if share == most)
        yield f"{len(alike)} pairs of arms gave the same texts on most of their prompts; most of all {first}."
    else:
        yield from (f"{said}." for _, said in alike)
    for arm in arms:
        cells = [cell for cell in texts[arm].values() if cell.total() > 1]
        again = sum(cell.total() - len(cell) for cell in cells)
        total = sum(cell.total() for cell in cells)
        if again and 4 * again >= total:
            yield f"{again} of {total} samples of {arm} are word for word another sample of their prompt."


def _cells(table: Table) -> Iterable[str]:
    absent = {arm: sum(not table.n_samples.get((arm, p)) for p in table.prompts) for arm in table.arms}
    if any(absent.values()):
        everywhere = sum(all(table.n_samples.get((arm, p)) for arm in table.arms) for p in table.prompts)
        lacking = ", ".join(f"{arm} lacks {n}" for arm, n in absent.items() if n)
        yield (
            f"Of {len(table.prompts)} prompts every arm answered {everywhere}; {lacking}. Pairs use what both did."
        )
    runs = {arm: max(1, len(table.runs.get(arm, ()))) for arm in table.arms}
    counts = sorted({n // runs[arm] for (arm, _), n in table.n_samples.items() if n})
    if len(counts) > 1:
        yield f"Arms and prompts have from {counts[0]} to {counts[-1]} samples; every prompt still weighs alike."
    if len(table.prompts) > 1 and counts and counts[0] > len(table.prompts):
        yield (
            f"{counts[0]} samples a prompt on {len(table.prompts)} prompts: more prompts would tell more than more "
            "samples."
        )


def _values(
    table: Table, *, samples: Sequence[Sample], scores: Sequence[Score], metrics: Iterable[Metric]
) -> Iterable[str]:
    without = {sample.id for sample in samples if not sample.references}
    valued = {s.metric for s in scores if s.sample_id in without and s.value is not None}  # from elsewhere
    bare = len(without)
    unasked = [m.name for m in metrics if bare and m.name not in valued and m.needs_references]
    if unasked:
        verb = "is" if len(unasked) == 1 else "are"
        yield (
            f"{listing([metric_name(m) for m in unasked])} {verb} not asked of {bare} of {len(samples)} samples: "
            "their prompts have no completion to compare with."
        )
    for metric, arms in table.values.items():
        values = [value for cells in arms.values() for row in cells.values() for value in row]
        missing = sum(value is None or math.isnan(value) for value in values)
        missing -= bare if metric in unasked else 0
        infinite = sum(value is not None and math.isinf(value) for value in values)
        n_samples = sum(table.n_samples.values())
        if metric != GRADE and missing > 0:
            yield f"{missing} of {n_samples} samples have no {metric_name(metric)}."
        if infinite:
            yield f"{metric_name(metric)} has {infinite} infinite values: no mean is defined where they stand."
        finite = {value for value in values if value is not None and math.isfinite(value)}
        if len(finite) == 1 and len(values) > 1:
            yield f"{metric_name(metric)}: {next(iter(finite)):g} for every sample, which separates no arms."


def _signatures(scores: Sequence[Score]) -> Iterable[str]:
    ways: dict[str, set[str]] = defaultdict(set)
    for score in scores:
        ways[score.metric].add(score.signature)
    for metric, found in ways.items():
        if len(found) > 1:
            yield f"{metric_name(metric)} was computed in {len(found)} ways: {'; '.join(sorted(found))}."


def unseen_letters(samples: Sequence[Sample], *, metrics: Iterable[Metric], scoring: Settings) -> tuple[str, ...]:
    """The letters of these texts that metrics do not see, said once."""
    checks = dict.fromkeys(m.unseen for m in metrics if isinstance(m, ComputedMetric) and m.unseen is not None)
    outputs = [output_of(sample) for sample in samples] if checks else []
    return tuple(dict.fromkeys(text for check in checks if (text := check(outputs, scoring)) is not None))


def _of_metrics(samples: Sequence[Sample], *, metrics: Iterable[Metric], scoring: Settings) -> Iterable[str]:
    """What each metric has to say of these texts, said once."""
    checks = dict.fromkeys(m.warn for m in metrics if isinstance(m, ComputedMetric) and m.warn is not None)
    outputs = [output_of(sample) for sample in samples] if checks else []
    return dict.fromkeys(text for check in checks for text in check(outputs, scoring))


def data_warnings(
    samples: Sequence[Sample],
    scores: Sequence[Score],
    *,
    table: Table,
    distinct: Distinct,
    metrics: Iterable[Metric],
    scoring: Settings,
    has_texts: bool = True,
) -> tuple[str, ...]:
    """Every warning about the data, as sentences. `metrics` are those with values; `has_texts`: there are texts."""
    found: list[str] = [*_copies(distinct), *_prompts(samples), *_cells(table)]
    if has_texts:
        found += _same_texts(samples, arms=table.arms)
        found += unseen_letters(samples, metrics=metrics, scoring=scoring)
        found += _of_metrics(samples, metrics=metrics, scoring=scoring)
    return (*found, *_values(table, samples=samples, scores=scores, metrics=metrics), *_signatures(scores))


def graded_twice(grades: Mapping[tuple[str, str], int]) -> str | None:
    """The warning where a rater graded one sample several times, from counts by (sample, rater)."""
    several = sum(n > 1 for n in grades.values())
    return (
        f"{several} samples were graded more than once by one rater; the first grade counts." if several else None
    )
