"""Score every sample by every metric, and average each arm's scores.

The unit is the prompt, or the group of prompts that belong together: an arm's mean is the mean of its units' means.
Where every prompt has as many scored samples as every other and no groups, that is the plain mean over the samples.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetrial.errors import Mistakes, UserError
from finetrial.metrics.mean_grade import GRADE
from finetrial.metrics.metric import ArmMetric, Output, ReferenceRule, SampleMetric, Settings
from finetrial.metrics.metric_table import check_primary, computed_metric, metric_named
from finetrial.stats.unit_values import unit_means
from finetrial.store.records import Sample, Score
from finetrial.trial.counted_letters import counts_every_script, script_note
from finetrial.trial.examples import Example
from finetrial.trial.schema import Judging
from finetrial.trial.values import json_value

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


def _wanted(judging: Judging) -> tuple[str, ...]:
    listed = tuple(dict.fromkeys(judging.metrics))
    return listed if judging.primary in (*listed, GRADE) else (judging.primary, *listed)


def computed_metrics(judging: Judging) -> tuple[SampleMetric | ArmMetric, ...]:
    """The metrics to compute, in the trial file's order; the primary stands first where it was not listed.

    Raises UserError for an unknown metric, and for a primary by which no arm can be better.
    """
    found = tuple(computed_metric(name) for name in _wanted(judging))
    check_primary(metric_named(judging.primary))
    return found


def _references(samples: Iterable[Sample]) -> set[str]:
    return {reference for sample in samples for reference in sample.references}


def with_script(judging: Judging, samples: Iterable[Sample]) -> Judging:
    """The judging with what `unicode: auto` means for these samples."""
    return judging.model_copy(update={"unicode": counts_every_script(judging, _references(samples))})


def note_of_script(judging: Judging, samples: Iterable[Sample]) -> str | None:
    """What `unicode: auto` has chosen for these samples, in words."""
    return script_note(judging, _references(samples))


def scoring_settings(judging: Judging, *, base: Path, samples: Iterable[Sample] = ()) -> Settings:
    """What decides a score of these samples besides their texts. Files of a metric are relative to `base`."""
    return Settings(
        primary=judging.primary,
        metrics=_wanted(judging),
        references=_RULES[judging.references],
        stemmer=judging.stemmer,
        unicode=counts_every_script(judging, _references(samples)),
        base=base,
    )


def output_of(sample: Sample) -> Output:
    """A sample as metrics see it: its text, references, prompt and row."""
    prompt = sample.prompt if sample.source is None else sample.source
    return Output(sample.text, sample.references, prompt, sample.id, sample)


def check_metrics(judging: Judging, *, base: Path, example: Sample | None = None) -> None:
    """Raises UserError, with every mistake, for metrics that are unknown or cannot be computed here: before hours
    of tuning. The user's own metrics are computed once of `example`, where one is given."""
    shown = () if example is None else (example,)
    settings, mistakes = scoring_settings(judging, base=base, samples=shown), Mistakes()
    for name in _wanted(judging):
        with mistakes.gathering():
            metric = computed_metric(name)
            if metric.prepare is not None:
                metric.prepare(settings)
            if example is not None and metric.files and (example.references or not metric.needs_references):
                _compute_once(metric, output_of(example), settings)
    with mistakes.gathering():
        check_primary(metric_named(judging.primary))
    mistakes.raise_all()


def _compute_once(metric: SampleMetric | ArmMetric, output: Output, settings: Settings) -> None:
    if isinstance(metric, SampleMetric):
        metric.values([output], settings)
    else:
        metric.value([output], settings)


def heldout_sample(example: Example) -> Sample:
    """A held-out row as a sample whose text is its own completion: what a metric is tried on."""
    return Sample(
        id=f"heldout/{example.id}/0",
        prompt_id=example.id,
        group=example.group,
        arm="heldout",
        index=0,
        prompt=example.prompt,
        text=example.references[0] if example.references else "",
        token_ids=None,
        references=example.references,
        end_reason="end_token",
        logprob=None,
        tokens=None,
        seconds=None,
        seed=None,
        source=example.prompt,
        columns={name: json_value(value) for name, value in example.columns.items()},
    )


def score_outputs(
    samples: Sequence[Sample], *, metrics: Sequence[SampleMetric | ArmMetric], settings: Settings
) -> list[Score]:
    """Every per-sample metric of every sample, sample by sample in the metrics' order."""
    per_sample = [metric for metric in metrics if isinstance(metric, SampleMetric)]
    outputs = [output_of(sample) for sample in samples]
    columns = [metric.values(outputs, settings) for metric in per_sample]
    signatures = [metric.signature(settings) for metric in per_sample]
    return [
        Score(sample_id=sample.id, metric=metric.name, value=column[place], signature=signature)
        for place, sample in enumerate(samples)
        for metric, column, signature in zip(per_sample, columns, signatures, strict=True)
    ]


def score_samples(samples: Iterable[Sample], *, judging: Judging, base: Path = Path()) -> list[Score]:
    """Every metric of every sample, in the judging's order of metrics; None for a sample without references.

    The signature names the tokenizer, the stemmer and the rule for several references. A metric of the user's own
    is looked for relative to `base`. Nothing where people's grades decide and no metric is named. Raises UserError
    for an unknown metric.
    """
    listed = list(samples)
    settings = scoring_settings(judging, base=base, samples=listed)
    return score_outputs(listed, metrics=computed_metrics(judging), settings=settings)


def given_scores(scores: Iterable[Score]) -> list[Score]:
    """The scores that came from elsewhere: no metric of this name can be computed anew from the samples."""
    given: dict[str, bool] = {}
    kept = []
    for score in scores:
        if score.metric not in given:
            metric = metric_named(score.metric)
            given[score.metric] = not (isinstance(metric, SampleMetric) and metric.recomputable)
        if given[score.metric]:
            kept.append(score)
    return kept


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
