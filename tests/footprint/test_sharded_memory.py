"""Memory and traffic of devices that share a model out: a tiny shape by hand, and what holds for every shape.

One layer, width 8, 2 heads of 4, 1 of keys and values, inner width 16, 32 words. The layer has 592 parameters: q
and o 8 x 8 each, k and v 4 x 8 each, gate and up 16 x 8 each, down 8 x 16, two norms of 8. The rest has 520:
embedding and head 32 x 8 each, a norm of 8.
"""

from dataclasses import replace

import pytest
from tiny_shapes import TINY

from finetrial.errors import UserError
from finetrial.footprint.adapters import Full, Matrices
from finetrial.footprint.beside import Lora
from finetrial.footprint.estimates import train
from finetrial.footprint.known_models import NAMED_MODELS
from finetrial.footprint.memory_plan import memory_plan, remedies
from finetrial.footprint.parameters import count_parameters
from finetrial.footprint.shapes import named_shape, shape_from_config
from finetrial.footprint.sharded_memory import sharded_evaluation, sharded_memory
from finetrial.footprint.shares import share_of, shares_of
from finetrial.footprint.step_seconds import Rates, link_bytes, step_time
from finetrial.footprint.tape_values import Kind
from finetrial.footprint.training_memory import Training, training_memory

GIB = 1 << 30
FULL = Training(method=Full(), length=4, dtype="float32", device="cpu", micro_batches=1, devices=2, sharded=True)


def tiny(**changes):
    return shape_from_config({**TINY, **changes})


def moment(memory, name):
    (peak,) = (m for m in memory.moments if m.moment == name)
    return peak.by_kind


def test_two_devices_hold_half_of_every_parameter():
    shares = shares_of(tiny(), Full(), devices=2)
    assert [unit.trained_share for unit in shares.layers] == [296] and shares.rest.trained_share == 260
    assert (shares.trained, shares.frozen, shares.gathered, shares.summed) == (556, 0, 1112, 1112)


def test_rows_that_do_not_divide_leave_the_first_device_more_and_padding_in_what_is_gathered():
    shares = shares_of(tiny(), Full(), devices=3)
    # ceil(rows / 3): q, o 3 x 8 each, k, v 2 x 8 each, gate, up 6 x 8 each, down 3 x 16, two norms of 3
    assert shares.layers[0].trained_share == 2 * 24 + 2 * 16 + 2 * 48 + 48 + 6 == 230
    assert shares.rest.trained_share == 2 * 11 * 8 + 3 == 179
    assert shares.gathered == 3 * (230 + 179)


def test_of_some_matrices_the_others_are_held_at_the_precision_and_not_summed():
    shares = shares_of(tiny(), Matrices(targets=("q", "v")), devices=2)
    assert shares.trained == (64 + 32) // 2 and shares.frozen == 556 - 48 and shares.masked == 0
    narrow = replace(FULL, method=Matrices(targets=("q", "v")), dtype="bfloat16")
    parts = moment(sharded_memory(tiny(), narrow), "optimizer step")
    assert parts[Kind.weights] == 2 * 508 and parts[Kind.masters] == 4 * 48 and parts[Kind.states] == 8 * 48
    # GPT-2's q is a third of a fused matrix: the whole of it is float32, and its mask, too
    fused = shares_of(named_shape("gpt2"), Matrices(targets=("q",)), devices=2)
    assert fused.trained == fused.masked == 12 * 3 * 768 * 768 // 2


def test_what_stands_is_a_share_of_masters_gradients_and_moments():
    parts = moment(sharded_memory(tiny(), FULL), "optimizer step")
    found = {kind: size for kind, size in parts.items() if size}
    assert found == {Kind.masters: 4 * 556, Kind.gradients: 4 * 556, Kind.states: 8 * 556}


def test_at_the_loss_the_rest_is_whole_beside_the_last_layers_buffer():
    parts = moment(sharded_memory(tiny(), FULL), "end of forward, at the loss")
    assert parts[Kind.gathered] == 4 * 520 + 4 * 592
    narrow = moment(sharded_memory(tiny(), replace(FULL, dtype="bfloat16")), "end of forward, at the loss")
    assert narrow[Kind.gathered] == 2 * (520 + 592) and narrow[Kind.masters] == parts[Kind.masters]


def test_in_a_layers_backward_the_next_one_is_gathered_and_the_last_ones_sum_still_stands():
    memory = sharded_memory(tiny(num_hidden_layers=3), FULL)
    parts = moment(memory, "backward of layer 2")
    assert parts[Kind.gathered] == 4 * (520 + 592 + 592)  # the rest, this layer, and layer 1 in its buffer
    assert parts[Kind.summing] == 4 * 592  # of layer 3
    # the head's gradient was made at the loss; this layer's come; layer 3's is a share, in float32
    assert parts[Kind.gradients] >= 4 * 256 + 4 * 296


def test_a_loss_without_gradients_holds_shares_and_what_it_gathers():
    peak = sharded_evaluation(tiny(), FULL)
    assert peak.by_kind[Kind.masters] == 4 * 556 and peak.by_kind[Kind.gradients] == 0
    assert peak.by_kind[Kind.gathered] in (4 * (520 + 592), 4 * (520 + 2 * 592))


def test_activations_are_those_of_one_device():
    one = training_memory(tiny(), replace(FULL, devices=1, sharded=False))
    many = sharded_memory(tiny(), FULL)
    at = "end of forward, at the loss"
    for kind in (Kind.residuals, Kind.attention, Kind.projections, Kind.mlp, Kind.inputs):
        assert moment(one, at)[kind] == moment(many, at)[kind], kind


def test_every_known_models_shares_add_up_and_fall_with_the_devices():
    seen = 0
    for name in NAMED_MODELS:
        shape = named_shape(name)
        total = count_parameters(shape).total
        assert shares_of(shape, Full(), devices=1).trained == total
        held = [shares_of(shape, Full(), devices=n).trained for n in (2, 4, 8)]
        assert all(n * share >= total for n, share in zip((2, 4, 8), held, strict=True)), name
        assert held[0] < 0.51 * total and held[1] < 0.26 * total, name
        seen += 1
    assert seen > 30
    assert share_of(7, 3, devices=4) == 6 and share_of(1, 3, devices=4) == 3


def test_what_a_device_sends_by_hand():
    def sent(method, **more):
        given = {"dtype_bytes": 4, "devices": 2, "sharded": True, **more}
        return link_bytes(tiny(), method=method, **given)

    # the layer's 592 twice and the rest's 520 once at 4 bytes, 1112 gradients at 4 bytes: half of it to the other
    assert sent(Full()).of_pass == (4 * (2 * 592 + 520) + 4 * 1112) / 2 and sent(Full()).of_step == 0
    # everything everywhere: float32 sums of the 16 trained numbers, and their totals
    one = sent(Lora(rank=1, targets=("q",)), sharded=False)
    assert (one.of_pass, one.of_step) == (0, 2 * 4 * 16 / 2)
    assert sent(Full(), devices=1).of_pass == 0


def test_time_is_computing_then_sending_and_each_device_steps_its_share():
    rates = Rates(step_flops=1e6, bandwidth=1e6, is_rough=True, source="", link=1e5)
    alone = step_time(tiny(), replace(FULL, devices=1, sharded=False), rates=rates)
    two = step_time(tiny(), FULL, rates=rates)
    assert two.micro_batch_seconds == alone.micro_batch_seconds
    assert two.optimizer_seconds == pytest.approx(alone.optimizer_seconds / 2)
    assert two.pass_link_seconds == (4 * (2 * 592 + 520) + 4 * 1112) / 2 / 1e5
    each = two.micro_batch_seconds + two.pass_link_seconds + two.optimizer_seconds
    assert two.tokens_per_second() == pytest.approx(2 * 4 / each)


def test_eight_cards_of_24_gib_are_proposed_for_a_model_of_7b():
    shape = named_shape("llama-2-7b")
    training = Training(method=Full(), length=1024, checkpointing=True)
    needed = memory_plan(shape, training).needed_bytes
    found = remedies(shape, training, memory_bytes=24 * GIB, needed_bytes=needed)
    (more,) = (one for one in found if one.change.startswith("--devices"))
    assert more.change == "--devices 8" and more.fits and more.training.sharded
    # 6.74e9 parameters: 4 bytes of masters, 4 of gradients and 8 of moments, an eighth of each, are 12.6 GiB
    assert 12.6 * GIB < more.needed_bytes < 24 * GIB
    four = replace(training, devices=4, sharded=True)
    assert memory_plan(shape, four).needed_bytes > 24 * GIB


def test_devices_share_a_model_out_only_where_one_is_too_small():
    def found(memory, **more):
        return train("llama-2-7b", length=512, method="full", memory=memory, devices=8, **more).training.sharded

    assert found("24GiB") and found(None) and not found("200GiB")
    assert not found("24GiB", optimizer="adamw8bit"), "8-bit moments are not sharded"
    lora = train("llama-2-7b", length=512, method=Lora(rank=4, targets=("q",)), memory="4GiB", devices=8)
    assert not lora.training.sharded and lora.fits is False


def test_what_cannot_be_shared_out_is_refused():
    with pytest.raises(UserError, match="adapters"):
        sharded_memory(tiny(), replace(FULL, method=Lora(rank=1, targets=("q",))))
    with pytest.raises(UserError, match="adafactor"):
        sharded_memory(tiny(), replace(FULL, optimizer="adafactor"))


def test_devices_that_hold_everything_need_room_for_sums_alone():
    lora = Training(method=Lora(rank=1, targets=("q",)), length=4, dtype="float32", device="cpu", micro_batches=1)
    one, two = (training_memory(tiny(), replace(lora, devices=n)) for n in (1, 2))
    step = [moment(memory, "optimizer step") for memory in (one, two)]
    # 16 float32 gradients: what is sent, what comes, what it is made from
    assert step[0][Kind.summing] == 0 and step[1][Kind.summing] == 3 * 4 * 16
