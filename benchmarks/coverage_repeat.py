"""How often do the 95 % intervals of R* and R_N* hold the truth? Prints the table of docs/statistics.md.

    python benchmarks/coverage_repeat.py [--simulations 1000] [--seed 0] [--only WORD] [--noise KIND] [--whole]

Runs of the law of Muennighoff et al. 2023 with normal noise, fitted as `finetrial scale fit --repeat` does: over
a base law that is known, or one that is fitted to the same table. A cell is the share of data sets whose interval
holds the true constant, in per cent, an open side holding whatever lies there; behind it stand the shares of the
first 50 sets bounded on one side only and on neither. Whether an interval holds a value is asked at that value,
which is far faster than both ends; `--whole` computes the ends and counts by them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from coverage_fit import NATS, SHARE, quick_fit

from finetrial.scaling.fitting import DELTA
from finetrial.scaling.published_laws import MUENNIGHOFF2023 as LAW
from finetrial.scaling.repeated_data import R_STAR_PARAMS, R_STAR_TOKENS
from finetrial.scaling.repeated_data_fit import CONSTANTS, RepetitionFit, fit_over_base, one_epoch
from finetrial.scaling.repeated_data_intervals import GRID, RepeatedRuns, likelihoods
from finetrial.scaling.training_runs import Runs

TRUTH = (R_STAR_TOKENS, R_STAR_PARAMS)
WITH_ENDS = 50
CORPORA = (1e8, 4e8, 1.5e9)  # unique tokens; the best size is .05 of them


@dataclass(frozen=True)
class Design:
    """Sizes as shares of the unique tokens, each crossed with the corpora and the epochs."""

    name: str
    cells: tuple[tuple[float, float, float], ...]  # unique tokens, size, epochs
    base_is_fitted: bool

    def runs(self, *, noise: float, in_nats: bool, seed: tuple[int, ...]) -> Runs:
        unique, size, epochs = np.array(self.cells).T
        runs = Runs(unique * size, unique * epochs, np.ones(len(size)), np.arange(2, len(size) + 2), unique)
        logs = np.log(TRUTH)
        true_R = np.exp(-RepeatedRuns.of(runs).residuals(LAW, log_tokens=logs[0], log_params=logs[1]))
        drawn_R = noise * np.random.default_rng(seed).standard_normal(len(size))
        return runs.with_loss(true_R + drawn_R if in_nats else true_R * np.exp(drawn_R))


def crossed(corpora: tuple[float, ...], sizes: tuple[float, ...], epochs: tuple[float, ...]) -> list[tuple]:
    return [(u, m, e) for u in corpora for m in sizes for e in epochs]


def known(name: str, cells: list[tuple]) -> Design:
    return Design(name, tuple(cells), False)


def fitted(name: str, cells: list[tuple]) -> Design:
    return Design(name, tuple(cells), True)


SINGLES = crossed(CORPORA, (0.015, 0.05, 0.15), (1,))
DESIGNS = (
    known("known law, 4 runs", crossed((4e8,), (0.03, 0.3), (4, 16))),
    known("known law, 8 runs", crossed((1e8, 1.5e9), (0.03, 0.3), (4, 16))),
    known("known law, 24 runs", crossed(CORPORA, (0.03, 0.3), (2, 5, 12, 30))),
    fitted("9 of one epoch and 12", SINGLES + crossed(CORPORA, (0.03, 0.3), (4, 16))),
    fitted("12 of one epoch and 36", crossed(CORPORA, (0.02, 0.05, 0.2, 1.0), (1, 4, 12, 40))),
)


def fit(design: Design, runs: Runs) -> RepetitionFit:
    base = quick_fit(one_epoch(runs)).law if design.base_is_fitted else LAW
    return fit_over_base(runs, base=base, delta=DELTA, base_is_fitted=design.base_is_fitted)


def by_ends(found: RepetitionFit) -> list[tuple[bool, bool, bool]]:
    """Of each constant: the interval holds it, has a lower end, has an upper end."""
    marks = []
    for name, truth in zip(CONSTANTS, TRUTH, strict=True):
        low, high = found.intervals[name].low, found.intervals[name].high
        holds = (low is None or low <= truth) and (high is None or truth <= high)
        marks.append((holds, low is not None, high is not None))
    return marks


def at_truth(design: Design, runs: Runs, *, with_ends: bool) -> list[tuple[bool, bool, bool]]:
    """As by_ends, from likelihoods that start at the truth; ends that are not asked for count as there.

    The fit's own value, to which an end may be stretched, is left out, so that this speaks for `--base joint` too,
    whose likelihood is that of the fitted base law.
    """
    free = design.base_is_fitted
    judges = likelihoods(RepeatedRuns.of(runs), base=LAW, logs=np.log(TRUTH), base_is_free=free)
    marks = []
    for axis, truth in enumerate(np.log(TRUTH)):
        own = [float(judge.point[5 + axis]) for judge in judges]
        holds = min(own) <= truth <= max(own) or not all(judge.rejects(axis, float(truth)) for judge in judges)
        edges = (float(GRID[0]), float(GRID[-1])) if with_ends else ()
        low, high = [all(judge.rejects(axis, edge) for judge in judges) for edge in edges] or (True, True)
        marks.append((holds, low, high))
    return marks


def row(design: Design, *, in_nats: bool, simulations: int, seed: int, whole: bool) -> list[str]:
    noise = NATS if in_nats else SHARE
    marks = []
    for number in range(simulations):
        runs = design.runs(noise=noise, in_nats=in_nats, seed=(seed, number))
        marks.append(by_ends(fit(design, runs)) if whole else at_truth(design, runs, with_ends=number < WITH_ENDS))
    holds_SC, low_SC, high_SC = np.moveaxis(np.array(marks), -1, 0)
    texts = []
    for holds, low, high in zip(holds_SC.T, low_SC[:WITH_ENDS].T, high_SC[:WITH_ENDS].T, strict=True):
        one, none = (low ^ high).mean(), (~low & ~high).mean()
        texts.append(f"{100 * holds.mean():.1f} ({100 * one:.0f}, {100 * none:.0f})")
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="designs whose name holds this")
    parser.add_argument("--noise", choices=("both", "nats", "share"), default="both")
    parser.add_argument("--whole", action="store_true", help="count by the intervals' ends everywhere")
    options = parser.parse_args()
    kinds = {"both": (True, False), "nats": (True,), "share": (False,)}[options.noise]
    for in_nats in kinds:
        noise = f"{NATS} nats" if in_nats else f"{100 * SHARE:g} % of the loss"
        print(f"| Noise of {noise} | R* | R_N* |\n|---|---|---|")
        for design in DESIGNS:
            if options.only in design.name:
                texts = row(
                    design,
                    in_nats=in_nats,
                    simulations=options.simulations,
                    seed=options.seed,
                    whole=options.whole,
                )
                print(f"| {design.name} | " + " | ".join(texts) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
