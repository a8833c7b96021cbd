"""What stands in memory before the first step: exact positions, sums that losses fill, masters that are exact."""

import pytest
import torch
from arm_loading import load_arm
from small_tasks import TRAIN, make_task
from tiny_models import save_model

from finetrial.methods.full.full_method import Full
from finetrial.methods.lora.lora_method import Lora
from finetrial.models.batches import pack
from finetrial.training.arm_setup import prepare, set_mode
from finetrial.training.loop import tune

LORA = Lora(rank=4, targets=("q", "v"), alpha=8.0)


def frequencies(model):
    return [b for name, b in model.named_buffers() if "inv_freq" in name]


@pytest.mark.parametrize("family", ["llama", "qwen2", "phi"])
@pytest.mark.parametrize("method", [Full(), LORA])
def test_positions_stay_exact_in_tuning_and_sampling(family, method, tmp_path):
    base = save_model(family, tmp_path / "base")
    exact = frequencies(load_arm(base))
    task = make_task(tmp_path / "arm", model=base, method=method, precision="bfloat16", epochs=0.5)
    ready = prepare(task, dtype=torch.bfloat16, device=torch.device("cpu"))
    tune(task)
    sampled = load_arm(base, folder=task.folder, dtype=torch.bfloat16)
    for model in (ready.model, sampled):
        assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
        assert frequencies(model)
        for found, expected in zip(frequencies(model), exact, strict=True):
            assert found.dtype == torch.float32 and torch.equal(found, expected)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2", "phi"])
def test_bfloat16_sums_hold_every_gradient(family, checkpointing, tmp_path):
    task = make_task(tmp_path / "arm", model=save_model(family, tmp_path / "base"), checkpointing=checkpointing)
    ready = {}
    for dtype in (torch.float32, torch.bfloat16):
        one = ready[dtype] = prepare(task, dtype=dtype, device=torch.device("cpu"))
        set_mode(one.model, training=True, model_dropout=False)
        for i in (0, 3):  # two micro-batches, so that sums go on
            one.loss_model.loss(pack([TRAIN[i], TRAIN[i + 1]]), scale=0.02).backward()
    wide, narrow = ready[torch.float32], ready[torch.bfloat16]
    assert narrow.loss_model.head_sum is not None
    assert narrow.optimizer.sum_of(narrow.loss_model.base.get_input_embeddings().weight) is not None
    assert all(p.grad is None for p in narrow.optimizer.params), "a narrow gradient was left beside its sum"
    for expected, master in zip(wide.optimizer.masters, narrow.optimizer.masters, strict=True):
        difference = (master.grad - expected.grad).norm() / expected.grad.norm().clamp_min(1e-4)
        assert difference < 0.05  # bfloat16 rounds by 2^-9 at each of some 20 products


def test_masters_start_as_the_checkpoint_has_them(tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    task = make_task(tmp_path / "arm", model=base)
    exact, rounded = (prepare(task, dtype=d, device=torch.device("cpu")) for d in (torch.float32, torch.bfloat16))
    for param, master, narrow in zip(
        exact.optimizer.params, rounded.optimizer.masters, rounded.optimizer.params, strict=True
    ):
        assert torch.equal(param, master) and torch.equal(narrow, param.bfloat16())
