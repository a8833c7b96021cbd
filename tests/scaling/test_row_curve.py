"""The loss over rows: the law is found again, its forecasts cover the truth, and no fall is no gain."""

import numpy as np
import pytest

from finetrial.errors import UserError
from finetrial.scaling.row_curve import fit_rows, forecast_rows

ROWS = (50, 100, 200, 400)


def law(rows, *, floor=1.2, gain=4.0, exponent=0.5):
    return floor + gain * np.asarray(rows, float) ** -exponent


def texts(seed, *, count, noise, rows=ROWS, exponent=0.5):
    """What `count` texts of 10 to 60 tokens cost at each number of rows: the law's loss, and the texts' own."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(10, 60, count)
    own = generator.normal(0, 0.3, count)  # how hard a text is, at any number of rows
    losses = law(rows, exponent=exponent)[:, None] + own + generator.normal(0, noise, (len(rows), count))
    return (losses * tokens).tolist(), tokens.tolist()


def test_a_law_is_found_again_from_its_own_losses():
    curve = fit_rows(ROWS, law(ROWS))
    # the grid's nearest exponent is within 2 %
    assert curve.exponent == pytest.approx(0.5, rel=0.03)
    assert curve.loss_at(1600) == pytest.approx(1.2 + 4 / 40, abs=0.005)  # 4 / sqrt(1600) by hand
    assert curve.rows_for(1.2 + 4 / 40) == pytest.approx(1600, rel=0.15)
    assert curve.rows_for(0.5) is None  # below the floor


def test_losses_that_rise_with_the_rows_promise_nothing():
    curve = fit_rows(ROWS, [1.0, 1.1, 1.2, 1.3])
    assert curve.gain == 0 and curve.loss_at(10_000) == pytest.approx(1.15)
    assert curve.rows_for(0.9) is None


def test_losses_that_halve_with_the_rows_have_no_floor_below_zero():
    curve = fit_rows((100, 200, 400), [8.0, 2.0, 0.5])  # a fall of n^-2
    assert curve.floor == pytest.approx(0.0, abs=1e-6) and curve.exponent == pytest.approx(2.0)


def test_forecasts_are_relative_to_the_most_rows_and_their_intervals_cover_the_truth():
    covered, trials = 0, 60
    truth = float(law([1600])[0] - law([400])[0])
    for seed in range(trials):
        nats, tokens = texts(seed, count=40, noise=0.02)
        (same, more) = forecast_rows(ROWS, nats, tokens=tokens, at=(400, 1600), seed=seed)
        assert same.change == 0 and same.low == 0 and same.high == 0
        assert more.low <= more.change <= more.high
        covered += more.low <= truth <= more.high
    assert covered >= 0.85 * trials  # 95 % of 60 less three standard errors


def test_few_texts_give_a_forecast_without_an_interval():
    nats, tokens = texts(1, count=5, noise=0.01)
    (forecast,) = forecast_rows(ROWS, nats, tokens=tokens, at=(800,), seed=1)
    assert forecast.change < 0 and forecast.low is None and forecast.high is None


def test_two_sizes_are_no_curve():
    with pytest.raises(UserError, match="more sizes"):
        fit_rows((100, 200), (1.0, 0.9))
