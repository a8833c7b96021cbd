"""Full tuning of some matrices: they alone move, as full tuning would move them, and they alone are stored."""

import json
import signal
import struct

import pytest
import torch
from safetensors.torch import load_file
from small_tasks import TRAIN, make_task, points
from tiny_models import FAMILIES, save_model

from finetrial.footprint.adapters import matrix_parameters
from finetrial.footprint.shapes import shape_from_config
from finetrial.footprint.stored_bytes import storage
from finetrial.methods.full.full_method import Full
from finetrial.methods.halves import half_of
from finetrial.methods.torch_half import Where
from finetrial.models.batches import pack
from finetrial.models.evaluate import mean_loss
from finetrial.models.loading import load_model
from finetrial.training.arm_setup import prepare
from finetrial.training.loop import tune

CPU = torch.device("cpu")
METHOD = Full(targets=("q", "v"))


def payload_bytes(file):
    """What a safetensors file holds behind its header, whose length its first eight bytes say."""
    content = file.read_bytes()
    return len(content) - 8 - struct.unpack("<Q", content[:8])[0]


def reloaded(task, dtype=torch.float32):
    return half_of(task.method).load(task.method, Where(base=task.model, dtype=dtype), folder=task.folder).model


@pytest.mark.parametrize("family", list(FAMILIES))
def test_the_targets_alone_move_and_the_arm_comes_back_from_them(family, tmp_path):
    task = make_task(tmp_path / "arm", model=save_model(family, tmp_path / "base"), method=METHOD)
    measured = tune(task)
    assert points(task.folder)[-1].validation_loss < points(task.folder)[0].validation_loss
    before, arm = load_model(task.model), reloaded(task)
    assert mean_loss(arm, task.validation) == pytest.approx(measured.validation_loss, rel=1e-5)
    own, stored = dict(before.named_parameters()), load_file(task.folder / "tuned_matrices.safetensors")
    moved = {name for name, value in arm.named_parameters() if not torch.equal(value, own[name])}
    assert moved == {key.split("[")[0] for key in stored} and len(moved) == (2 if family == "gpt2" else 4)


def test_the_key_columns_of_a_fused_matrix_keep_every_bit(tmp_path):
    task = make_task(tmp_path / "arm", model=save_model("gpt2", tmp_path / "base"), method=METHOD)
    tune(task)
    for before, after in zip(load_model(task.model).transformer.h, reloaded(task).transformer.h, strict=True):
        old, new = before.attn.c_attn.weight, after.attn.c_attn.weight  # 32 x 96: queries, keys, values
        assert torch.equal(new[:, 32:64], old[:, 32:64])
        assert (new[:, :32] != old[:, :32]).all() and (new[:, 64:] != old[:, 64:]).all()
        assert torch.equal(before.attn.c_attn.bias, after.attn.c_attn.bias)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_bytes_and_parameters_are_those_that_footprint_counts_on_paper(family, precision, tmp_path):
    task = make_task(
        tmp_path / "arm",
        model=save_model(family, tmp_path / "base"),
        method=METHOD,
        precision=precision,
        epochs=0.1,
    )
    measured = tune(task)
    params = matrix_parameters(shape_from_config(FAMILIES[family][1].to_dict()), targets=("q", "v"))
    file = task.folder / "tuned_matrices.safetensors"
    assert measured.trained_parameters == params
    assert payload_bytes(file) == storage(params, dtype=precision).bytes_total
    assert [path.name for path in task.folder.glob("*.safetensors")] == [file.name]
    assert json.loads((task.folder / "tuned_matrices.json").read_text())["targets"] == ["q", "v"]


def gradients(ready, examples):
    """The masters' gradients of one packed row."""
    ready.loss_model.loss(ready.loss_model.bring(pack(examples)), scale=0.1).backward()
    return [None if master.grad is None else master.grad.clone() for master in ready.optimizer.masters]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_slice_has_the_gradient_that_it_has_in_full_tuning_and_moments_of_its_own_size(dtype, tmp_path):
    model = save_model("gpt2", tmp_path / "base")
    some = prepare(make_task(tmp_path / "a", model=model, method=METHOD), dtype=dtype, device=CPU)
    full = prepare(make_task(tmp_path / "b", model=model, method=Full()), dtype=dtype, device=CPU)
    found, expected = gradients(some, TRAIN[:3]), gradients(full, TRAIN[:3])
    names = [name for name, _ in full.model.named_parameters()]
    slices = []
    for name, grad in zip(names, expected, strict=True):
        if name.endswith("c_attn.weight"):
            slices += [grad[:, :32], grad[:, 64:]]
    assert len(found) == len(slices) == 4
    for one, other in zip(found, slices, strict=True):
        assert torch.equal(one, other)
    some.optimizer.step(learning_rate=1e-3, clip=None)
    assert [tuple(kept["exp_avg"].shape) for kept in some.optimizer.state()["moments"]] == [(32, 32)] * 4


def test_a_bfloat16_arm_is_sampled_with_the_bits_it_was_trained_to(tmp_path):
    task = make_task(
        tmp_path / "arm", model=save_model("gpt2", tmp_path / "base"), method=METHOD, precision="bfloat16"
    )
    measured = tune(task)
    assert mean_loss(reloaded(task, torch.bfloat16), task.validation) == pytest.approx(
        measured.validation_loss, rel=1e-6
    )


def test_a_run_stopped_and_continued_ends_with_the_same_bits(tmp_path):
    model = save_model("gpt2", tmp_path / "base")
    whole, stopped = (make_task(tmp_path / name, model=model, method=METHOD) for name in ("whole", "stopped"))
    tune(whole)
    with pytest.raises(KeyboardInterrupt):
        tune(stopped, on_progress=lambda progress: interrupt(progress.step))
    tune(stopped)
    name = "tuned_matrices.safetensors"
    assert (whole.folder / name).read_bytes() == (stopped.folder / name).read_bytes()


def interrupt(step):
    if step == 3:
        signal.raise_signal(signal.SIGINT)
