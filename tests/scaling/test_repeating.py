"""Fits of repetition recover known constants and say when the runs do not determine them."""

import numpy as np
import pytest

from finetrial.errors import UserError
from finetrial.scaling.fitting import fit_law
from finetrial.scaling.published_laws import MUENNIGHOFF2023
from finetrial.scaling.repeated_data import MUENNIGHOFF
from finetrial.scaling.repeated_data_fit import fit_jointly, fit_over_base, one_epoch
from finetrial.scaling.repeated_data_intervals import RepeatedRuns
from finetrial.scaling.target_loss import train
from finetrial.scaling.training_runs import Runs


def repeated(*, epochs, sizes, noise: float, seed: int = 0, r_tokens=15.387756, r_params=5.309743) -> Runs:
    """Runs of the law of Muennighoff et al.; sizes are multiples of the unique tokens (0.051 is the optimum)."""
    cells = [(u, m * u, e) for u in (1e8, 4e8, 1.5e9) for m in sizes for e in epochs]
    unique, params, passes = np.array(cells).T
    runs = Runs(params, unique * passes, np.ones(len(params)), np.arange(2, len(params) + 2), unique)
    logs = -RepeatedRuns.of(runs).residuals(
        MUENNIGHOFF2023, log_tokens=np.log(r_tokens), log_params=np.log(r_params)
    )
    generator = np.random.default_rng(seed)
    return runs.with_loss(np.exp(logs + noise * generator.standard_normal(len(params))))


def test_the_fitted_law_is_the_law_that_plans_use():
    runs = repeated(epochs=(0.5, 1, 3, 20), sizes=(0.02, 0.3), noise=0.0)
    for index in range(len(runs)):
        planned = train(
            MUENNIGHOFF2023,
            params=float(runs.params_R[index]),
            tokens=float(runs.tokens_R[index]),
            unique_tokens=float(runs.unique_tokens_R[index]),
            rule=MUENNIGHOFF,
        )
        assert planned.loss == pytest.approx(float(runs.loss_R[index]), rel=1e-12)
    assert len(runs) == 24


@pytest.mark.parametrize("fit", [fit_over_base, fit_jointly], ids=["frozen", "joint"])
def test_known_constants_are_recovered_and_covered(fit):
    runs = repeated(epochs=(1, 2, 4, 8, 16, 40), sizes=(0.02, 0.05, 0.2, 1.0), noise=0.002)
    name = "base" if fit is fit_over_base else "start"
    found = fit(runs, delta=1e-3, **{name: MUENNIGHOFF2023})
    assert found.r_star_tokens == pytest.approx(15.387756, rel=0.1)
    assert found.r_star_params == pytest.approx(5.309743, rel=0.1)
    assert all(found.identified.values())
    assert found.intervals["r_star_tokens"].low < 15.387756 < found.intervals["r_star_tokens"].high
    assert found.intervals["r_star_params"].low < 5.309743 < found.intervals["r_star_params"].high
    assert found.other_optima == ()


def test_intervals_of_the_constants_cover_at_about_their_nominal_rate():
    # Binomial(30, 0.95) falls under 24 with probability 0.0006
    covered = [0, 0]
    for seed in range(30):
        runs = repeated(epochs=(2, 5, 12, 30), sizes=(0.03, 0.3), noise=0.004, seed=seed)
        found = fit_over_base(runs, base=MUENNIGHOFF2023, delta=1e-3)
        for axis, (name, truth) in enumerate((("r_star_tokens", 15.387756), ("r_star_params", 5.309743))):
            interval = found.intervals[name]
            low = 0 if interval.low is None else interval.low
            high = np.inf if interval.high is None else interval.high
            covered[axis] += low <= truth <= high
    assert min(covered) >= 24, covered


def test_few_passes_and_much_noise_leave_the_constant_open_above():
    runs = repeated(epochs=(1, 1.5, 2), sizes=(0.01, 0.03), noise=0.02)
    found = fit_over_base(runs, base=MUENNIGHOFF2023, delta=1e-3)
    assert not found.identified["r_star_tokens"]
    assert found.intervals["r_star_tokens"].high is None
    assert "no large value" in found.reasons["r_star_tokens"]


def test_intervals_of_a_base_law_from_the_same_table_let_it_move():
    # held at its fit, one-epoch runs with excess parameters bias R*: 9 such intervals in 10 missed the truth
    runs = repeated(epochs=(1, 2, 4, 8, 16, 40), sizes=(0.02, 0.05, 0.2, 1.0), noise=0.004)
    base = fit_law(one_epoch(runs), delta=1e-3).law
    held = fit_over_base(runs, base=base, delta=1e-3).intervals["r_star_tokens"]
    moving = fit_over_base(runs, base=base, delta=1e-3, base_is_fitted=True).intervals["r_star_tokens"]
    assert not held.low < 15.387756 < held.high
    assert moving.low < 15.387756 < moving.high


def test_too_few_runs_have_no_interval_of_the_constants():
    runs = repeated(epochs=(4, 16), sizes=(0.03, 0.3), noise=0.004)
    found = fit_over_base(runs.select(np.arange(len(runs)) < 3), base=MUENNIGHOFF2023, delta=1e-3)
    assert found.identified == {"r_star_tokens": False, "r_star_params": False}
    assert found.intervals["r_star_tokens"].low is found.intervals["r_star_tokens"].high is None
    assert found.reasons["r_star_tokens"] == "too few runs for an interval"


def test_without_excess_parameters_their_constant_is_undefined():
    runs = repeated(epochs=(1, 4, 16, 60), sizes=(0.01, 0.03), noise=0.001)
    found = fit_over_base(runs, base=MUENNIGHOFF2023, delta=1e-3)
    assert found.runs_with_excess_params == 0
    assert found.r_star_params is None
    assert found.identified == {"r_star_tokens": True, "r_star_params": False}
    assert found.reasons == {"r_star_params": "no run has more parameters than its unique tokens deserve"}


def test_a_second_optimum_is_named():
    # Populations that contradict each other. 24 runs of 1.5 epochs repeat as if R* were 0.05: they pull R* down and
    # have nothing more to lose once it is above about 1. Three runs of 100 epochs repeat as if it were 300.
    few = repeated(epochs=(1.5,), sizes=np.linspace(0.005, 0.04, 8), noise=0.0, r_tokens=0.05)
    many = repeated(epochs=(100.0,), sizes=(0.01,), noise=0.0, r_tokens=300.0)
    columns = ("params_R", "tokens_R", "loss_R", "lines_R", "unique_tokens_R")
    mixed = Runs(*(np.concatenate([getattr(few, name), getattr(many, name)]) for name in columns))
    found = fit_over_base(mixed, base=MUENNIGHOFF2023, delta=1e-3)
    values = sorted([found.r_star_tokens, *(optimum.r_star_tokens for optimum in found.other_optima)])
    assert len(values) == 2
    assert values[0] == pytest.approx(0.05, rel=0.1)
    assert values[1] == pytest.approx(300, rel=0.1)


def test_runs_of_one_epoch_are_told_from_the_rest_and_needed_for_nothing_else():
    runs = repeated(epochs=(1, 2), sizes=(0.02, 0.05), noise=0.0)
    assert len(one_epoch(runs)) == len(runs) / 2
    with pytest.raises(UserError, match="no run repeats its data"):
        fit_over_base(one_epoch(runs), base=MUENNIGHOFF2023, delta=1e-3)
