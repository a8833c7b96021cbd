"""How often do the 95 % intervals hold the truth? Prints the table of docs/statistics.md.

    python benchmarks/coverage.py [--simulations 4000] [--seed 0]

Each cell is the share of simulated data sets whose interval holds the true mean. Where the data have no spread the
intervals of means are undefined; such sets are counted apart ("none") and not as covered.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from finetrial.stats import compare_retrained, good_of_n, mean_interval, paired_interval

Draw = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Source:
    """A distribution of one value per prompt, and its true mean."""

    draw: Draw
    mean: float


MEANS = {
    "normal": Source(lambda rng, n: rng.normal(size=n), 0.0),
    "exponential (skewness 2)": Source(lambda rng, n: rng.exponential(size=n), 1.0),
    "gamma 0.5 (skewness 2.8)": Source(lambda rng, n: rng.gamma(0.5, size=n), 0.5),
    "lognormal (skewness 6.2)": Source(lambda rng, n: rng.lognormal(size=n), float(np.exp(0.5))),
    "0/1, share 0.5": Source(lambda rng, n: (rng.random(n) < 0.5).astype(float), 0.5),
    "0/1, share 0.2": Source(lambda rng, n: (rng.random(n) < 0.2).astype(float), 0.2),
    "0/1, share 0.1": Source(lambda rng, n: (rng.random(n) < 0.1).astype(float), 0.1),
    "means of three 0/1, share 0.25": Source(lambda rng, n: rng.binomial(3, rng.beta(0.4, 1.2, n)) / 3, 0.25),
}
DIFFERENCES = {
    "normal": MEANS["normal"],
    "skewed (gamma 0.5 less normal)": Source(lambda rng, n: rng.gamma(0.5, size=n) - rng.normal(0, 0.3, n), 0.5),
    "means of three 0/1, .4 less .25": Source(
        lambda rng, n: (rng.binomial(3, rng.beta(0.8, 1.2, n)) - rng.binomial(3, rng.beta(0.4, 1.2, n))) / 3, 0.15
    ),
}

# Shares of prompts where a 0/1 metric has arm a below, equal to and above arm b.
PAIRED_SHARES = {"0/1: 10 % lose, 30 % win": (0.1, 0.3), "0/1: 2 % lose, 18 % win": (0.02, 0.18)}


@dataclass(frozen=True)
class Coverage:
    """Shares of simulated data sets: interval holds the truth (of those that have one), and no interval."""

    covered: float
    undefined: float


def coverage_of_mean(source: Source, *, n_prompts: int, simulations: int, seed: int, paired: bool) -> Coverage:
    """Coverage of `mean_interval`, or of `paired_interval` where the values are differences."""
    rng = np.random.default_rng(seed)
    interval = paired_interval if paired else mean_interval
    covered = undefined = 0
    for i in range(simulations):
        found = interval(source.draw(rng, n_prompts).tolist(), seed=i)
        undefined += found.low is None
        covered += found.low is not None and found.low <= source.mean <= found.high
    return Coverage(covered / max(1, simulations - undefined), undefined / simulations)


def coverage_of_paired_shares(*, n_prompts: int, lose: float, win: float, simulations: int, seed: int) -> Coverage:
    """Coverage of `paired_interval` where both arms' values are 0 or 1."""
    rng = np.random.default_rng(seed)
    covered = 0
    for _ in range(simulations):
        gaps = rng.choice([-1.0, 0.0, 1.0], n_prompts, p=[lose, 1 - lose - win, win])
        found = paired_interval((gaps > 0).astype(float).tolist(), (gaps < 0).astype(float).tolist())
        covered += found.low <= win - lose <= found.high
    return Coverage(covered / simulations, 0.0)


def coverage_of_good(
    *, n_prompts: int, samples: int, share: float, spread: float, simulations: int, seed: int
) -> Coverage:
    """Coverage of `good_of_n`: each prompt's share is beta-distributed; `spread` is the intraclass correlation."""
    rng = np.random.default_rng(seed)
    covered = 0
    for _ in range(simulations):
        size = (1 - spread) / spread if spread else None
        shares = (
            np.full(n_prompts, share) if size is None else rng.beta(share * size, (1 - share) * size, n_prompts)
        )
        grades = rng.random((n_prompts, samples)) < shares[:, None]
        found = good_of_n({str(i): row.astype(float).tolist() for i, row in enumerate(grades)})
        covered += found.low <= share <= found.high
    return Coverage(covered / simulations, 0.0)


def coverage_retrained(*, n_prompts: int, runs: int, run_spread: float, simulations: int, seed: int) -> Coverage:
    """Coverage of `compare_retrained`: a trained arm against an untrained; `run_spread` in prompts' spreads."""
    rng = np.random.default_rng(seed)
    covered = 0
    for _ in range(simulations):
        noise = rng.normal(0, 0.5, (runs, n_prompts)) + rng.normal(0, run_spread, (runs, 1))
        arm = rng.normal(size=n_prompts) + noise
        found = compare_retrained(arm.tolist(), [[0.0] * n_prompts], b_is_trained=False)
        covered += found.low <= 0 <= found.high
    return Coverage(covered / simulations, 0.0)


def _cell(coverage: Coverage) -> str:
    none = f" ({100 * coverage.undefined:.0f} none)" if coverage.undefined >= 0.005 else ""
    return f"{100 * coverage.covered:.1f}{none}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    how = {"simulations": options.simulations, "seed": options.seed}
    sizes = (3, 5, 10, 20, 50, 100, 200)
    for title, sources, paired in (("Means", MEANS, False), ("Paired differences", DIFFERENCES, True)):
        print(f"| {title} | " + " | ".join(f"n = {n}" for n in sizes) + " |")
        print("|---" * (len(sizes) + 1) + "|")
        for name, source in sources.items():
            cells = [_cell(coverage_of_mean(source, n_prompts=n, paired=paired, **how)) for n in sizes]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
        if paired:
            for name, (lose, win) in PAIRED_SHARES.items():
                cells = [_cell(coverage_of_paired_shares(n_prompts=n, lose=lose, win=win, **how)) for n in sizes]
                print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
        print()
    print("| Good of n, three samples a prompt | n = 5 | n = 10 | n = 20 | n = 50 |\n|---|---|---|---|---|")
    for share in (0.5, 0.8, 0.95):
        for spread in (0.0, 0.3, 0.8):
            cells = [
                _cell(coverage_of_good(n_prompts=n, samples=3, share=share, spread=spread, **how))
                for n in (5, 10, 20, 50)
            ]
            print(f"| share {share}, within-prompt correlation {spread} | " + " | ".join(cells) + " |", flush=True)
    print("\n| Retrained, n = 50 prompts | 2 runs | 3 runs | 5 runs |\n|---|---|---|---|")
    for run_spread in (0.0, 0.1, 0.5):
        cells = [_cell(coverage_retrained(n_prompts=50, runs=r, run_spread=run_spread, **how)) for r in (2, 3, 5)]
        print(f"| spread of runs {run_spread} of the prompts' | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
