"""Agreement coefficients equal the published worked examples."""

from __future__ import annotations

import random

import pytest

from finetrial.errors import UserError
from finetrial.stats import cohen_kappa, gwet_ac1, krippendorff_alpha, raw_agreement

N = None
# Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), example C: four observers, twelve units.
FOUR_OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]


@pytest.mark.parametrize(
    ("level", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_alpha_equals_krippendorff_s_own_example(level: str, value: float) -> None:
    found = krippendorff_alpha(FOUR_OBSERVERS, level=level)
    assert found.value == pytest.approx(value, abs=5e-4)
    assert found.low < found.value < found.high
    assert (found.n_items, found.n_raters, found.n_ratings) == (11, 4, 40)  # one unit has one rating: left out


def test_alpha_by_hand() -> None:
    # Example A there: ten units, two observers, values 0/1. Coincidences o00 = 10, o01 = o10 = 4, o11 = 2; n = 20:
    # alpha = 1 - 19 * 4 / (14 * 6) = .0952.
    a = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    b = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert krippendorff_alpha([a, b]).value == pytest.approx(1 - 19 * 4 / (14 * 6))


def test_ac1_equals_the_published_value() -> None:
    # Gwet's irrCAC gives .77544 for the same table (its data set cac.raw4raters).
    assert gwet_ac1(FOUR_OBSERVERS).value == pytest.approx(0.77544, abs=5e-6)


def test_ac1_stays_steady_where_kappa_collapses() -> None:
    # 90 both good, 5 and 5 apart, none both bad: raw .9; kappa (.9 - .905)/(1 - .905) = -.0526;
    # AC1: pe = 2 * .95 * .05 = .095, (.9 - .095)/.905 = .8895.
    a, b = [1] * 95 + [0] * 5, [1] * 90 + [0] * 5 + [1] * 5
    assert raw_agreement([a, b]).value == pytest.approx(0.9)
    assert cohen_kappa(a, b).value == pytest.approx(-0.005 / 0.095)
    assert gwet_ac1([a, b]).value == pytest.approx(0.805 / 0.905)


def test_kappa_by_hand() -> None:
    # 20 both yes, 15 both no, 5 and 10 apart: po = .7, pe = .5 * .6 + .5 * .4 = .5, kappa .4.
    a, b = ["y"] * 25 + ["n"] * 25, ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    found = cohen_kappa(a, b)
    assert found.value == pytest.approx(0.4)
    # Fleiss, Cohen & Everitt's large-sample standard error for this table is .1265 (95 %: .15 to .65).
    assert (found.low, found.high) == pytest.approx((0.15, 0.65), abs=0.02)


def test_jackknife_bounds_by_hand() -> None:
    # Raw agreement is a mean over items, and the jackknife of a mean is the mean's own standard error:
    # 3 of 4 agree: .75 ± 3.182446 * sqrt(.25 / 4), cut at 1.
    found = raw_agreement([[1, 1, 0, 0], [1, 1, 0, 1]])
    assert found.value == 0.75
    assert (found.low, found.high) == (pytest.approx(0.75 - 3.182446 * 0.25, abs=1e-6), 1.0)


def test_the_order_of_items_and_raters_changes_nothing() -> None:
    rng = random.Random(0)
    columns = list(zip(*FOUR_OBSERVERS, strict=True))
    rng.shuffle(columns)
    shuffled = [list(row) for row in zip(*columns, strict=True)][::-1]
    for coefficient in (krippendorff_alpha, gwet_ac1, raw_agreement):
        one, other = coefficient(FOUR_OBSERVERS), coefficient(shuffled)
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


def test_undefined_agreement_says_why() -> None:
    alike = [["good"] * 5, ["good"] * 5]
    for found in (krippendorff_alpha(alike), gwet_ac1(alike), cohen_kappa(*alike)):
        assert found.value is None and "every rating is the same" in found.reason
    for found in (krippendorff_alpha([[1, 2, 3]]), gwet_ac1([[1, N], [N, 2]]), krippendorff_alpha([])):
        assert found.value is None and "no item was judged by two raters" in found.reason
    assert krippendorff_alpha([[1, 2], [1, 2]]).reason == "fewer than three items: no bounds"


def test_perfect_and_systematic_disagreement() -> None:
    assert krippendorff_alpha([[0, 1, 0, 1], [0, 1, 0, 1]]).value == 1
    assert krippendorff_alpha([[0, 1, 0, 1], [1, 0, 1, 0]]).value < 0


def test_bad_input_is_one_clear_error() -> None:
    with pytest.raises(UserError, match="Did you mean 'ordinal'"):
        krippendorff_alpha([[1, 2], [1, 2]], level="ordnal")
    with pytest.raises(UserError, match="one cell per item"):
        krippendorff_alpha([[1, 2], [1]])
    with pytest.raises(UserError, match="finite number"):
        krippendorff_alpha([["a", "b"], ["a", "b"]], level="interval")
