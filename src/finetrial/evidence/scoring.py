"""What does each sample score, and what does each arm score on average?

The unit is the prompt, or the group of prompts that belong together: an arm's mean is the mean of its units' means.
Where every prompt has as many scored samples as every other and no groups, that is the plain mean over the samples.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetrial.errors import UserError
from finetrial.evidence.measures import (
    EXACT,
    F1,
    GRADE,
    JSON,
    LENGTH_RATIO,
    check_metric,
    check_primary,
    own_function,
)
from finetrial.evidence.own import load_own
from finetrial.metrics.answers import AnswerScore, exact_match, length_ratio, token_f1, valid_json
from finetrial.metrics.rouge import METRICS as ROUGE_METRICS
from finetrial.metrics.rouge import ReferenceRule, rouge
from finetrial.stats.numbers import unit_means
from finetrial.store.records import Sample, Score
from finetrial.trial.schema import Judging

_RULES = {
    "best_primary": ReferenceRule.BEST_BY_PRIMARY,
    "best": ReferenceRule.BEST_PER_METRIC,
    "mean": ReferenceRule.MEAN,
}

# metric -> arm -> prompt id -> mean over the prompt's samples
PromptMeans = dict[str, dict[str, dict[str, float]]]
# one sample -> metric -> its value and signature
_Scorer = Callable[[Sample], Iterable[Score]]


@dataclass(frozen=True, slots=True)
class ArmMean:
    """One arm's mean of one metric. None: no sample of the arm has a value."""

    mean: float | None
    n_samples: int  # that have a value
    n_prompts: int  # with at least one such sample


def scored_metrics(judging: Judging) -> tuple[str, ...]:
    """The metrics to compute, in the trial file's order; the primary stands first where it was not listed.

    Raises UserError for an unknown metric, and for a primary by which no arm can be better.
    """
    listed = tuple(dict.fromkeys(judging.metrics))
    wanted = listed if judging.primary in (*listed, GRADE) else (judging.primary, *listed)
    for metric in wanted:
        check_metric(metric)
    check_primary(judging.primary)
    return wanted


def _rouge_scorer(metrics: tuple[str, ...], *, judging: Judging) -> _Scorer:
    setting = {
        "metrics": metrics,
        "stemmer": judging.stemmer,
        "unicode": judging.unicode,
        "rule": _RULES[judging.references],
        "primary": judging.primary if judging.primary in metrics else metrics[0],
    }
    signatures = {m: str(s) for m, s in rouge("", [""], **setting).signatures.items()}

    def score(sample: Sample) -> Iterable[Score]:
        result = rouge(sample.text, sample.references, **setting) if sample.references else None
        for metric in metrics:
            value = None if result is None else result[metric].fmeasure
            yield Score(sample_id=sample.id, metric=metric, value=value, signature=signatures[metric])

    return score


def _answer_scorer(metric: str, *, rule: ReferenceRule) -> _Scorer:
    """Exact match, token F1, JSON or length ratio. Of several references the best, or the mean if that is the rule.

    What the primary prefers is ROUGE's to know: these take their own best there too, as their signature says.
    """
    if metric == JSON:
        return lambda sample: [_score(sample, metric, valid_json(sample.text))]
    if metric == LENGTH_RATIO:
        return lambda sample: [_score(sample, metric, length_ratio(sample.text, sample.references))]
    compute = {EXACT: exact_match, F1: token_f1}[metric]
    is_mean = rule is ReferenceRule.MEAN
    signature = compute("", [""]).signature
    if is_mean:
        signature = dataclasses.replace(signature, reference_rule=str(ReferenceRule.MEAN))

    def score(sample: Sample) -> Iterable[Score]:
        value = None
        if sample.references and is_mean:
            value = statistics.fmean(compute(sample.text, [one]).value or 0.0 for one in sample.references)
        elif sample.references:
            value = compute(sample.text, sample.references).value
        yield Score(sample_id=sample.id, metric=metric, value=value, signature=str(signature))

    return score


def _score(sample: Sample, metric: str, found: AnswerScore) -> Score:
    return Score(sample_id=sample.id, metric=metric, value=found.value, signature=str(found.signature))


def _own_scorer(metric: str, *, base: Path) -> _Scorer:
    own = own_function(metric)
    assert own is not None  # check_metric
    loaded = load_own(metric, own, base=base)

    def score(sample: Sample) -> Iterable[Score]:
        value = loaded.value(sample.text, sample.references, sample_id=sample.id)
        if value is not None and math.isinf(value):
            raise UserError(f"{metric} is infinite for the sample {sample.id}", fix="Return None where undefined.")
        yield Score(sample_id=sample.id, metric=metric, value=value, signature=loaded.signature)

    return score


def make_scorers(judging: Judging, *, base: Path) -> tuple[_Scorer, ...]:
    """What scores one sample by every metric of the judging. Loads the user's own functions, relative to `base`.

    Raises UserError for an unknown metric or a function that cannot be loaded: call it before hours of tuning.
    """
    metrics = scored_metrics(judging)
    by_rouge = tuple(metric for metric in metrics if metric in ROUGE_METRICS)
    scorers = [_rouge_scorer(by_rouge, judging=judging)] if by_rouge else []
    for metric in metrics:
        if metric in (EXACT, F1, JSON, LENGTH_RATIO):
            scorers.append(_answer_scorer(metric, rule=_RULES[judging.references]))
        elif metric not in ROUGE_METRICS:
            scorers.append(_own_scorer(metric, base=base))
    return tuple(scorers)


def score_samples(samples: Iterable[Sample], *, judging: Judging, base: Path = Path()) -> list[Score]:
    """Every metric of every sample, in the judging's order of metrics; None for a sample without references.

    The signature names the tokenizer, the stemmer and the rule for several references. A metric of the user's own
    is looked for relative to `base`. Nothing where people's grades decide and no metric is named. Raises UserError
    for an unknown metric.
    """
    scorers = make_scorers(judging, base=base)
    order = {metric: place for place, metric in enumerate(scored_metrics(judging))}
    scores: list[Score] = []
    for sample in samples:
        found = [score for scorer in scorers for score in scorer(sample)]
        scores += sorted(found, key=lambda score: order[score.metric])
    return scores


def _values(samples: Iterable[Sample], scores: Iterable[Score]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """metric -> arm -> prompt -> the finite values of its samples. Every metric that occurs has every arm."""
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
    return values


def prompt_means(samples: Iterable[Sample], scores: Iterable[Score]) -> PromptMeans:
    """The mean of every metric over the samples of every arm and prompt. Samples without a value count nowhere.

    Every metric that occurs has every arm, with no prompts where nothing was scored. A score whose sample is not
    among `samples` is an error.
    """
    return {
        metric: {
            arm: {prompt: statistics.fmean(row) for prompt, row in prompts.items()}
            for arm, prompts in by_arm.items()
        }
        for metric, by_arm in _values(samples, scores).items()
    }


def arm_means(samples: Iterable[Sample], scores: Iterable[Score]) -> Mapping[str, Mapping[str, ArmMean]]:
    """metric -> arm -> the mean of its units' means, with how many samples and prompts stand behind it."""
    samples = list(samples)
    groups = {sample.prompt_id: sample.group for sample in samples}

    def mean(prompts: Mapping[str, list[float]]) -> float | None:
        units = [value for value in unit_means(prompts, groups=groups).values() if value is not None]
        return statistics.fmean(units) if units else None

    return {
        metric: {
            arm: ArmMean(mean=mean(prompts), n_samples=sum(map(len, prompts.values())), n_prompts=len(prompts))
            for arm, prompts in by_arm.items()
        }
        for metric, by_arm in _values(samples, scores).items()
    }
