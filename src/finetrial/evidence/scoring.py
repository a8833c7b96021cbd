"""What does each sample score, and what does each arm score on average?

The unit is the prompt: an arm's mean is the mean of its prompts' means. Where every prompt has as many scored
samples as every other, that is the plain mean over the samples.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from finetrial.errors import UserError, unknown_name
from finetrial.metrics.rouge import METRICS, ReferenceRule, rouge
from finetrial.store.records import Sample, Score
from finetrial.trial.schema import Judging

GRADE = "grade"  # `judging.primary: grade` asks people; there is nothing to compute

_RULES = {
    "best_primary": ReferenceRule.BEST_BY_PRIMARY,
    "best": ReferenceRule.BEST_PER_METRIC,
    "mean": ReferenceRule.MEAN,
}

# metric -> arm -> prompt id -> mean over the prompt's samples
PromptMeans = dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True, slots=True)
class ArmMean:
    """One arm's mean of one metric. None: no sample of the arm has a value."""

    mean: float | None
    n_samples: int  # that have a value
    n_prompts: int  # with at least one such sample


def scored_metrics(judging: Judging) -> tuple[str, ...]:
    """The metrics to compute, in the trial file's order; the primary stands first where it was not listed."""
    listed = tuple(dict.fromkeys(judging.metrics))
    wanted = listed if judging.primary in (*listed, GRADE) else (judging.primary, *listed)
    for metric in wanted:
        if metric not in METRICS:
            raise unknown_name("metric in judging", metric, METRICS)
    return wanted


def score_samples(samples: Iterable[Sample], *, judging: Judging) -> list[Score]:
    """Every metric of every sample: F-measures from 0 to 1, None for a sample without references.

    The signature names the tokenizer, the stemmer and the rule for several references. Raises UserError for an
    unknown metric.
    """
    metrics = scored_metrics(judging)
    if not metrics:
        raise UserError("judging names no metric to compute", fix="Name one under judging.metrics, such as rouge1.")
    deciding = judging.primary if judging.primary in metrics else metrics[0]
    setting = {
        "metrics": metrics,
        "stemmer": judging.stemmer,
        "unicode": judging.unicode,
        "rule": _RULES[judging.references],
        "primary": deciding,
    }
    signatures = {m: str(s) for m, s in rouge("", [""], **setting).signatures.items()}
    scores = []
    for sample in samples:
        result = rouge(sample.text, sample.references, **setting) if sample.references else None
        for metric in metrics:
            value = None if result is None else result[metric].fmeasure
            scores.append(Score(sample_id=sample.id, metric=metric, value=value, signature=signatures[metric]))
    return scores


def prompt_means(samples: Iterable[Sample], scores: Iterable[Score]) -> PromptMeans:
    """The mean of every metric over the samples of every arm and prompt. Samples without a value count nowhere.

    Every metric that occurs has every arm, with no prompts where nothing was scored. A score whose sample is not
    among `samples` is an error.
    """
    places = {sample.id: (sample.arm, sample.prompt_id) for sample in samples}
    arms = dict.fromkeys(arm for arm, _ in places.values())
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for score in scores:
        if score.sample_id not in places:
            raise UserError(
                "a score belongs to no sample",
                got=score.sample_id,
                fix="Score the samples again: `finetrial score`.",
            )
        arm, prompt_id = places[score.sample_id]
        by_arm = values.setdefault(score.metric, {name: defaultdict(list) for name in arms})
        if score.value is not None and math.isfinite(score.value):
            by_arm[arm][prompt_id].append(score.value)
    return {
        metric: {
            arm: {prompt: statistics.fmean(row) for prompt, row in prompts.items()}
            for arm, prompts in by_arm.items()
        }
        for metric, by_arm in values.items()
    }


def arm_means(samples: Iterable[Sample], scores: Iterable[Score]) -> Mapping[str, Mapping[str, ArmMean]]:
    """metric -> arm -> the mean of the prompt means, with how many samples and prompts stand behind it."""
    samples, scores = list(samples), list(scores)
    arm_of = {sample.id: sample.arm for sample in samples}
    means = prompt_means(samples, scores)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for score in scores:
        if score.value is not None and math.isfinite(score.value):
            counts[score.metric, arm_of[score.sample_id]] += 1
    return {
        metric: {
            arm: ArmMean(
                mean=statistics.fmean(prompts.values()) if prompts else None,
                n_samples=counts[metric, arm],
                n_prompts=len(prompts),
            )
            for arm, prompts in by_arm.items()
        }
        for metric, by_arm in means.items()
    }
