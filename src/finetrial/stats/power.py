"""Compute the prompts that detect a difference, and the difference that so many prompts detect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from finetrial.errors import UserError
from finetrial.stats.intervals import normal_quantile
from finetrial.stats.unit_values import Number, is_present, mean, variance


@dataclass(frozen=True)
class PromptsNeeded:
    """Prompts for a difference to be shown; None with the reason where no number is enough or data are missing.

    `prompts` is the larger of `by_variance` and `by_test`, the fewest with which a sign-flip test can reach alpha.
    """

    prompts: int | None
    by_variance: int | None
    by_test: int
    difference: float
    power: float
    alpha: float
    reason: str | None = None


@dataclass(frozen=True)
class Spread:
    """Variances of a - b: `between` prompts without the sampling noise, and `within` the samples of a prompt."""

    between: float | None
    within_a: float | None
    within_b: float | None
    samples: float | None
    n_prompts: int
    reason: str | None = None


def fewest_prompts(*, alpha: float = 0.05, n_pairs: int = 1) -> int:
    """The fewest prompts with which a two-sided sign-flip test can reach alpha as the first of n pairs under Holm.

    Its least p is 2^(1-n): 6 prompts for one pair at .05, 7 for three.
    """
    _check_share(alpha, "alpha")
    return math.ceil(1 - math.log2(alpha / n_pairs) - 1e-12)


def prompts_needed(
    difference: float,
    *,
    between: float,
    within_a: float = 0.0,
    within_b: float = 0.0,
    samples: float = 1,
    power: float = 0.8,
    alpha: float = 0.05,
    n_pairs: int = 1,
) -> PromptsNeeded:
    """Prompts with which a true `difference` of means is found with probability `power` at two-sided `alpha`.

    (z_(1-alpha/2) + z_power)² [between + (within_a + within_b) / samples] / difference²; at 80 % and .05 the
    factor is 7.849. All three are variances: `between` of the prompts' true differences, `within` of one
    prompt's samples, of which each prompt has `samples` per arm. Miller, "Adding error bars to evals", 2024,
    section 5.
    """
    _check_share(power, "power")
    factor = (normal_quantile(1 - alpha / 2) + normal_quantile(power)) ** 2
    spread = _spread(between, within_a, within_b, samples)
    floor = fewest_prompts(alpha=alpha, n_pairs=n_pairs)
    if not math.isfinite(difference) or difference == 0:
        reason = "no number of prompts shows a difference of nothing"
        return PromptsNeeded(None, None, floor, difference, power, alpha, reason)
    by_variance = math.ceil(factor * spread / difference**2 - 1e-9)
    return PromptsNeeded(max(by_variance, floor), by_variance, floor, difference, power, alpha)


def detectable_difference(
    n_prompts: int,
    *,
    between: float,
    within_a: float = 0.0,
    within_b: float = 0.0,
    samples: float = 1,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float | None:
    """The true difference that `n_prompts` show with probability `power`: `prompts_needed` turned round.

    None where so few prompts cannot reach alpha by any difference (see `fewest_prompts`).
    """
    _check_share(power, "power")
    if n_prompts < fewest_prompts(alpha=alpha):
        return None
    factor = (normal_quantile(1 - alpha / 2) + normal_quantile(power)) ** 2
    return math.sqrt(factor * _spread(between, within_a, within_b, samples) / n_prompts)


def observed_spread(
    a: Sequence[Sequence[Number]], b: Sequence[Sequence[Number]], *, unit: str = "prompt"
) -> Spread:
    """The variances of a pilot, for `prompts_needed`: row i holds the samples of prompt i, or of the `unit` i.

    The variance of the prompts' differences holds the sampling noise (within_a + within_b) / samples, which is
    taken off; what remains below zero is zero. With one sample per prompt the two cannot be told apart: all
    counts as `between`, and `within` is 0. `samples` is the harmonic mean of the prompts' counts.
    """
    rows = [
        ([float(v) for v in x if is_present(v)], [float(v) for v in y if is_present(v)])
        for x, y in zip(a, b, strict=True)
    ]
    rows = [(x, y) for x, y in rows if x and y and all(map(math.isfinite, (*x, *y)))]
    if len(rows) < 2:
        return Spread(None, None, None, None, len(rows), f"fewer than two {unit}s have samples of both arms")
    total = variance([mean(x) - mean(y) for x, y in rows])
    counts = [len(cell) for row in rows for cell in row]
    samples = len(counts) / math.fsum(1 / count for count in counts)
    within = [
        mean([variance(row[side]) for row in rows if len(row[side]) > 1] or [0.0]) if min(counts) > 1 else 0.0
        for side in (0, 1)
    ]
    between = max(0.0, total - sum(within) / samples)
    return Spread(between, within[0], within[1], samples, len(rows))


def _spread(between: float, within_a: float, within_b: float, samples: float) -> float:
    for name, value in (("between", between), ("within_a", within_a), ("within_b", within_b)):
        if not (math.isfinite(value) and value >= 0):
            raise UserError(f"{name} is a variance", got=value, expected="zero or more")
    if samples <= 0:
        raise UserError("samples per prompt", got=samples, expected="more than zero")
    return between + (within_a + within_b) / samples


def _check_share(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise UserError(f"{name} lies between 0 and 1", got=value)
