"""Compute metrics of all an arm's samples at once, with intervals and comparisons that resample prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetrial.evidence.findings import Interval
from finetrial.evidence.sample_scores import ArmMean, output_of
from finetrial.metrics.metric import ArmMetric, Direction, Output, Settings
from finetrial.stats.comparison import Comparison, compare_every_pair
from finetrial.stats.randomisation import bootstrap_interval, compare_by_swapping
from finetrial.store.records import Sample

_Unit = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ArmOutputs:
    """Each arm's outputs by unit, every arm with the same units in the same order; empty where it has none."""

    arms: Mapping[str, tuple[tuple[Output, ...], ...]]
    n_prompts: Mapping[str, int]
    unit: str  # prompt or group

    @classmethod
    def of(cls, samples: Sequence[Sample], *, arms: Sequence[str]) -> ArmOutputs:
        """The outputs of these samples; their order and that of the prompts change nothing."""
        cells: dict[str, dict[_Unit, list[Output]]] = {arm: {} for arm in arms}
        prompts: dict[str, set[str]] = {arm: set() for arm in arms}
        for sample in sorted(samples, key=lambda sample: sample.id):
            unit = ("prompt", sample.prompt_id) if sample.group is None else ("group", sample.group)
            cells[sample.arm].setdefault(unit, []).append(output_of(sample))
            prompts[sample.arm].add(sample.prompt_id)
        units = sorted({unit for of_arm in cells.values() for unit in of_arm})
        return cls(
            arms={arm: tuple(tuple(of_arm.get(unit, ())) for unit in units) for arm, of_arm in cells.items()},
            n_prompts={arm: len(found) for arm, found in prompts.items()},
            unit="group" if any(kind == "group" for kind, _ in units) else "prompt",
        )

    def all_of(self, arm: str) -> list[Output]:
        return [output for unit in self.arms[arm] for output in unit]


def whole_arm_means(
    samples: Sequence[Sample], *, metrics: Sequence[ArmMetric], settings: Settings
) -> dict[str, dict[str, ArmMean]]:
    """metric -> arm -> its value, where other metrics have the mean of their prompts."""
    counts = Counter(sample.arm for sample in samples)
    outputs = ArmOutputs.of(samples if metrics else (), arms=tuple(counts))
    return {
        metric.name: {
            arm: ArmMean(metric.value(outputs.all_of(arm), settings), counts[arm], outputs.n_prompts[arm])
            for arm in outputs.arms
        }
        for metric in metrics
    }


def whole_arm_intervals(
    outputs: ArmOutputs, *, metric: ArmMetric, settings: Settings, seed: int
) -> dict[str, Interval]:
    """Every arm's value with its bootstrap interval over units."""
    found = {}
    for arm, units in outputs.arms.items():
        present = [unit for unit in units if unit]
        interval = bootstrap_interval(
            present,
            statistic=lambda rows: metric.value(rows, settings),
            seed=seed,
            bounds=metric.bounds,
            unit=outputs.unit,
        )
        found[arm] = Interval(
            interval.low, interval.high, interval.estimate, outputs.n_prompts[arm], len(present), interval.reason
        )
    return found


def whole_arm_pairs(
    outputs: ArmOutputs, *, metric: ArmMetric, settings: Settings, confirmatory: bool, seed: int
) -> tuple[Comparison, ...]:
    """Every two arms on new prompts, by swapping their texts within units that both answered."""
    compare = lambda a, b: compare_by_swapping(
        a,
        b,
        statistic=lambda rows: metric.value(rows, settings),
        key=lambda output: (output.prompt, output.text),
        seed=seed,
        bounds=metric.bounds,
        unit=outputs.unit,
    )
    return compare_every_pair(
        outputs.arms,
        compare=compare,
        metric=metric.name,
        confirmatory=confirmatory,
        lower_is_better=metric.direction is Direction.LOWER,
    )


def details(outputs: ArmOutputs, *, metrics: Sequence[ArmMetric], settings: Settings) -> dict[str, dict[str, Any]]:
    """metric -> arm -> what the metric tells beside its value, such as a confusion matrix."""
    return {
        metric.name: {arm: metric.detail(outputs.all_of(arm), settings) for arm in outputs.arms}
        for metric in metrics
        if metric.detail is not None
    }
