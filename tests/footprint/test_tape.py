"""The tape against small graphs worked by hand."""

import pytest

from finetrial.footprint.tape import Tape
from finetrial.footprint.tape_values import Kind, Storage, Weight


class Taken:
    """Takes weights' gradients and lets go of them."""

    def __init__(self):
        self.sizes = []

    def take(self, tape: Tape, weight: Weight, part: Storage) -> None:
        self.sizes.append(part.size)
        tape.free(part)


def tape():
    return Tape(sums=Taken())


def test_a_value_dies_with_its_name_unless_something_keeps_it_for_backward():
    t = tape()
    x = t.leaf(10, Kind.inputs, wanted=True)
    y = t.op(x, size=20, kind=Kind.mlp, saves=(x,))
    t.drop(x)
    assert t.live == 30  # x is kept for y's backward
    t.op(y, size=5, kind=Kind.mlp)  # needs nothing of y
    t.drop(y)
    assert t.live == 15  # y is gone: 30 + 5 - 20


def test_nothing_is_kept_where_no_gradient_is_wanted():
    t = tape()
    x = t.leaf(10, Kind.inputs)
    y = t.op(x, size=20, kind=Kind.mlp, saves=(x,), keeps=7)
    t.drop(x)
    assert t.live == 20 and not y.wanted


def test_a_trained_weight_makes_its_output_wanted_and_gives_its_gradient_in_backward():
    t = tape()
    weight = Weight(entries=6, width=2, trained=True)
    x = t.leaf(10, Kind.inputs)
    y = t.op(x, size=20, kind=Kind.mlp, saves=(x,), weights=(weight,))
    t.drop(x)
    assert y.wanted
    t.at("layer 1")
    t.drop(y)
    # backward: the 4 bytes of the first gradient stand for y's; x kept 10, the weight's gradient 12
    t.backward(y)
    assert t.peaks["layer 1"].total_bytes == 10 + 20
    assert t._sums.sizes == [12] and t.live == 0


def test_a_sum_hands_one_gradient_to_both_and_the_second_use_is_added_in_place():
    # y = x + f(x): f's output and x share y's gradient, which f's input gradient is then added to
    t = tape()
    x = t.leaf(8, Kind.inputs, wanted=True)
    f = t.op(x, size=8, kind=Kind.mlp, saves=(x,))
    y = t.op(x, f, size=8, kind=Kind.residuals, passes=True)
    loss = t.op(y, size=4, kind=Kind.loss)
    t.drop(x, f, y, loss)
    t.at("going back")
    t._run(t._nodes, grads := {id(loss): t.store(4, Kind.flowing)})
    # beside the kept x: loss 4 + y's 8; then f's input gradient 8 beside y's 8
    assert t.peaks["going back"].by_kind[Kind.flowing] == 16
    assert list(grads) == [id(x)] and t.live == 8


def test_a_recomputed_part_keeps_its_input_alone_and_runs_again_in_backward():
    def part():
        inner = t.op(x, size=100, kind=Kind.mlp, saves=(x,), saves_result=True)
        out = t.op(inner, size=10, kind=Kind.residuals, saves=(inner,))
        t.drop(inner)
        return out

    t = tape()
    x = t.leaf(10, Kind.inputs, wanted=True)
    t.at("layer 1")
    out = t.recomputed(part, x, trains=False)
    t.drop(x)
    assert t.live == 20  # x is kept, and out stands
    t.at("above")
    loss = t.op(out, size=4, kind=Kind.loss)
    t.drop(out, loss)
    t._run(t._nodes, grads := {id(loss): t.store(4, Kind.flowing)})
    assert t.peaks["backward of layer 1"].by_kind[Kind.mlp] == 100
    assert list(grads) == [id(x)] and t.live == 10


def test_what_is_made_again_in_backward_is_not_kept_and_stands_once_for_all_that_read_it():
    # n is made of x; two matrices read n in turn
    t = tape()
    weights = [Weight(entries=3, width=2, trained=True) for _ in range(2)]
    table = Weight(entries=5, width=2, trained=True)
    x = t.op(size=10, kind=Kind.residuals, weights=(table,))
    n = t.op(x, size=40, kind=Kind.norms, saves=(x,))
    n.made_of = (x.storage,)
    ys = [t.op(n, size=20, kind=Kind.mlp, saves=(n,), weights=(weight,)) for weight in weights]
    t.drop(x, n)
    assert t.live == 10 + 2 * 20  # x for n; n is gone
    both = t.op(*ys, size=20, kind=Kind.mlp, passes=True)
    loss = t.op(both, size=4, kind=Kind.loss)
    t.drop(*ys, both, loss)
    t.at("going back")
    t.backward(loss)
    assert t._sums.sizes == [6, 6, 10]
    # once 40 of n, although both ask for it
    assert t.peaks["going back"].by_kind[Kind.norms] == 40
    assert t.live == 0


def test_inside_a_recomputed_part_everything_is_there_already_and_nothing_is_made_twice():
    def part():
        n = t.op(x, size=40, kind=Kind.norms, saves=(x,))
        n.made_of = (x.storage,)
        y = t.op(n, size=10, kind=Kind.residuals, saves=(n,), weights=(Weight(entries=3, width=2, trained=True),))
        t.drop(n)
        return y

    t = tape()
    x = t.leaf(10, Kind.inputs, wanted=True)
    t.at("layer 1")
    out = t.recomputed(part, x, trains=True)
    loss = t.op(out, size=4, kind=Kind.loss)
    t.drop(x, out, loss)
    t.at("above")
    t._run(t._nodes, grads := {id(loss): t.store(4, Kind.flowing)})
    assert t.peaks["backward of layer 1"].by_kind[Kind.norms] == 40
    assert list(grads) == [id(x)] and t.live == 10


def test_the_newest_note_can_keep_bytes_of_another_kind():
    t = tape()
    x = t.leaf(10, Kind.inputs, wanted=True)
    y = t.op(x, size=20, kind=Kind.attention, saves=(x,))
    t.keep_with_last(6, Kind.projections)
    t.drop(x)
    assert t.by_kind[Kind.projections] == 6 and t.live == 36 and y.wanted


def test_the_parts_of_every_peak_add_up():
    t = tape()
    x = t.leaf(3, Kind.inputs, wanted=True)
    t.at("layer 1")
    y = t.op(x, size=5, kind=Kind.norms, saves=(x,), forward_bytes=11)
    peak = t.peaks["layer 1"]
    assert peak.total_bytes == 19 == sum(peak.by_kind.values())
    assert peak.by_kind[Kind.temporaries] == 11 and t.live == 8 and y.wanted


def test_a_storage_is_freed_once():
    t = tape()
    storage = t.store(1, Kind.mlp)
    t.free(storage)
    with pytest.raises(AssertionError):
        t.free(storage)
