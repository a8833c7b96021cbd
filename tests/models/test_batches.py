"""Order, effective batches and packed rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import make_examples

from finetrial.models.batches import best_fit, effective_batches, epoch_order, pack, trained_tokens
from finetrial.trial.examples import Encoded

IDS = [f"row-{i}" for i in range(50)]


def test_the_order_depends_on_seed_epoch_and_ids_alone():
    order = epoch_order(IDS, seed=3, epoch=1)
    assert sorted(order) == list(range(50))
    assert [IDS[i] for i in order] == [IDS[::-1][i] for i in epoch_order(IDS[::-1], seed=3, epoch=1)]
    assert order != epoch_order(IDS, seed=4, epoch=1)
    assert order != epoch_order(IDS, seed=3, epoch=2)


def test_a_longer_template_moves_the_batch_borders_but_not_the_order():
    short = effective_batches(IDS, lengths=[10] * 50, epochs=2, batch_tokens=40, seed=0)
    long = effective_batches(IDS, lengths=[17] * 50, epochs=2, batch_tokens=40, seed=0)
    assert [i for b in short for i in b] == [i for b in long for i in b]
    assert [len(b) for b in short] == [4] * 25
    assert [len(b) for b in long] == [2] * 50


def test_a_fraction_of_an_epoch_takes_that_share_of_the_examples():
    batches = effective_batches(IDS, lengths=[10] * 50, epochs=1.5, batch_tokens=100, seed=0)
    taken = [i for b in batches for i in b]
    assert len(taken) == 75
    assert sorted(taken[:50]) == list(range(50))
    assert taken[50:] == epoch_order(IDS, seed=0, epoch=1)[:25]


def test_an_example_longer_than_the_batch_is_a_batch_of_its_own():
    batches = effective_batches(IDS[:3], lengths=[5, 500, 5], epochs=1, batch_tokens=100, seed=0)
    assert (1,) in batches
    assert sorted(i for b in batches for i in b) == [0, 1, 2]


def test_best_fit_puts_each_example_where_least_room_is_left():
    # capacity 10, longest first: 7 opens a row (3 left), 6 opens a row (4 left), 4 fits only the second (0 left),
    # 3 fits the first (0 left).
    assert best_fit([0, 1, 2, 3], lengths=[3, 7, 6, 4], capacity=10) == [(1, 0), (2, 3)]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 40))
def test_rows_hold_every_example_once_and_never_too_much(lengths, capacity):
    rows = best_fit(range(len(lengths)), lengths=lengths, capacity=capacity)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(len(row) == 1 or sum(lengths[i] for i in row) <= capacity for row in rows)


def test_a_packed_row_predicts_each_trained_token_from_the_token_before_it():
    examples = [
        Encoded("a", (10, 11, 12, 13), (False, False, True, True)),
        Encoded("b", (20, 21, 22, 23, 24, 25), (False, True, False, True, False, False)),
    ]
    batch = pack(examples)
    # Longest input first. a: inputs 10 11 12 (13 is predicted, never read). b: the last trained token is 23, so
    # its inputs are 20 21 22 and nothing after.
    assert batch.input_ids_T.tolist() == [10, 11, 12, 20, 21, 22]
    assert batch.position_ids_T.tolist() == [0, 1, 2, 0, 1, 2]
    assert batch.runs == ((2, 3),)
    assert batch.labels_M.tolist() == [12, 13, 21, 23]
    # 12 is predicted at 11 (place 1), 13 at 12 (2), 21 at 20 (3), 23 at 22 (5)
    assert batch.loss_positions_M.tolist() == [1, 2, 3, 5]


def test_a_first_token_never_carries_loss():
    example = Encoded("a", (5, 6, 7), (True, True, True))
    assert trained_tokens(example) == 2
    assert pack([example]).labels_M.tolist() == [6, 7]


def test_packing_drops_no_trained_token():
    examples = make_examples(30)
    assert pack(examples).labels_M.numel() == sum(trained_tokens(e) for e in examples)


@pytest.mark.parametrize("lengths", [[5, 5, 3], [4]])
def test_examples_of_one_length_make_one_run(lengths):
    examples = [Encoded(str(i), tuple(range(n + 1)), (True,) * (n + 1)) for i, n in enumerate(lengths)]
    expected = {(5, 5, 3): ((2, 5), (1, 3)), (4,): ((1, 4),)}[tuple(lengths)]
    assert pack(examples).runs == expected
