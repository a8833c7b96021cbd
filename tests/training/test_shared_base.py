"""Several LoRA arms on one base in memory: no copy of it, and the bits that each arm has alone."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import make_examples, save_model

from finetrial.methods.full.full_method import Full
from finetrial.methods.lora.lora_method import Lora
from finetrial.models.loading import load_tokenizer
from finetrial.training.arm_run import Diverged
from finetrial.training.loop import tune, tune_with
from finetrial.training.shared_base import SharedBase
from finetrial.training.task import TuneTask

CPU = torch.device("cpu")


def arm(tmp_path, family, name, *, special=(), **changes):
    base = tmp_path / "base"
    if not base.exists():
        save_model(family, base)
    lora = {"rank": 2, "targets": ("q", "v"), "alpha": 4.0} | changes.pop("lora", {})
    task = TuneTask(
        model=str(base),
        train=make_examples(10),
        validation=make_examples(4, seed=1),
        folder=tmp_path / name,
        method=Lora(**lora),
        special_tokens=special,
        batch_tokens=100,
        learning_rate=1e-2,
        precision="float32",
        device="cpu",
    )
    return replace(task, **changes)


@pytest.mark.parametrize("family", ["gpt2", "llama"])  # tied head and fused projections; untied and grouped
def test_arms_on_a_shared_base_have_the_bits_they_have_alone(family, tmp_path):
    shared, special = SharedBase(), ("<complete>",)
    settings = [
        {"lora": {"dora": True, "dropout": 0.2}},
        {"checkpointing": True},
        {"lora": {"rank": 3, "rank_stabilised": True, "targets": ("q", "down")}},
        {},
    ]
    for i, changes in enumerate(settings):
        together = arm(tmp_path, family, f"together-{i}", special=special, **dict(changes))
        measured = tune_with(together, shared.prepare)
        alone = replace(together, folder=tmp_path / f"alone-{i}")
        expected = tune(alone)
        ours, theirs = (load_file(t.folder / "adapter_model.safetensors") for t in (together, alone))
        assert ours.keys() == theirs.keys() and len(ours) > 4
        assert all(torch.equal(ours[name], theirs[name]) for name in ours), f"arm {i}"
        assert measured.validation_loss == expected.validation_loss
        assert measured.total_parameters == expected.total_parameters
        assert len(load_tokenizer(str(together.folder))) == len(load_tokenizer(str(alone.folder)))
    assert shared.loads == 1


def test_the_second_arm_trains_on_the_very_tensors_of_the_first(tmp_path):
    shared = SharedBase()
    first = shared.prepare(arm(tmp_path, "llama", "a"), dtype=torch.float32, device=CPU)
    before = {name: p.data_ptr() for name, p in first.loss_model.base.named_parameters() if not p.requires_grad}
    second = shared.prepare(arm(tmp_path, "llama", "b", lora={"rank": 5}), dtype=torch.float32, device=CPU)
    after = {name: p.data_ptr() for name, p in second.loss_model.base.named_parameters() if not p.requires_grad}
    assert after == before and len(before) > 10


def test_another_precision_or_tokens_or_a_full_arm_need_another_base(tmp_path):
    shared = SharedBase()
    for task, dtype, loads in (
        (arm(tmp_path, "llama", "a"), torch.float32, 1),
        (arm(tmp_path, "llama", "a"), torch.bfloat16, 2),
        (arm(tmp_path, "llama", "a", special=("<complete>",)), torch.bfloat16, 3),
        (
            replace(arm(tmp_path, "llama", "a"), method=Full()),
            torch.bfloat16,
            3,
        ),  # its own model, and the base is let go
        (arm(tmp_path, "llama", "a", special=("<complete>",)), torch.bfloat16, 4),
    ):
        shared.prepare(task, dtype=dtype, device=CPU)
        assert shared.loads == loads


def test_an_arm_that_diverges_leaves_the_base_clean_for_the_next(tmp_path):
    shared = SharedBase()
    wild = arm(tmp_path, "llama", "wild", learning_rate=float("inf"))
    with pytest.raises(Diverged):
        tune_with(wild, shared.prepare)
    after, alone = arm(tmp_path, "llama", "after"), arm(tmp_path, "llama", "alone")
    tune_with(after, shared.prepare)
    tune(alone)
    assert shared.loads == 1
    ours, theirs = (load_file(t.folder / "adapter_model.safetensors") for t in (after, alone))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs) and theirs
