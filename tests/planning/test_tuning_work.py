"""What tuning, evaluating and searching are in steps and tokens, by hand and beside training's own rules."""

import pytest

from finetrial.planning.token_counts import ArmTokens
from finetrial.planning.tuning_work import SearchRule, batch_count, evaluations_of, search_tokens, taken_lengths
from finetrial.training.validation_plan import plan_evaluations, search_rows, token_count
from finetrial.trial.examples import Encoded


def test_a_step_takes_examples_until_the_next_would_be_too_much():
    # 40 + 50 = 90, 30 would make 120; then 30; then 200 alone, too long as it is; then 10
    assert batch_count([40, 50, 30, 200, 10], batch_tokens=100) == 4
    assert batch_count([50, 50, 50], batch_tokens=100) == 2


def test_a_part_of_an_epoch_takes_that_share_of_the_rows():
    assert taken_lengths([10, 20, 30, 40], epochs=1.5) == (10, 20, 30, 40, 10, 30)
    assert len(taken_lengths([10, 20, 30, 40], epochs=0.01)) == 1


def test_evaluations_that_are_asked_for_read_every_row_each_time_and_at_the_start():
    found = evaluations_of([10] * 7, train_tokens=1000, evaluations=5)
    assert (found.times, found.curve_rows, found.tokens) == (6, 7, 6 * 70)


@pytest.mark.parametrize("train_tokens", [2_000, 20_000, 33_333, 200_000, 2_000_000])
@pytest.mark.parametrize("rows", [5, 60, 400])
def test_a_tenth_of_the_compute_is_spent_as_training_spends_it(train_tokens, rows):
    """Rows of one length, so that which of them are chosen does not matter."""
    validation = [Encoded(str(i), (1,) * 50, (False,) * 40 + (True,) * 10) for i in range(rows)]
    real = plan_evaluations(validation, steps=1000, train_tokens=train_tokens, evaluations=None)
    curve = len(real.rows) * 50
    read = len(real.steps) * curve + (0 if real.whole else rows * 50 - curve)
    found = evaluations_of([50] * rows, train_tokens=train_tokens, evaluations=None)
    assert (found.times, found.curve_rows, found.tokens) == (len(real.steps), len(real.rows), read)


@pytest.mark.parametrize("train_tokens", [2_000, 20_000, 33_333, 200_000])
@pytest.mark.parametrize("rows", [0, 5, 60, 400])
def test_the_rates_of_a_search_are_compared_on_as_many_rows_as_training_takes(train_tokens, rows):
    validation = [Encoded(str(i), (1,) * 50, (False,) * 40 + (True,) * 10) for i in range(rows)]
    real = token_count(search_rows(validation, train_tokens=train_tokens))
    tokens = ArmTokens(
        train=(50,),
        train_loss=10,
        validation=(50,) * rows,
        validation_loss=10 * rows,
        prompts=(),
        answers=(),
        max_new_tokens=1,
        per_prompt=1,
    )
    assert search_tokens(tokens, train_tokens=train_tokens) == real


def test_each_rate_of_a_search_has_a_tenth_of_the_steps_but_no_fewer_than_25():
    rule = SearchRule(rates=5, share=0.1, least_steps=25)
    assert rule.share_of(1000) == 0.1
    assert rule.share_of(100) == 0.25
    assert rule.share_of(10) == 1.0
