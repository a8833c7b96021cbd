"""Score the references of other prompts as answers: what an answer that ignores its prompt reaches.

An arm whose interval lies no more than the margin above that value is not shown to do the task. The value is made
from the samples' own references, so that it can be recomputed from the records.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from finetrial.errors import UserError
from finetrial.evidence.findings import Floor, Interval
from finetrial.evidence.sample_scores import output_of, score_samples, scoring_settings, with_script
from finetrial.metrics.metric import ArmMetric, GivenMetric
from finetrial.metrics.metric_table import find_metric
from finetrial.stats.unit_values import mean, unit_means
from finetrial.store.records import Sample
from finetrial.trial.schema import Judging

FEWEST_PROMPTS = 5  # assumption: fewer prompts' references say little of what other prompts would score
# Assumption: the mean of 2,000 scores with a standard deviation of 0.1 has a standard error of 0.002, a tenth of
# the usual margin. ROUGE-L of references of 40 words takes 0.1 s for all of them, of one core.
MOST_ANSWERS = 2_000


@dataclass(frozen=True, slots=True)
class OtherReferences:
    """The mean score of other prompts' references as answers, beside that of each prompt's own."""

    value: float | None
    own: float | None
    n_prompts: int
    n_answers: int
    reason: str | None = None


def _order(prompt_id: str, *, seed: int) -> bytes:
    return hashlib.sha256(f"floor\0{seed}\0{prompt_id}".encode()).digest()


def _with_references(samples: Sequence[Sample]) -> dict[str, Sample]:
    """One sample for each prompt that has references; its text counts for nothing."""
    found: dict[str, Sample] = {}
    for sample in samples:
        known = found.get(sample.prompt_id)
        if sample.references and (known is None or sample.references < known.references):
            found[sample.prompt_id] = sample
    return found


def _answers(prompts: Mapping[str, Sample], *, seed: int) -> dict[str, list[str]]:
    """For each prompt the references of others, never of its own group.

    All others where that makes no more than MOST_ANSWERS in all; else those of the next prompts in an order drawn
    by the seed, going round, so that every prompt's references are used about equally often.
    """
    ordered = sorted(prompts, key=lambda p: _order(p, seed=seed))[:MOST_ANSWERS]
    n_references = sum(len(prompts[p].references) for p in ordered)
    n_others = min(len(ordered) - 1, max(1, MOST_ANSWERS // n_references))
    found = {}
    for place, prompt in enumerate(ordered):
        group = prompts[prompt].group
        after = (ordered[(place + step) % len(ordered)] for step in range(1, len(ordered)))
        others = islice((q for q in after if group is None or prompts[q].group != group), n_others)
        found[prompt] = [reference for q in others for reference in prompts[q].references]
    return found


def score_other_references(
    samples: Sequence[Sample], *, judging: Judging, base: Path = Path(), seed: int = 0
) -> OtherReferences:
    """Score other prompts' references, and one own reference of each prompt, by the primary metric.

    A prompt's value is the mean over the answers; prompts of one group count as one unit, as everywhere. Undefined,
    with the reason, with fewer than FEWEST_PROMPTS units with references and for scores that come from elsewhere.
    `base` is the folder that a metric of the user's own is relative to.
    """
    metric = judging.primary
    prompts = _with_references(samples)
    groups = {prompt: sample.group for prompt, sample in prompts.items()}
    units = {group if group is not None else prompt for prompt, group in groups.items()}
    if isinstance(find_metric(metric), (GivenMetric, type(None))):
        return OtherReferences(None, None, len(prompts), 0, f"{metric} was computed elsewhere")
    if len(units) < FEWEST_PROMPTS:
        return OtherReferences(None, None, len(prompts), 0, f"fewer than {FEWEST_PROMPTS} prompts have references")
    answers = _answers(prompts, seed=seed)
    rows = [
        replace(prompts[prompt], id=f"{prompt}\0{index}", prompt_id=prompt, text=text)
        for prompt, texts in answers.items()
        for index, text in enumerate((prompts[prompt].references[0], *texts))
    ]
    only = with_script(judging, samples).model_copy(update={"metrics": (metric,)})
    if isinstance(found := find_metric(metric), ArmMetric):
        settings = scoring_settings(only, base=base)
        value, of_own = (
            found.value([output_of(row) for row in rows if row.id.endswith("\0" + "0") is own], settings)
            for own in (False, True)
        )
        reason = None if value is not None and of_own is not None else f"{found.title} is not defined for them"
        return OtherReferences(value, of_own, len(prompts), len(rows) - len(answers), reason)
    try:
        scores = score_samples(rows, judging=only, base=base)
    except UserError as error:  # the user's own function, which was not written for these texts
        return OtherReferences(None, None, len(prompts), 0, error.what)
    own: dict[str, list[float | None]] = {prompt: [] for prompt in answers}
    other: dict[str, list[float | None]] = {prompt: [] for prompt in answers}
    for row, score in zip(rows, scores, strict=True):
        (own if row.id.endswith("\0" + "0") else other)[row.prompt_id].append(score.value)
    value, of_own = (_mean(values, groups=groups) for values in (other, own))
    reason = None if value is not None and of_own is not None else "some references have no score"
    return OtherReferences(value, of_own, len(prompts), len(rows) - len(answers), reason)


def _mean(values: Mapping[str, Sequence[float | None]], *, groups: Mapping[str, str | None]) -> float | None:
    units = [value for value in unit_means(values, groups=groups).values() if value is not None]
    return mean(units) if units and all(map(math.isfinite, units)) else None


def _is_above(row: Interval, *, least: float, sign: float) -> bool:
    """Whether the whole interval lies beyond `least`; the mean decides where there is no interval."""
    bound = row.low if sign > 0 else row.high
    bound = row.mean if bound is None else bound
    return bound is not None and sign * bound > sign * least


def compare_with_floor(
    found: OtherReferences, *, intervals: Mapping[str, Interval], margin: float, sign: float
) -> Floor:
    """Which arms lie more than the margin above what other prompts' references score.

    Undefined where a metric gives a prompt's own references no more than the margin above the others': then no
    answer, however good, could be shown to do the task.
    """
    floor = partial(Floor, margin=margin, n_prompts=found.n_prompts, n_answers=found.n_answers)
    if found.value is None or found.own is None:
        return floor(value=None, above=(), at=(), reason=found.reason)
    if sign * (found.own - found.value) <= margin:
        reason = "the metric gives other prompts' references what it gives a prompt's own"
        return floor(value=None, above=(), at=(), reason=reason)
    known = {arm: row for arm, row in intervals.items() if row.mean is not None}
    least = found.value + sign * margin
    above = tuple(arm for arm, row in known.items() if _is_above(row, least=least, sign=sign))
    at = tuple(arm for arm in known if arm not in above)
    return floor(value=found.value, above=above, at=at)
