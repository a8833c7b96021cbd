"""Compute the means of an arm's training runs, which differ by their seed alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finetrial.evidence.sample_scores import arm_means
from finetrial.store.records import Sample, Score


def _scores_of(samples: Sequence[Sample], scores: Sequence[Score]) -> list[Score]:
    own = {sample.id for sample in samples}
    return [score for score in scores if score.sample_id in own]


def run_means(samples: Sequence[Sample], scores: Sequence[Score]) -> Mapping[str, Mapping[str, tuple[float, ...]]]:
    """metric -> arm -> the mean of each training run, in their order; arms with one run are left out."""
    runs: dict[str, dict[int, list[Sample]]] = {}
    for sample in samples:
        if sample.run is not None:
            runs.setdefault(sample.arm, {}).setdefault(sample.run, []).append(sample)
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    for arm, of_arm in runs.items():
        if len(of_arm) < 2:
            continue
        per_run = [arm_means(rows, _scores_of(rows, scores)) for _, rows in sorted(of_arm.items())]
        for metric in per_run[0]:
            means = [means[metric][arm].mean for means in per_run if arm in means.get(metric, {})]
            found.setdefault(metric, {})[arm] = tuple(mean for mean in means if mean is not None)
    return found
