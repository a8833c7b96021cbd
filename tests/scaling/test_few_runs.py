"""Fits of few runs: intervals that hold the truth, and designs that cannot say."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import t as student
from synthetic_runs import synthetic

from finetrial.scaling.decisions import coefficient_intervals, decide, optimum_of, predict
from finetrial.scaling.few_runs import few_run_ends, few_run_intervals, why_not_identified, why_undetermined
from finetrial.scaling.fitting import fit_law
from finetrial.scaling.interval import FEW_RUNS, FEWEST_RUNS, Interval
from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.objective import Objective
from finetrial.scaling.published_laws import BESIROGLU2024
from finetrial.scaling.quantities import BestLoss, BestSize, Centres, Coefficient, LossAt
from finetrial.scaling.resampling import Bootstrap, bootstrap
from finetrial.scaling.training_runs import COEFFICIENTS, Runs

LAW = BESIROGLU2024
POINT = np.array([[LAW.coefficients[name] for name in COEFFICIENTS]])


def runs_of(params: np.ndarray, tokens: np.ndarray, *, noise: float = 0.0, seed: int = 0) -> Runs:
    loss = LAW.E + LAW.A / params**LAW.alpha + LAW.B / tokens**LAW.beta
    loss = loss + noise * np.random.default_rng(seed).standard_normal(len(params))
    return Runs(params, tokens, loss, np.arange(2, len(params) + 2))


def on_budgets(*budgets: float, sizes: int, noise: float = 0.0, seed: int = 0) -> Runs:
    params = np.concatenate([LAW.optimal_params(flops) * np.geomspace(0.25, 4, sizes) for flops in budgets])
    return runs_of(params, np.repeat(budgets, sizes) / 6 / params, noise=noise, seed=seed)


def test_quantities_have_the_gradients_of_their_values():
    centres, seen = Centres(20.0, 23.5), 0
    theta = np.array([[-0.7, -0.9, 0.6, 0.35, 0.37], [-1.5, -0.2, 0.1, 0.2, 0.6]])
    asked = [*map(Coefficient, COEFFICIENTS), BestSize(1e21), BestLoss(1e21), LossAt(3e9, 4e10)]
    for quantity in asked:
        _, gradient = quantity.evaluate(theta, centres)
        for axis in range(5):
            step = np.zeros(5)
            step[axis] = 1e-6
            ahead, behind = (quantity.evaluate(theta + sign * step, centres)[0] for sign in (1, -1))
            assert gradient[:, axis] == pytest.approx((ahead - behind) / 2e-6, rel=1e-5, abs=1e-8)
            seen += 1
    assert seen == 40


def test_quantities_are_those_of_the_law():
    problem = Objective.of(on_budgets(1e19, 1e20, sizes=4), delta=1e-3)
    theta, centres = problem.from_coefficients(POINT), Centres.of(problem)
    best = optimum_of(POINT, flops=3e21)
    for quantity, value in (
        (BestSize(3e21), best["params"][0]),
        (BestLoss(3e21), best["loss"][0]),
        (LossAt(2e9, 5e10), LAW.loss(2e9, tokens=5e10)),
        (Coefficient("A"), LAW.A),
        (Coefficient("B"), LAW.B),
    ):
        assert np.exp(quantity.evaluate(theta, centres)[0][0]) == pytest.approx(value, rel=1e-12)
    assert best["params"][0] == pytest.approx(LAW.optimal_params(3e21), rel=1e-12)


def test_an_end_is_where_the_refitted_squares_pass_students_t():
    # S(psi) = S_min (1 + t^2 / (R - 5)), the refit made by another optimiser from the same side
    runs = on_budgets(1e18, 1e19, 1e20, sizes=3, noise=0.01, seed=3)
    problem = Objective.of(runs, delta=1e3)
    (interval,) = few_run_intervals(fit_law(runs), quantities=[Coefficient("alpha")])
    logs = few_run_ends(problem, loss_SR=runs.loss_R[None], quantities=[Coefficient("alpha")])
    weights = [np.ones(9), (runs.loss_R / np.exp(np.log(runs.loss_R).mean())) ** 2]

    def squares(theta: np.ndarray, weight: np.ndarray) -> float:
        return float((weight * problem.residuals(theta[None])[0] ** 2).sum())

    def least(weight: np.ndarray, alpha: float | None, start: np.ndarray) -> float:
        def value(free: np.ndarray) -> float:
            theta = free if alpha is None else np.array([*free[:3], alpha, free[3]])
            return 1e4 * squares(theta, weight)

        first = start if alpha is None else start[[0, 1, 2, 4]]
        options = {"maxiter": 40_000, "maxfev": 40_000, "xatol": 1e-9, "fatol": 1e-12}
        found = minimize(value, first, method="Nelder-Mead", options=options)
        found = minimize(value, found.x, method="Nelder-Mead", options=options)
        return found.fun / 1e4

    start = problem.from_coefficients(POINT)[0]
    allowed = 1 + student.ppf(0.975, 4) ** 2 / 4
    for end in (interval.low, interval.high):
        # the wider of the two noise models decides, so at the end the larger allowance is just used up
        used = [least(weight, end, start) / least(weight, None, start) / allowed for weight in weights]
        assert min(used) == pytest.approx(1, rel=0.03)
    assert logs.ends.low_SQ[0, 0] == pytest.approx(interval.low)


@pytest.mark.parametrize("in_nats", [True, False])
def test_intervals_of_nine_runs_hold_the_truth_in_95_of_a_hundred_data_sets(in_nats: bool):
    # The 26 of 30. 200 data sets: Binomial(200, 0.95) falls under 180 with probability 0.002; all ten
    # intervals are of the same sets.
    runs = on_budgets(1e18, 1e19, 1e20, sizes=3)
    noise = np.random.default_rng(7).standard_normal((200, 9))
    loss = runs.loss_R + 0.01 * noise if in_nats else runs.loss_R * np.exp(0.004 * noise)
    flops = 1e20
    asked = [*map(Coefficient, COEFFICIENTS), BestSize(flops), BestLoss(flops), BestSize(1e21), LossAt(1e10, 1e11)]
    ends = few_run_ends(Objective.of(runs, delta=1e-3), loss_SR=loss, quantities=asked).ends
    near, far = optimum_of(POINT, flops=flops), optimum_of(POINT, flops=1e21)
    decided = [near["params"][0], near["loss"][0], far["params"][0], LAW.loss(1e10, tokens=1e11)]
    truth = np.array([*POINT[0], *decided])
    holds = (np.nan_to_num(ends.low_SQ, nan=0.0) <= truth) & (truth <= np.nan_to_num(ends.high_SQ, nan=np.inf))
    assert holds.sum(axis=0).min() >= 180
    closed = ~np.isnan(ends.low_SQ) & ~np.isnan(ends.high_SQ)
    assert closed.mean() > 0.99  # and not because they are open
    assert np.median(ends.high_SQ[:, 5] / ends.low_SQ[:, 5]) < 1.5  # or too wide to be of use


def test_a_fit_of_few_runs_needs_no_bootstrap_and_its_intervals_hold_its_values():
    fit = fit_law(on_budgets(1e18, 1e19, 1e20, sizes=3, noise=0.01, seed=5))
    intervals = coefficient_intervals(fit, sample=None)
    assert intervals is not None
    for name, interval in intervals.items():
        assert interval.low <= fit.coefficients[name] <= interval.high
    decision = decide(fit, flops=1e21, sample=None)
    for name in ("params", "tokens", "loss"):
        low, high = decision.intervals[name]
        assert low < getattr(decision, name) < high
    # D* = C / (6 N*), so that its ends are those of N* turned round
    assert decision.intervals["tokens"][0] == pytest.approx(1e21 / 6 / decision.intervals["params"][1])
    row, far = predict(fit, places=[(1e9, 1e10), (1e12, 1e13)], sample=None)
    assert row.interval[0] < row.predicted < row.interval[1]
    law_alone = few_run_intervals(fit, quantities=[LossAt(1e9, 1e10)])[0]
    assert row.interval[0] < law_alone.low  # one run's own noise comes on top of the law's
    assert far.interval[1] / far.interval[0] > row.interval[1] / row.interval[0]


def test_more_noise_and_fewer_runs_widen_the_intervals():
    def width(runs: Runs) -> float:
        interval = few_run_intervals(fit_law(runs), quantities=[BestSize(1e20)])[0]
        return np.log(interval.high / interval.low)

    quiet = width(on_budgets(1e18, 1e19, 1e20, sizes=4, noise=0.002, seed=1))
    loud = width(on_budgets(1e18, 1e19, 1e20, sizes=4, noise=0.02, seed=1))
    assert loud > 5 * quiet


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (on_budgets(1e20, sizes=5), "one budget, 1e+20 FLOPs"),
        (on_budgets(1e20, sizes=20), "one budget"),
        (on_budgets(1e19, 1e20, sizes=3), "6 runs for 5 coefficients leave 1 to tell the noise by|leave one"),
        (runs_of(np.geomspace(1e8, 1e10, 12), 20 * np.geomspace(1e8, 1e10, 12)), "20 tokens a parameter"),
        (runs_of(np.geomspace(1e8, 1e10, 12), 1e4 * np.geomspace(1e8, 1e10, 12) ** 0.6), "on one line"),
    ],
)
def test_designs_that_cannot_tell_a_law_are_named(runs: Runs, said: str):
    reason = why_not_identified(runs)
    assert reason is not None
    assert any(part in reason for part in said.split("|"))


def test_designs_that_can_tell_a_law_are_not_refused():
    assert why_not_identified(on_budgets(1e19, 1e20, sizes=4)) is None
    assert why_not_identified(synthetic(LAW, runs=FEWEST_RUNS, noise=0.0, seed=0)) is None


def test_losses_that_do_not_fall_determine_nothing():
    law = ParametricLaw(
        name="flat", E=3.0, A=1e-9, B=1e-9, alpha=0.3, beta=0.3, source="made up", params_meaning="all"
    )
    fit = fit_law(synthetic(law, runs=20, noise=0.003, seed=2))
    intervals = coefficient_intervals(fit, sample=None)
    assert intervals is not None
    assert "do not show how parameters and tokens matter" in (why_undetermined(intervals) or "")
    told = {name: Interval(0.3, 0.4) for name in COEFFICIENTS}
    assert why_undetermined(told) is None
    assert "how tokens matter" in (why_undetermined(told | {"beta": Interval(None, None)}) or "")


def test_percentiles_are_widened_for_the_coefficients_fitted():
    # Hesterberg 2015: the normal share beyond sqrt(n / (n - p)) t. At 30 runs sqrt(30 / 25) 2.0595 = 2.256, whose
    # share is 0.0120; at 240 it is 1.991, 0.0232
    few, many = (Bootstrap(POINT, runs, 0, 0, 0) for runs in (30, 240))
    assert few.shares()[0] == pytest.approx(0.0120, abs=1e-4)
    assert many.shares()[0] == pytest.approx(0.0232, abs=1e-4)
    assert sum(few.shares()) == pytest.approx(1)


def test_thirty_runs_have_a_bootstrap_and_none_without_it():
    fit = fit_law(synthetic(LAW, runs=FEW_RUNS, noise=0.004, seed=1))
    assert coefficient_intervals(fit, sample=None) is None
    assert decide(fit, flops=1e21, sample=None).intervals is None
    sample = bootstrap(fit, count=50, seed=0)
    assert decide(fit, flops=1e21, sample=sample).intervals is not None
