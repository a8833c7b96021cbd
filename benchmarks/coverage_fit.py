"""How often do the 95 % intervals of a fitted scaling law hold the truth? Prints the table of docs/statistics.md.

    python benchmarks/coverage_fit.py [--simulations 1000] [--refits 200] [--seed 0] [--only WORD] [--profiles]

Every data set is drawn from a known law (Besiroglu et al. 2024) with normal noise; the intervals are those that
`finetrial scale fit` prints. A cell is the share of data sets whose interval holds the true value, in per cent;
an open side holds whatever lies there, and an interval open on both sides is printed as "not identified" and
counted apart. `decision` is the best size at the largest run's budget, `at 10 C` at ten times that; `new run` is
one more run of twice the largest size on twice the most tokens.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import numpy as np

from finetrial.scaling.decisions import one_run_interval, optimum_of
from finetrial.scaling.few_runs import few_run_ends, why_not_identified, with_noise
from finetrial.scaling.fitting import DELTA, Fit, law_of, projected_starts
from finetrial.scaling.interval import FEW_RUNS
from finetrial.scaling.newton import continued
from finetrial.scaling.objective import Objective
from finetrial.scaling.profiling import profile_intervals
from finetrial.scaling.published_laws import BESIROGLU2024 as LAW
from finetrial.scaling.quantities import BestLoss, BestSize, Coefficient, LossAt
from finetrial.scaling.resampling import bootstrap
from finetrial.scaling.training_runs import COEFFICIENTS, Runs

COLUMNS = (*COEFFICIENTS, "decision", "its loss", "at 10 C", "its loss there", "new run")
NATS, SHARE = 0.01, 0.004  # noise in nats, or as a share of the loss
KEPT_STARTS = 12


@dataclass(frozen=True)
class Design:
    """Where the runs stand."""

    name: str
    params_R: np.ndarray
    tokens_R: np.ndarray

    def runs(self, loss_R: np.ndarray) -> Runs:
        return Runs(self.params_R, self.tokens_R, loss_R, np.arange(2, len(loss_R) + 2))

    def truth(self) -> np.ndarray:
        return LAW.E + LAW.A / self.params_R**LAW.alpha + LAW.B / self.tokens_R**LAW.beta

    @property
    def budget(self) -> float:
        return float((6 * self.params_R * self.tokens_R).max())

    @property
    def next_run(self) -> tuple[float, float]:
        return 2 * float(self.params_R.max()), 2 * float(self.tokens_R.max())


def budgets(name: str, flops: list[float], *, sizes: int) -> Design:
    """`sizes` runs on each budget, from a quarter of the best size to four times it."""
    params = np.concatenate([LAW.optimal_params(c) * np.geomspace(0.25, 4, sizes) for c in flops])
    return Design(name, params, np.repeat(flops, sizes) / 6 / params)


def grid(name: str, params: np.ndarray, tokens: np.ndarray) -> Design:
    n, d = np.meshgrid(params, tokens)
    return Design(name, n.ravel(), d.ravel())


def scattered(runs: int) -> Design:
    rng = np.random.default_rng(0)
    return Design(f"{runs} runs, scattered", 10 ** rng.uniform(7.5, 10, runs), 10 ** rng.uniform(9, 11.5, runs))


def ray(runs: int) -> Design:
    params = np.geomspace(3e7, 3e9, runs)
    return Design(f"{runs} runs, 20 tokens a parameter", params, 20 * params)


DESIGNS = (
    budgets("5 runs, one budget", [1e20], sizes=5),
    budgets("6 runs, two budgets", [1e19, 1e20], sizes=3),
    budgets("12 runs, one budget", [1e20], sizes=12),
    ray(12),
    budgets("8 runs, two budgets", [1e19, 1e20], sizes=4),
    scattered(8),
    grid("9 runs, 3 sizes x 3 lengths", np.geomspace(5e7, 1e9, 3), np.geomspace(1e9, 2e10, 3)),
    budgets("9 runs, three budgets", [1e18, 1e19, 1e20], sizes=3),
    budgets("12 runs, three budgets", [1e18, 1e19, 1e20], sizes=4),
    grid("16 runs, 4 sizes x 4 lengths", np.geomspace(5e7, 2e9, 4), np.geomspace(1e9, 4e10, 4)),
    budgets("25 runs, five budgets", [1e18, 1e19, 1e20, 1e21, 1e22], sizes=5),
    scattered(29),
    scattered(30),
    scattered(60),
    scattered(240),
)


def true_values(design: Design) -> np.ndarray:
    point = np.array([[LAW.coefficients[name] for name in COEFFICIENTS]])
    near, far = (optimum_of(point, flops=flops) for flops in (design.budget, 10 * design.budget))
    params, tokens = design.next_run
    decided = [near["params"][0], near["loss"][0], far["params"][0], far["loss"][0]]
    return np.array([*point[0], *decided, LAW.loss(params, tokens=tokens)])


def few(design: Design, loss_SR: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the intervals that a fit to few runs has, shape (S, quantities)."""
    asked = [Coefficient(name) for name in COEFFICIENTS]
    for flops in (design.budget, 10 * design.budget):
        asked += [BestSize(flops), BestLoss(flops)]
    problem = Objective.of(design.runs(loss_SR[0]), delta=DELTA)
    found = few_run_ends(problem, loss_SR=loss_SR, quantities=[*asked, LossAt(*design.next_run)])
    low_SQ, high_SQ = found.ends.low_SQ, found.ends.high_SQ
    last = replace(found, ends=replace(found.ends, low_SQ=low_SQ[:, -1:], high_SQ=high_SQ[:, -1:]))
    # around the middle of the interval of the law, where a user's has the fitted law's own value
    middle = np.sqrt(low_SQ[:, -1:] * high_SQ[:, -1:])
    low, high = with_noise(last, middle_SQ=middle, runs=loss_SR.shape[1])
    return np.concatenate([low_SQ[:, :-1], low], axis=1), np.concatenate([high_SQ[:, :-1], high], axis=1)


def quick_fit(runs: Runs) -> Fit:
    """What `fit_law` finds, from the best twelve of its 400 starts."""
    problem = Objective.of(runs, delta=DELTA)
    starts = projected_starts(problem, loss_R=runs.loss_R)
    first = problem.values(starts, weights_BR=np.ones((1, len(runs))))
    found = continued(problem, starts[np.argsort(first)[:KEPT_STARTS]])
    best = int(found.value_B.argmin())
    values = problem.to_coefficients(found.theta_BP[best : best + 1])[0]
    law = law_of(dict(zip(COEFFICIENTS, map(float, values), strict=True)), runs=runs, name="fitted")
    return Fit(law, float(found.value_B[best]), found.theta_BP[best], DELTA, runs, len(starts), (), ())


def many(design: Design, loss_SR: np.ndarray, *, refits: int, profiles: bool) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the bootstrap's intervals, or of the profiles', one data set after the other."""
    lows, highs = [], []
    for seed, loss_R in enumerate(loss_SR):
        fit = quick_fit(design.runs(loss_R))
        if profiles:
            ends = [(found.low, found.high) for found in profile_intervals(fit).values()]
            ends = [(np.nan if low is None else low, np.nan if high is None else high) for low, high in ends]
        else:
            sample = bootstrap(fit, count=refits, seed=seed)
            ends = [sample.interval(name) for name in COEFFICIENTS]
            for flops in (design.budget, 10 * design.budget):
                drawn = optimum_of(sample.coefficients_BP, flops=flops)
                ends += [sample.interval_of(drawn["params"]), sample.interval_of(drawn["loss"])]
            params, tokens = design.next_run
            ends.append(one_run_interval(fit, sample=sample, params=params, tokens=tokens))
        lows.append([low for low, _ in ends])
        highs.append([high for _, high in ends])
    return np.array(lows), np.array(highs)


def cells(low_SQ: np.ndarray, high_SQ: np.ndarray, truth_SQ: np.ndarray) -> list[str]:
    """Coverage of the intervals that say anything, and the share of those that do not."""
    texts = []
    for low, high, truth in zip(low_SQ.T, high_SQ.T, truth_SQ.T, strict=True):
        nothing = np.isnan(low) & np.isnan(high)
        holds = (np.isnan(low) | (low <= truth)) & (np.isnan(high) | (truth <= high))
        none = f" ({100 * nothing.mean():.0f} none)" if nothing.mean() >= 0.005 else ""
        texts.append("none" if nothing.all() else f"{100 * holds[~nothing].mean():.1f}{none}")
    return texts


def measure(
    design: Design, *, in_nats: bool, simulations: int, refits: int, seed: int, profiles: bool
) -> list[str]:
    truth_R = design.truth()
    if why_not_identified(design.runs(truth_R)) is not None:
        return ["not identified"] * len(COLUMNS)
    rng = np.random.default_rng([seed, len(truth_R)])
    noise_SR = rng.standard_normal((simulations, len(truth_R)))
    loss_SR = truth_R + NATS * noise_SR if in_nats else truth_R * np.exp(SHARE * noise_SR)
    values_SQ = np.tile(true_values(design), (simulations, 1))
    own = rng.standard_normal(simulations)
    values_SQ[:, -1] = values_SQ[:, -1] + NATS * own if in_nats else values_SQ[:, -1] * np.exp(SHARE * own)
    if len(truth_R) < FEW_RUNS:
        low_SQ, high_SQ = few(design, loss_SR)
    else:
        low_SQ, high_SQ = many(design, loss_SR, refits=refits, profiles=profiles)
    return cells(low_SQ, high_SQ, values_SQ[:, : low_SQ.shape[1]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--refits", type=int, default=200, help="of each bootstrap, from 30 runs on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="designs whose name holds this")
    parser.add_argument("--noise", choices=("nats", "share"), help="one of the two only")
    parser.add_argument("--profiles", action="store_true", help="the profiles of 30 runs and more instead")
    options = parser.parse_args()
    for in_nats, title in ((True, f"Noise of {NATS} nats"), (False, f"Noise of {100 * SHARE} % of the loss")):
        if options.noise is not None and (options.noise == "nats") is not in_nats:
            continue
        print(f"| {title} | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 1) + "|", flush=True)
        for design in DESIGNS:
            if options.only not in design.name or (options.profiles and len(design.params_R) < FEW_RUNS):
                continue
            texts = measure(
                design,
                in_nats=in_nats,
                simulations=options.simulations,
                refits=options.refits,
                seed=options.seed,
                profiles=options.profiles,
            )
            print(f"| {design.name} | " + " | ".join(texts) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
