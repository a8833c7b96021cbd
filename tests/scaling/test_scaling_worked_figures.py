"""The worked figures of the reference: N = 67e9, D = 4.1e12, hoffmann2022, unique data = D, halving.

Expected values are those printed in the project's reference table; each test names its line.
"""

import math

import pytest

from finetrial.scaling.allocation import allocate, at_same_cost, spend
from finetrial.scaling.laws import training_flops
from finetrial.scaling.published_laws import HOFFMANN2022, HOFFMANN2022_UNROUNDED, MUENNIGHOFF2023
from finetrial.scaling.repeated_data import HALVING
from finetrial.scaling.target_loss import Outcome, reach

N, D = 67e9, 4.1e12


@pytest.fixture
def reached() -> Outcome:
    target = 0.99 * HOFFMANN2022.loss(N, tokens=D)
    found = reach(HOFFMANN2022, params=N, loss=target, unique_tokens=D, rule=HALVING)
    assert isinstance(found, Outcome)
    return found


def test_first_figure_compute_and_loss():
    # C = 1.6482e24 FLOPs, L = 1.895506113
    assert training_flops(N, tokens=D) == pytest.approx(1.6482e24, rel=1e-6)
    assert HOFFMANN2022.loss(N, tokens=D) == pytest.approx(1.895506113, rel=1e-6)


def test_second_figure_one_per_cent_lower(reached: Outcome):
    # L' = 1.876551052, D' = 7.54407124e12 effective tokens, 6 N D' = 3.03271664e24 FLOPs
    assert reached.loss == pytest.approx(1.876551052, rel=1e-6)
    assert reached.tokens_effective == pytest.approx(7.54407124e12, rel=1e-6)
    assert reached.flops_effective == pytest.approx(3.03271664e24, rel=1e-6)


def test_second_figure_chained_from_a_rounded_loss_differs():
    # chained from the rounded L = 1.90 it would be 6.48e12
    rounded = HOFFMANN2022.tokens_for_loss(N, loss=0.99 * 1.90)
    assert rounded == pytest.approx(6.48e12, rel=2e-3)


def test_repetition_reaches_it_with_both_costs(reached: Outcome):
    # 2.644 further epochs (3.644 in all), 1.494e13 tokens processed, 6.006e24 FLOPs
    assert reached.epochs_total == pytest.approx(3.644, abs=5e-4)
    assert reached.tokens_processed == pytest.approx(1.494e13, rel=5e-4)
    assert reached.flops_processed == pytest.approx(6.006e24, rel=5e-4)
    # by hand: 2 U (1 - 2^-e) = D'  =>  e = -log2(1 - D' / (2 U))
    assert reached.epochs_total == pytest.approx(-math.log2(1 - 7.54407124e12 / (2 * D)), rel=1e-6)


def test_third_figure_and_what_it_hides(reached: Outcome):
    # at C' 1.41 N: 1.305 epochs, loss 1.88041; N itself 1.88376; best near 1.84 N at one epoch, 1.87964
    cheap = at_same_cost(HOFFMANN2022, outcome=reached, flops=reached.flops_effective, rule=HALVING)
    assert cheap.larger.epochs_total == pytest.approx(1.305, abs=5e-4)
    assert cheap.larger.loss == pytest.approx(1.88041, abs=5e-6)
    assert cheap.same_size.loss == pytest.approx(1.88376, abs=5e-6)
    assert cheap.best.params / N == pytest.approx(1.84, abs=0.01)
    assert cheap.best.epochs_total == pytest.approx(1.0, abs=0.01)
    assert cheap.best.loss == pytest.approx(1.87964, abs=5e-6)
    assert cheap.best.loss > reached.loss  # nothing at C' reaches L'


def test_third_figure_at_the_true_cost(reached: Outcome):
    # at 6.006e24: 1.41 N runs 2.584 epochs to 1.87007, the best size is near 2.87 N, 1.8648
    dear = at_same_cost(HOFFMANN2022, outcome=reached, flops=reached.flops_processed, rule=HALVING)
    assert dear.larger.epochs_total == pytest.approx(2.584, abs=5e-4)
    assert dear.larger.loss == pytest.approx(1.87007, abs=5e-6)
    assert dear.best.params / N == pytest.approx(2.87, abs=0.01)
    assert dear.best.loss == pytest.approx(1.8648, abs=5e-5)
    assert dear.best.loss < reached.loss


def test_rounded_constants_misplace_the_optimum():
    # at C = 5.76e23 hoffmann2022 says 93 tokens a parameter and the unrounded set 59
    ratios = [5.76e23 / 6 / law.optimal_params(5.76e23) ** 2 for law in (HOFFMANN2022, HOFFMANN2022_UNROUNDED)]
    assert [round(ratio) for ratio in ratios] == [93, 59]


def test_unrounded_constants_are_those_printed_to_their_digits():
    assert round(HOFFMANN2022_UNROUNDED.A, 1) == 406.4
    assert round(HOFFMANN2022_UNROUNDED.B, 1) == 410.7
    assert round(HOFFMANN2022_UNROUNDED.E, 2) == 1.69


def test_muennighoff_optimum_is_a_twentieth_of_the_tokens():
    # appendix A, eq. 17 of Muennighoff et al. 2023: U_N = 0.051 U_D, printed A 521, B 1488, E 1.87
    assert MUENNIGHOFF2023.optimal_params_for_tokens(1e9) / 1e9 == pytest.approx(0.051, abs=5e-4)
    assert [round(MUENNIGHOFF2023.A), round(MUENNIGHOFF2023.B)] == [521, 1488]
    assert round(MUENNIGHOFF2023.E, 2) == 1.87


def test_optimum_of_fresh_data_is_a_minimum_of_the_law():
    best = allocate(HOFFMANN2022_UNROUNDED, flops=1e21, unique_tokens=None, rule=HALVING).best
    for factor in (0.9, 0.99, 1.01, 1.1):
        other = spend(
            HOFFMANN2022_UNROUNDED,
            params=factor * best.params,
            flops=1e21,
            unique_tokens=None,
            rule=HALVING,
        )
        assert other is not None
        assert other.loss > best.loss
