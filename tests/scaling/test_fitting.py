"""Fits of the published runs reproduce the reference's figures, and fits of known laws recover them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_runs import synthetic

from finetrial.errors import UserError
from finetrial.scaling.decisions import coefficient_intervals, decide, optimum_of, predict, predict_held_out
from finetrial.scaling.fitting import fit_law, projected_starts
from finetrial.scaling.influence import influence_of
from finetrial.scaling.interval import FEW_RUNS
from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.newton import continued
from finetrial.scaling.objective import Objective
from finetrial.scaling.profiling import profile_intervals
from finetrial.scaling.published_laws import BESIROGLU2024, HOFFMANN2022_UNROUNDED, MUENNIGHOFF2023
from finetrial.scaling.resampling import bootstrap
from finetrial.scaling.training_runs import COEFFICIENTS, Runs

real_data = pytest.mark.real_data


@real_data
def test_published_runs_delta_1e_3(chinchilla: Runs):
    # Fitting: objective 0.00101827, A 477.8, B 2143, E 1.8172, alpha 0.3473, beta 0.3672 (240 of 245 rows)
    kept = chinchilla.without_highest(5)
    assert (len(chinchilla), len(kept)) == (245, 240)
    fit = fit_law(kept)
    assert fit.objective == pytest.approx(0.00101827, abs=5e-9)
    assert fit.coefficients["A"] == pytest.approx(477.8, abs=0.05)
    assert fit.coefficients["B"] == pytest.approx(2143, abs=0.5)
    assert fit.coefficients["E"] == pytest.approx(1.8172, abs=5e-5)
    assert fit.coefficients["alpha"] == pytest.approx(0.3473, abs=5e-5)
    assert fit.coefficients["beta"] == pytest.approx(0.3672, abs=5e-5)
    assert fit.other_optima == ()


@real_data
def test_published_runs_delta_1e_6(chinchilla: Runs):
    # Fitting: with delta 1e-6 A 481.9, B 2085, E 1.8168, alpha 0.3478, beta 0.3658: the published set
    fit = fit_law(chinchilla.without_highest(5), delta=1e-6)
    assert fit.coefficients["A"] == pytest.approx(481.9, abs=0.05)
    assert fit.coefficients["B"] == pytest.approx(2085, abs=0.5)
    assert fit.coefficients["E"] == pytest.approx(1.8168, abs=5e-5)
    assert fit.coefficients["alpha"] == pytest.approx(0.3478, abs=5e-5)
    assert fit.coefficients["beta"] == pytest.approx(0.3658, abs=1e-4)


@real_data
def test_all_published_runs_and_what_five_of_them_do(chinchilla: Runs):
    # Fitting: all 245 rows give B 12,846: five points move it sixfold, which a fit should report
    fit = fit_law(chinchilla)
    assert fit.coefficients["B"] == pytest.approx(12_846, abs=0.5)
    group = influence_of(fit, flops=1e22).highest_losses
    assert group is not None
    assert group.moved == "B"
    assert group.largest_ratio == pytest.approx(12_846 / 2143, rel=1e-3)
    assert group.coefficients["B"] == pytest.approx(2143, abs=0.5)


@real_data
def test_bootstrap_intervals_of_the_published_runs(chinchilla: Runs):
    # Fitting: 95 % intervals by bootstrap: E 1.769-1.871, alpha 0.317-0.373, beta 0.331-0.415. A 2.5 % point of
    # 2000 resamples scatters by about a twentieth of the interval's width.
    sample = bootstrap(fit_law(chinchilla.without_highest(5)), count=2000, seed=0)
    expected = {"E": (1.769, 1.871), "alpha": (0.317, 0.373), "beta": (0.331, 0.415)}
    for name, (low, high) in expected.items():
        slack = 0.05 * (high - low)
        assert sample.interval(name) == pytest.approx((low, high), abs=slack)
    assert sample.not_converged == 0
    assert sample.at_bound == 0


@real_data
def test_profiles_agree_with_the_bootstrap_on_the_published_runs(chinchilla: Runs):
    fit = fit_law(chinchilla.without_highest(5))
    sample = bootstrap(fit, count=1000, seed=1)
    for name, profile in profile_intervals(fit).items():
        assert profile.identified
        low, high = sample.interval(name)
        # two ways to the same question; on the log scale their ends lie within a quarter of the width
        slack = 0.25 * np.log(high / low)
        assert np.log([profile.low, profile.high]) == pytest.approx(np.log([low, high]), abs=slack)


@real_data
def test_refits_from_the_known_optimum_find_what_the_whole_grid_finds(chinchilla: Runs):
    fit = fit_law(chinchilla.without_highest(5))
    problem = Objective.of(fit.runs, delta=fit.delta)
    starts = projected_starts(problem, loss_R=fit.runs.loss_R)
    generator = np.random.default_rng(3)
    seen = 0
    for _ in range(2):
        weights = generator.multinomial(240, np.full(240, 1 / 240), size=1).astype(float)
        whole = continued(problem, starts, weights_BR=weights).value_B.min()
        warm = continued(problem, fit.theta_P[None], weights_BR=weights).value_B[0]
        assert warm == pytest.approx(whole, rel=1e-9)
        seen += 1
    assert seen == 2


@real_data
def test_largest_published_runs_are_predicted_from_the_smaller(chinchilla: Runs):
    kept = chinchilla.without_highest(5)
    small, large = kept.select(kept.flops_R <= 1e21), kept.select(kept.flops_R > 1e21)
    fit = fit_law(small)
    rows = predict_held_out(fit, held_out=large, sample=bootstrap(fit, count=300, seed=0))
    assert len(rows) == len(large) == 23
    errors = [abs(row.predicted / row.measured - 1) for row in rows]
    assert max(errors) < 0.03
    assert all(row.interval is not None and row.interval[0] < row.predicted < row.interval[1] for row in rows)


def test_gradient_and_hessian_are_those_of_the_value():
    runs = synthetic(BESIROGLU2024, runs=30, noise=0.02, seed=0)
    problem = replace(Objective.of(runs, delta=5e-3))
    weights = np.random.default_rng(0).uniform(0, 3, (1, 30))
    theta = problem.from_coefficients(np.array([[1.7, 400.0, 1500.0, 0.33, 0.35]]))
    exact = problem.curvature(theta, weights_BR=weights)
    assert exact.value_B[0] == pytest.approx(problem.values(theta, weights_BR=weights)[0], rel=1e-12)
    checked = 0
    for axis in range(5):
        step = np.zeros((1, 5))
        step[0, axis] = 1e-6
        ahead, behind = (problem.curvature(theta + sign * step, weights_BR=weights) for sign in (1, -1))
        slope = (ahead.value_B - behind.value_B) / 2e-6
        assert exact.gradient_BP[0, axis] == pytest.approx(slope[0], rel=1e-5, abs=1e-9)
        row = (ahead.gradient_BP - behind.gradient_BP)[0] / 2e-6
        assert exact.hessian_BPP[0, axis] == pytest.approx(row, rel=1e-4, abs=1e-7)
        checked += 1
    assert checked == 5


def test_coordinates_and_coefficients_invert():
    problem = Objective.of(synthetic(BESIROGLU2024, runs=10, noise=0.0, seed=0), delta=1e-3)
    values = np.array([[1.8, 480.0, 2000.0, 0.35, 0.36], [0.5, 1.0, 1e5, 0.1, 0.9]])
    assert problem.to_coefficients(problem.from_coefficients(values)) == pytest.approx(values)


@settings(deadline=None, max_examples=8)
@given(
    st.sampled_from([BESIROGLU2024, HOFFMANN2022_UNROUNDED, MUENNIGHOFF2023]),
    st.integers(0, 10_000),
    st.sampled_from([1e-2, 1e-3]),
)
def test_a_law_without_noise_is_recovered(law, seed: int, delta: float):
    fit = fit_law(synthetic(law, runs=25, noise=0.0, seed=seed), delta=delta)
    for name in COEFFICIENTS:
        assert fit.coefficients[name] == pytest.approx(law.coefficients[name], rel=1e-4)


@pytest.mark.parametrize("runs", [60, 15])
def test_intervals_cover_a_known_law_at_about_their_nominal_rate(runs: int):
    # 20 data sets x 6 quantities. Binomial(20, 0.95) falls under 15 with probability 0.0003.
    law, repeats = BESIROGLU2024, 20
    truth = np.array([law.coefficients[name] for name in COEFFICIENTS])
    best = optimum_of(truth[None], flops=1e22)["params"][0]
    covered = dict.fromkeys([*COEFFICIENTS, "N*"], 0)
    wide = 0
    for seed in range(repeats):
        fit = fit_law(synthetic(law, runs=runs, noise=0.004, seed=seed))
        sample = bootstrap(fit, count=100, seed=seed) if runs >= FEW_RUNS else None
        intervals = coefficient_intervals(fit, sample=sample)
        assert intervals is not None
        for name, value in zip(COEFFICIENTS, truth, strict=True):
            covered[name] += intervals[name].low <= value <= intervals[name].high
        intervals = decide(fit, flops=1e22, sample=sample).intervals
        assert intervals is not None
        low, high = intervals["params"]
        covered["N*"] += low <= best <= high
        wide += high / low > 30
    assert min(covered.values()) >= 15, covered
    assert wide == 0  # and not because they are useless


def test_profiles_cover_a_known_law():
    law, covered, repeats = BESIROGLU2024, {"E": 0, "beta": 0}, 15
    for seed in range(repeats):
        fit = fit_law(synthetic(law, runs=60, noise=0.004, seed=100 + seed))
        for name, profile in profile_intervals(fit, names=tuple(covered)).items():
            assert profile.low is not None
            assert profile.high is not None
            covered[name] += profile.low <= law.coefficients[name] <= profile.high
    assert min(covered.values()) >= 11, covered  # Binomial(15, 0.95) falls under 11 with probability 0.0006


def test_runs_along_one_ray_do_not_identify_the_law():
    # Every run at 20 tokens a parameter, with noise: E, A and B trade against each other.
    generator = np.random.default_rng(0)
    params = np.geomspace(1e8, 4e8, 12)
    law = replace(BESIROGLU2024, beta=BESIROGLU2024.alpha)
    loss = np.array([law.loss(n, tokens=20 * n) for n in params]) * np.exp(0.01 * generator.standard_normal(12))
    profiles = profile_intervals(fit_law(Runs(params, 20 * params, loss, np.arange(12))))
    open_ones = [name for name, profile in profiles.items() if not profile.identified]
    assert {"A", "B"} & set(open_ones)
    assert profiles["E"].low == 0.0 or profiles["E"].low is None


def test_the_run_that_was_tampered_with_is_the_most_influential():
    runs = synthetic(BESIROGLU2024, runs=40, noise=0.002, seed=5)
    victim = int(runs.params_R.argmax())
    loss = runs.loss_R.copy()
    loss[victim] *= 1.2
    fit = fit_law(runs.with_loss(loss), delta=1.0)  # squared error: nothing resists an outlier
    influence = influence_of(fit, flops=1e22)
    assert influence.runs[0].line == runs.lines_R[victim]


def test_the_same_seed_gives_the_same_intervals_and_another_does_not():
    fit = fit_law(synthetic(BESIROGLU2024, runs=40, noise=0.004, seed=2))
    one, two, three = (bootstrap(fit, count=60, seed=seed).interval("alpha") for seed in (7, 7, 8))
    assert one == two
    assert one != three


def test_progress_ends_at_the_number_of_refits():
    fit = fit_law(synthetic(BESIROGLU2024, runs=40, noise=0.004, seed=2))
    told: list[tuple[int, int]] = []
    bootstrap(fit, count=130, seed=0, progress=lambda done, total: told.append((done, total)))
    assert told == [(125, 130), (130, 130)]


def test_too_few_runs_are_refused_with_the_number_needed():
    with pytest.raises(UserError, match="fewer runs than coefficients; got 4 runs; expected at least 5"):
        fit_law(synthetic(BESIROGLU2024, runs=4, noise=0.0, seed=0))
    runs = synthetic(BESIROGLU2024, runs=8, noise=0.0, seed=0)
    with pytest.raises(UserError, match="differ too little in params"):
        fit_law(replace(runs, params_R=np.full(8, 1e9)))


def test_intervals_of_a_prediction_hold_a_run_not_made_yet():
    # Binomial(40, 0.95) falls under 32 with probability 0.0006. The run has eight times the largest size and data.
    law, held, repeats = BESIROGLU2024, 0, 40
    for seed in range(repeats):
        fit = fit_law(synthetic(law, runs=30, noise=0.004, seed=200 + seed))
        sample = bootstrap(fit, count=80, seed=seed)
        (row,) = predict(fit, places=[(8e10, 2.4e12)], sample=sample)
        truth = law.loss(8e10, tokens=2.4e12) * np.exp(0.004 * np.random.default_rng(seed).standard_normal())
        assert row.interval is not None
        held += row.interval[0] <= truth <= row.interval[1]
        assert row.extrapolation > 10
    assert held >= 32


def test_a_floor_that_vanishes_is_one_optimum_however_small_it_is():
    # 1e-12 and 5e-12 nats are the same floor: only the logarithm tells them apart
    law = ParametricLaw(
        name="no floor", E=1e-12, A=40.0, B=40.0, alpha=0.2, beta=0.15, source="made up", params_meaning="all"
    )
    found = fit_law(synthetic(law, runs=24, noise=0.02, seed=5))
    assert found.coefficients["E"] < 1e-6
    assert found.other_optima == ()
