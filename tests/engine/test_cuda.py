"""QLoRA and 8-bit AdamW through bitsandbytes, float16 and deterministic kernels: what only a CUDA device has."""

import importlib.util
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import make_examples, save_model

from finetrial.engine.determinism import deterministic_kernels
from finetrial.engine.evaluate import mean_loss
from finetrial.engine.load import load_arm, load_model
from finetrial.engine.quantize import load_quantized, load_quantized_arm
from finetrial.engine.shared_base import SharedBase
from finetrial.engine.task import LoraSetting, TuneTask
from finetrial.engine.tune import tune, tune_with

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
needs_bitsandbytes = pytest.mark.skipif(
    torch.cuda.is_available() and importlib.util.find_spec("bitsandbytes") is None,
    reason="bitsandbytes is not installed: pip install bitsandbytes to see four bits and 8-bit AdamW tested",
)
DEVICE = "cuda"
VALIDATION = make_examples(6, seed=1)


def quantized(tmp_path, family, *, name="arm", special=()):
    base = tmp_path / "base"
    if not base.exists():
        save_model(family, base)
    return TuneTask(
        model=str(base),
        train=make_examples(20),
        validation=VALIDATION,
        folder=tmp_path / name,
        lora=LoraSetting(rank=3, targets=("q", "v"), alpha=6.0, quantize="nf4"),
        special_tokens=special,
        batch_tokens=150,
        learning_rate=1e-2,
        precision="float32",
        device=DEVICE,
    )


@needs_bitsandbytes
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_an_arm_on_a_quantised_base_learns_and_is_sampled_as_it_was_tuned(family, tmp_path):
    task = quantized(tmp_path, family, special=("<complete>",))
    measured = tune(task)
    arm = load_quantized_arm(task.model, folder=task.folder, dtype=torch.float32, device=DEVICE)
    assert mean_loss(arm, VALIDATION) == pytest.approx(measured.validation_loss, abs=2e-3)
    start = mean_loss(load_quantized(task.model, dtype=torch.float32, device=DEVICE).dequantize(), VALIDATION)
    assert measured.validation_loss < start - 0.05, "the test is empty unless something is learned"
    wide = load_arm(task.model, folder=task.folder, device=DEVICE)  # the same adapter on the base as it was
    assert abs(mean_loss(wide, VALIDATION) - measured.validation_loss) > 2e-3, "four bits must be seen to matter"
    # every weight counts once, though two of four bits share a byte
    plain = load_model(task.model)
    grown = measured.total_parameters - plain.num_parameters()
    assert grown in (0, plain.config.hidden_size, 2 * plain.config.hidden_size), "new token rows at most"


@needs_bitsandbytes
def test_two_quantised_arms_share_their_base_and_have_the_bits_they_have_alone(tmp_path):
    shared, tasks = SharedBase(), [quantized(tmp_path, "llama", name=name) for name in ("a", "b")]
    for task in tasks:
        tune_with(task, shared.prepare)
    assert shared.loads == 1
    first, second = (load_file(task.folder / "adapter_model.safetensors") for task in tasks)
    assert first and all(torch.equal(first[name], second[name]) for name in first)


@needs_bitsandbytes
def test_8_bit_adamw_learns_what_adamw_learns(tmp_path):
    task = replace(quantized(tmp_path, "llama"), lora=None, learning_rate=3e-3)
    wide = tune(replace(task, folder=tmp_path / "wide"))
    narrow = tune(replace(task, optimizer="adamw8bit"))
    assert narrow.validation_loss == pytest.approx(wide.validation_loss, abs=0.05)


def test_float16_learns_what_float32_learns(tmp_path):
    task = replace(quantized(tmp_path, "llama"), lora=None, learning_rate=3e-3)
    wide = tune(replace(task, folder=tmp_path / "wide"))
    narrow = tune(replace(task, precision="float16"))
    assert narrow.precision == "float16"
    assert narrow.validation_loss == pytest.approx(wide.validation_loss, abs=0.05)


def test_deterministic_kernels_give_the_same_bits_twice(tmp_path):
    task = replace(quantized(tmp_path, "gpt2"), lora=None, precision="bfloat16")
    for name in ("a", "b"):
        with deterministic_kernels(wanted=True):
            tune(replace(task, folder=tmp_path / name))
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    assert first and all(torch.equal(first[name], second[name]) for name in first)
