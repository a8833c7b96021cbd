"""How the rows of several arms are divided into passes, and their seconds among them."""

import torch
from tiny_models import make_examples

from finetrial.models.batches import pack
from finetrial.training import meter
from finetrial.training.meter import SharedClock
from finetrial.training.shared_passes import arms_at_once


def test_as_many_arms_pass_at_once_as_the_micro_batch_holds_in_even_parts():
    assert arms_at_once(range(8), row_tokens=256, micro_tokens=2048) == [range(8)]
    # two rows of 700 fit into 2,048, three do not
    five = arms_at_once([0, 2, 3, 5, 7], row_tokens=700, micro_tokens=2048)
    assert [list(part) for part in five] == [[0, 2], [3, 5], [7]]
    assert [len(p) for p in arms_at_once(range(8), row_tokens=600, micro_tokens=2048)] == [3, 3, 2]
    assert [list(p) for p in arms_at_once([4, 6], row_tokens=3000, micro_tokens=2048)] == [[4], [6]]


def test_a_repeated_row_is_the_row_so_many_times():
    row = pack(make_examples(3))
    tokens, predicted = row.input_ids_T.numel(), row.labels_M.numel()
    twice = row.repeated(2)
    assert twice.runs == (*row.runs, *row.runs)
    for name in ("input_ids_T", "position_ids_T", "labels_M"):
        assert torch.equal(getattr(twice, name), torch.cat([getattr(row, name)] * 2))
    assert torch.equal(twice.loss_positions_M[predicted:], row.loss_positions_M + tokens)


def test_seconds_are_divided_among_those_at_work(monkeypatch):
    # by hand: 6 s for three arms, then 4 s for the second alone, then 3 s for nobody, then 2 s for the first two
    now = iter([100.0, 106.0, 110.0, 113.0, 115.0, 115.0, 115.0])
    monkeypatch.setattr(meter.time, "monotonic", lambda: next(now))
    clock = SharedClock(3)
    clock.work_for([1])
    clock.work_for([])
    clock.work_for([0, 1])
    assert [clock.seconds(arm) for arm in range(3)] == [3.0, 7.0, 2.0]
