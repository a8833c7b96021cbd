"""Pilots decide by curves that can be worked by hand, by normal distributions, and by sums of probabilities."""

import math

import numpy as np
import pytest

from finetrial.scaling.early_decision import RISK, PilotLoss, decide, to_drop
from finetrial.scaling.full_forecast import Pilots, forecast_full
from finetrial.scaling.row_curve import fit_rows


def _one(losses, rows=(1, 2), full=8, **more):
    """The draws for one arm whose single validation row has one token."""
    pilots = Pilots(tuple(rows), full, tuple((loss,) for loss in losses))
    return forecast_full({"a": pilots}, tokens=[1.0], seed=0, draws=50, **more).losses["a"]


def test_two_pilots_and_a_known_exponent_are_a_law_worked_by_hand():
    # 3 = floor + gain / 1 and 2 = floor + gain / 2: gain 2, floor 1, and at 8 rows 1 + 2 / 8 = 1.25
    assert _one([3.0, 2.0], noises={0.0: 1.0}, exponents=[1.0]) == pytest.approx(1.25)


def test_an_exponent_of_zero_goes_on_by_as_much_each_doubling():
    # 3 at 1 row and 2.9 at 2: three more doublings to 16 take off 0.3
    assert _one([3.0, 2.9], full=16, noises={0.0: 1.0}, exponents=[0.0]) == pytest.approx(2.6)


def test_a_negative_exponent_falls_ever_faster():
    # a line in the rows themselves (exponent -1): 0.1 a row, from 2.9 at 2 rows to 2.7 at 4
    assert _one([3.0, 2.9], full=4, noises={0.0: 1.0}, exponents=[-1.0]) == pytest.approx(2.7)


def test_the_forecast_on_a_law_is_that_of_the_least_squares_fit():
    rows, law = (64, 128, 256), (lambda n: 1.5 + 4 * n**-0.5)
    found = _one([law(n) for n in rows], rows=rows, full=1024, noises={0.0: 1.0}, exponents=[0.5])
    assert found == pytest.approx(law(1024))
    assert fit_rows(rows, [law(n) for n in rows]).loss_at(1024) == pytest.approx(law(1024), abs=2e-3)


def test_a_third_pilot_weighs_the_exponents():
    # losses that halve their fall at each doubling (exponent 1) go to 2 + 4/16 = 2.25, a line in log rows to 1
    losses = [2 + 4 / n for n in (1, 2, 4)]
    found = _one(losses, rows=(1, 2, 4), full=16, noises={1e-4: 1.0}, exponents=[0.0, 1.0])
    assert found == pytest.approx(2.25, abs=0.01)


def test_without_a_third_pilot_each_exponent_is_as_likely_as_another():
    drawn = forecast_full(
        {"a": Pilots((1, 2), 8, ((3.0,), (2.0,)))},
        tokens=[1.0],
        seed=0,
        noises={0.0: 1.0},
        exponents=[0.0, 1.0],
        draws=4000,
    ).losses["a"]
    # exponent 0 goes on to 2 - 2 = 0, exponent 1 to 1.25
    assert np.mean(np.isclose(drawn, 1.25)) == pytest.approx(0.5, abs=0.03)
    assert np.mean(np.isclose(drawn, 0.0)) == pytest.approx(0.5, abs=0.03)


def test_the_noise_of_a_forecast_is_that_of_the_line_and_of_the_run_itself():
    # flat losses of 1 at log2 rows 0 and 1, forecast at log2 rows 2 (exponent 0): the line's variance there is
    # 1/2 + (2 - 0.5)^2 / 0.5 = 5, and the run's own 1; noise 0.001
    drawn = forecast_full(
        {"a": Pilots((1, 2), 4, ((1.0,), (1.0,)))},
        tokens=[1.0],
        seed=0,
        noises={1e-3: 1.0},
        exponents=[0.0],
        draws=20000,
    ).losses["a"]
    assert drawn.std() == pytest.approx(1e-3 * math.sqrt(6), rel=0.03)
    assert drawn.mean() == pytest.approx(1.0, abs=1e-4)


def test_the_probability_of_being_best_is_that_of_two_normals():
    # as above, sd 0.001 * sqrt(6) each; the arms lie 0.003 apart: P = Phi(0.003 / (0.001 * sqrt(12)))
    pilots = {"a": Pilots((1, 2), 4, ((1.0,), (1.0,))), "b": Pilots((1, 2), 4, ((1.003,), (1.003,)))}
    best = forecast_full(pilots, tokens=[1.0], seed=0, noises={1e-3: 1.0}, exponents=[0.0], draws=20000).best()
    phi = 0.5 * (1 + math.erf(0.003 / 0.001 / math.sqrt(12) / math.sqrt(2)))
    assert best["a"] == pytest.approx(phi, abs=0.01)
    assert best["a"] + best["b"] == pytest.approx(1.0)


def test_equal_arms_share_every_draw():
    pilots = {name: Pilots((1, 2), 4, ((2.0,), (1.0,))) for name in "abcd"}
    best = forecast_full(pilots, tokens=[1.0], seed=0, noises={0.0: 1.0}, exponents=[1.0]).best()
    assert list(best.values()) == pytest.approx([0.25] * 4)


def test_rows_that_are_hard_for_all_arms_make_no_difference_between_them():
    # ten rows from 0.5 to 5 nats; the second arm needs 1 % more for each, so it is worse however they are drawn
    costs = np.linspace(0.5, 5.0, 10)
    pilots = {
        "a": Pilots((1, 2), 4, (tuple(costs), tuple(costs))),
        "b": Pilots((1, 2), 4, (tuple(1.01 * costs), tuple(1.01 * costs))),
    }
    drawn = forecast_full(pilots, tokens=[1.0] * 10, seed=0, noises={0.0: 1.0}, exponents=[0.0])
    assert drawn.best() == {"a": 1.0, "b": 0.0}
    low, high = drawn.interval("a")
    assert high - low > 1.0  # although the loss itself is uncertain by more than a nat


def test_an_arm_that_is_better_on_half_of_the_rows_is_as_likely_the_best():
    flat = np.full(40, 1.0)
    other = np.tile([0.9, 1.1], 20)
    pilots = {
        "a": Pilots((1, 2), 4, (tuple(flat), tuple(flat))),
        "b": Pilots((1, 2), 4, (tuple(other), tuple(other))),
    }
    best = forecast_full(pilots, tokens=[1.0] * 40, seed=0, noises={0.0: 1.0}, exponents=[0.0]).best()
    assert best["b"] == pytest.approx(0.5, abs=0.03)


def test_pilots_off_their_curves_make_the_noise_of_a_run_more():
    # Flat but for a middle pilot: off the best line by (d, -2 d, d) / 3, whose squares add up to 2 d^2 / 3.
    # With one degree of freedom and no prior to speak of, each level s weighs exp(-d^2 / (3 s^2)) / s.
    def share_of_low(bump):
        pilots = {"a": Pilots((1, 2, 4), 8, ((1.0,), (1.0 + bump,), (1.0,)))}
        drawn = forecast_full(
            pilots, tokens=[1.0], seed=0, noises={1e-5: 1.0, 1e-2: 1.0}, exponents=[0.0], draws=4000
        ).losses["a"]
        return np.mean(np.abs(drawn - np.median(drawn)) < 1e-4)

    assert share_of_low(0.0) > 0.99  # a thousand times as likely as the other
    # exp(-(0.03)^2 / (3 * 1e-4)) / 1e-2 = 5 against exp(-3e6) / 1e-5: all draws are of the wide one
    assert share_of_low(0.03) < 0.05


def test_two_pilots_leave_the_noise_as_it_was_thought_beforehand():
    drawn = forecast_full(
        {"a": Pilots((1, 2), 4, ((1.0,), (1.0,)))},
        tokens=[1.0],
        seed=0,
        noises={1e-9: 0.25, 0.05: 0.75},
        exponents=[0.0],
        draws=4000,
    ).losses["a"]
    assert np.mean(np.abs(drawn - 1.0) < 1e-6) == pytest.approx(0.25, abs=0.03)


def test_all_arms_say_what_a_run_s_noise_is():
    # the second arm's pilots jump, so that the first one's forecast is as uncertain
    def spread(bump):
        pilots = {
            "a": Pilots((1, 2, 4), 8, ((1.0,), (1.0,), (1.0,))),
            "b": Pilots((1, 2, 4), 8, ((1.0,), (1.0 + bump,), (1.0,))),
        }
        low, high = forecast_full(pilots, tokens=[1.0], seed=0, exponents=[0.0]).interval("a")
        return high - low

    assert spread(0.1) > 3 * spread(0.0)


def test_draws_are_those_of_their_seed():
    pilots = {"a": Pilots((1, 2), 4, ((2.0,), (1.0,)))}
    first, again, other = (forecast_full(pilots, tokens=[1.0], seed=seed).losses["a"] for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


# -- dropping


def test_the_least_probable_arms_go_while_their_sum_is_at_most_the_risk():
    assert to_drop({"a": 0.93, "b": 0.03, "c": 0.02, "d": 0.02}, spent=0.0, risk=0.05) == ("c", "d")
    assert to_drop({"a": 0.95, "b": 0.05}, spent=0.0, risk=0.05) == ("b",)
    assert to_drop({"a": 0.9, "b": 0.1}, spent=0.0, risk=0.05) == ()


def test_what_went_before_counts():
    assert to_drop({"a": 0.97, "b": 0.03}, spent=0.0, risk=0.05) == ("b",)
    assert to_drop({"a": 0.97, "b": 0.03}, spent=0.03, risk=0.05) == ()


def test_the_last_arm_is_never_dropped():
    assert to_drop({"a": 0.0, "b": 0.0, "c": 0.0}, spent=0.0, risk=0.05) == ("a", "b")
    assert to_drop({"a": 0.0}, spent=0.0, risk=0.05) == ()


def _flat(loss, shares=3):
    return [PilotLoss(rows, (loss,)) for rows in (16, 32, 64)[:shares]]


def _decide(pilots, *, shares=(1 / 16, 1 / 8, 1 / 4)):
    return decide(pilots, shares=shares, full_rows=dict.fromkeys(pilots, 256), tokens=[1.0], seed=0)


def test_a_hopeless_arm_goes_after_the_second_share_and_close_ones_stay_undecided():
    found = _decide({"a": _flat(1.0), "b": _flat(1.001), "c": _flat(3.0, shares=2)})
    assert [rung.dropped for rung in found.rungs] == [(), ("c",), ()]
    assert found.left == found.undecided == ("a", "b")
    assert found.rungs[0].standings == {}  # one pilot says nothing of a curve
    assert "c" not in found.rungs[2].losses
    assert found.probability_of("c") < 0.005


def test_one_clear_winner_leaves_nothing_undecided():
    found = _decide({"a": _flat(1.0), "b": _flat(2.0, shares=2)})
    assert (found.left, found.undecided, found.dropped, found.favourite) == (("a",), (), ("b",), "a")


def test_the_dropped_have_at_most_the_risk_together():
    pilots = {f"a{i}": _flat(1.0 + 0.004 * i) for i in range(8)}
    found = _decide(pilots)
    lost = [rung.standings[arm].probability for rung in found.rungs for arm in rung.dropped]
    assert 0 < len(lost) < 8
    assert sum(lost) <= RISK


def test_an_arm_whose_pilot_diverged_is_kept_and_judged_by_nobody():
    found = _decide({"a": _flat(1.0), "b": _flat(2.0, shares=2), "c": [None]})
    assert found.without == ("c",)
    assert found.left == ("a",)
    assert found.undecided == ("a",)  # c may still be better
    assert all("c" not in rung.standings for rung in found.rungs)


def test_an_arm_that_lacks_a_pilot_which_others_have_is_kept():
    found = _decide({"a": _flat(1.0), "b": _flat(1.0), "c": _flat(9.0, shares=1)})
    assert found.without == ("c",)
    assert "c" not in found.dropped


def test_pilots_of_one_share_decide_nothing():
    found = _decide({"a": _flat(1.0, shares=1), "b": _flat(9.0, shares=1)})
    assert (found.dropped, found.undecided, len(found.rungs)) == ((), ("a", "b"), 1)
