"""Measure what judge-assisted intervals cover and how wide they are: the tables of docs/statistics.md.

    python benchmarks/judged_coverage.py [--trials 4000]

Two arms answer prompts that differ in difficulty (a logit with a standard deviation of 1 that both arms share).
People grade some of the prompts without error; a judge grades four times as many more, 400 at most. A judge of
skill s gives people's grade with probability s and tosses a coin else; one biased by arm calls the second arm's
texts good in 30 % of the cases where it would not have. Skill 0 is useless, 1 perfect.
"""

from __future__ import annotations

import argparse
import functools
import time
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from finetrial.stats.prediction_powered import assisted_difference

JUDGES = {
    "useless": (0.0, 0.0),
    "half right": (0.5, 0.0),
    "half right, biased": (0.5, 0.3),
    "good": (0.9, 0.0),
    "good, biased": (0.9, 0.3),
    "perfect": (1.0, 0.0),
}
SHARES = ((0.5, 0.5), (0.6, 0.4), (0.8, 0.5), (0.99, 0.95))
GRADED = (5, 10, 20, 50, 200)


@functools.cache
def _middle(share: float) -> float:
    """The logit about which prompts of this mean share scatter."""
    spread = np.random.default_rng(0).standard_normal(200_000)
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 / (1 + np.exp(-(middle + spread)))).mean() < share else (low, middle)
    return (low + high) / 2


def draw(rng, *, shares, samples, graded, skill, bias):
    """Differences of one trial by prompt: people's and the judge's, on the graded prompts first."""
    n = graded + min(4 * graded, 400)
    hardness = rng.standard_normal(n)
    means, judged = [], []
    for share, extra in zip(shares, (0.0, bias), strict=True):
        good = rng.random((n, samples)) < (1 / (1 + np.exp(-(_middle(share) + hardness))))[:, None]
        said = np.where(rng.random(good.shape) < skill, good, rng.random(good.shape) < 0.5)
        said = said | (rng.random(good.shape) < extra)
        means.append(good.mean(axis=1))
        judged.append(said.mean(axis=1))
    return means[0] - means[1], judged[0] - judged[1]


@dataclass(frozen=True)
class Cell:
    """What one judge gives in one setting: coverage in per cent, medians of widths and of the share saved."""

    covers: float
    alone: float  # people alone, by the same interval
    plain: float  # people alone, by Student's t as it stands
    alone_width: float
    width: float
    saved: float


def cell(*, shares, samples, graded, judge, trials):
    """One judge in one setting, over so many simulated trials."""
    skill, bias = JUDGES[judge]
    rng = np.random.default_rng([round(100 * share) for share in shares] + [samples, graded])
    truth = shares[0] - shares[1]
    covered = alone = plain = 0
    widths, alone_widths, saved = [], [], []
    for seed in range(trials):
        people, said = draw(rng, shares=shares, samples=samples, graded=graded, skill=skill, bias=bias)
        found = assisted_difference(people[:graded], said[:graded], said[graded:], seed=seed)
        covered += found.low <= truth <= found.high
        _, low, high = found.people_alone
        alone += low <= truth <= high
        mean, error = people[:graded].mean(), people[:graded].std(ddof=1) / np.sqrt(graded)
        plain += abs(mean - truth) <= stdtrit(graded - 1, 0.975) * error
        widths.append(found.high - found.low)
        alone_widths.append(high - low)
        saved.append(found.grades_saved)
    rates = [100 * count / trials for count in (covered, alone, plain)]
    return Cell(*rates, *(float(np.median(values)) for values in (alone_widths, widths, saved)))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trials", type=int, default=4_000)
    trials, began = options.parse_args().trials, time.perf_counter()
    least = 100.0
    print(
        "| shares | samples | graded | covers, least of six judges | people alone | plain t | width: people alone, "
        "good judge, perfect | grades saved: useless, half right, good, perfect |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for shares in SHARES:
        for samples in (1, 3):
            for graded in GRADED:
                found = {
                    judge: cell(shares=shares, samples=samples, graded=graded, judge=judge, trials=trials)
                    for judge in JUDGES
                }
                covers = min(row.covers for row in found.values())
                alone = min(row.alone for row in found.values())
                plain = np.mean([row.plain for row in found.values()])
                least = min(least, covers, alone)
                widths = [found["useless"].alone_width, found["good"].width, found["perfect"].width]
                saved = [found[judge].saved for judge in ("useless", "half right", "good", "perfect")]
                cells = [f"{shares[0]} / {shares[1]}", str(samples), str(graded)]
                cells += [f"{rate:.1f}" for rate in (covers, alone, plain)]
                cells += [", ".join(f"{width:.2f}" for width in widths)]
                cells += [", ".join(f"{100 * share:.0f} %" for share in saved)]
                print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\nleast coverage {least:.1f} %, {trials} trials a cell, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
