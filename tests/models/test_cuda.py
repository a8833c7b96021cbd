"""What only a CUDA device has: kernels at their own precision, steps that do not wait, four bits, float16."""

import importlib.util
import signal
from dataclasses import replace

import pytest
import torch
from arm_loading import load_arm
from safetensors.torch import load_file
from tiny_models import make_examples, save_model
from transformers import LlamaConfig, LlamaForCausalLM

from finetrial.methods.full.full_method import Full
from finetrial.methods.lora.lora_method import Lora
from finetrial.models.batches import pack
from finetrial.models.device import deterministic_kernels
from finetrial.models.evaluate import mean_loss
from finetrial.models.forward import probe
from finetrial.models.kernels.activations import plain_gated_gelu, plain_gated_silu
from finetrial.models.kernels.attention_kernels import KERNELS, HeadShape, kernel_error
from finetrial.models.kernels.linear import adapted, plain_adapted
from finetrial.models.kernels.losses import head_loss, logits_loss
from finetrial.models.kernels.padded_attention import padded_attention
from finetrial.models.kernels.place import restore_modules
from finetrial.models.kernels.rms_norm import plain_rms_norm
from finetrial.models.loading import load_model
from finetrial.models.quantize import load_quantized, load_quantized_arm
from finetrial.training.accumulate import Accumulation
from finetrial.training.arm_setup import prepare, set_mode
from finetrial.training.checkpoint import TuneState
from finetrial.training.loop import tune, tune_with
from finetrial.training.process import Interrupts
from finetrial.training.shared_base import SharedBase
from finetrial.training.task import TuneTask

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]
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
        method=Lora(rank=3, targets=("q", "v"), alpha=6.0, quantize="nf4"),
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
    task = replace(quantized(tmp_path, "llama"), method=Full(), learning_rate=3e-3)
    wide = tune(replace(task, folder=tmp_path / "wide"))
    narrow = tune(replace(task, optimizer="adamw8bit"))
    assert narrow.validation_loss == pytest.approx(wide.validation_loss, abs=0.05)


def test_float16_learns_what_float32_learns(tmp_path):
    task = replace(quantized(tmp_path, "llama"), method=Full(), learning_rate=3e-3)
    wide = tune(replace(task, folder=tmp_path / "wide"))
    narrow = tune(replace(task, precision="float16"))
    assert narrow.precision == "float16"
    assert narrow.validation_loss == pytest.approx(wide.validation_loss, abs=0.05)


def test_deterministic_kernels_give_the_same_bits_twice(tmp_path):
    task = replace(quantized(tmp_path, "gpt2"), method=Full(), precision="bfloat16")
    for name in ("a", "b"):
        with deterministic_kernels(wanted=True):
            tune(replace(task, folder=tmp_path / name))
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    assert first and all(torch.equal(first[name], second[name]) for name in first)


# -- kernels, each at its own precision: at most 1.5 times the plain path's error against float32

CARD = torch.device(DEVICE)
SHAPES = (HeadShape(4, 2, 64), HeadShape(9, 3, 64, 40), HeadShape(4, 4, 128), HeadShape(4, 1, 8))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [n for n in KERNELS if n != "padded"])
def test_attention_is_as_exact_as_torchs_own(name, shape, dtype):
    if name == "document" and shape.size < 16:
        pytest.skip("flex_attention takes heads of 16 and more; such heads get another kernel")
    plain = kernel_error(padded_attention, shape=shape, dtype=dtype, device=CARD)
    assert kernel_error(KERNELS[name].run, shape=shape, dtype=dtype, device=CARD) <= 1.5 * plain


def small_llama(dtype):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config).to(CARD, dtype).eval()


def draw(*shape, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * scale


def results(run, inputs, *, dtype, device=CARD):
    """Value and gradients, float64 for comparing."""
    given = [x.to(device, dtype).requires_grad_() for x in inputs]
    value = run(*given)
    upstream = draw(*value.shape).to(device, value.dtype) if value.ndim else torch.ones((), device=device)
    grads = torch.autograd.grad(value, given, upstream.to(value.dtype))
    return [x.detach().double().cpu() for x in (value, *grads)]


def errors(run, inputs, exact, *, dtype):
    found = results(run, inputs, dtype=dtype)
    return [float((f - e).norm() / e.norm()) for f, e in zip(found, exact, strict=True)]


def norm_case(offset):
    from finetrial.models.kernels.liger import card_rms_norm

    how = {"eps": 1e-6, "offset": offset}
    inputs = (draw(7, 300, 256), 1 + draw(256, scale=0.1) - offset)
    return lambda x, w: card_rms_norm(x, w, **how), lambda x, w: plain_rms_norm(x, w, **how), inputs


def gate_case(name, plain):
    from finetrial.models.kernels import liger

    # the fast form overwrites what it is given, as it may a matrix product's result
    return (
        lambda g, u: getattr(liger, name)(g * 1, u * 1),
        plain,
        (draw(3, 200, 512), draw(3, 200, 512, scale=2.0)),
    )


def lora_case(rank):
    labels = {"bias_O": None, "scaling": 2.0}
    weight = draw(256, 192, scale=0.1)

    def of(function):
        return lambda x, a, b: function(x, weight_IO=weight.to(CARD, x.dtype), a_rI=a, b_Or=b, **labels)

    return (
        of(adapted),
        of(plain_adapted),
        (draw(5, 100, 256), draw(rank, 256, scale=0.1), draw(192, rank, scale=0.1)),
    )


def head_case(vocabulary):
    labels = torch.arange(300).to(CARD) % vocabulary

    def fast(hidden, weight):
        return head_loss(hidden, weight_VC=weight, bias_V=None, labels_M=labels, scale=1 / 300)

    def plain(hidden, weight):
        return logits_loss(hidden @ weight.t(), labels_M=labels, scale=1 / 300)

    return fast, plain, (draw(300, 256), draw(vocabulary, 256, scale=0.1))


CASES = {
    "norm": lambda: norm_case(0.0),
    "norm as Gemma's": lambda: norm_case(1.0),
    "gate of SiLU": lambda: gate_case("card_gated_silu", plain_gated_silu),
    "gate of GELU": lambda: gate_case("card_gated_gelu", plain_gated_gelu),
    "adapter of rank 4": lambda: lora_case(4),
    "adapter of rank 16": lambda: lora_case(16),
    "head, rows of odd length": lambda: head_case(1001),
    "head": lambda: head_case(1024),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_a_fast_path_is_as_exact_as_its_plain_form(name, dtype):
    if name.startswith(("norm", "gate")):
        pytest.importorskip("liger_kernel", reason="liger-kernel is not installed: pip install 'finetrial[gpu]'")
    fast, plain, inputs = CASES[name]()
    narrow = [x.to(dtype).float() for x in inputs]  # what both forms are given
    exact = results(plain, narrow, dtype=torch.float64)
    found, allowed = errors(fast, narrow, exact, dtype=dtype), errors(plain, narrow, exact, dtype=dtype)
    assert max(f / max(a, 1e-6) for f, a in zip(found, allowed, strict=True)) <= 1.5, (found, allowed)


def gradients(model, *, fast):
    loss_model = probe(model)
    if not fast:
        restore_modules(model)
    batch = loss_model.bring(pack(make_examples(20)))
    model.zero_grad()
    loss = loss_model.loss(batch, scale=1.0)
    loss.backward()
    return loss_model, [loss.detach().float(), *(p.grad.float() for p in model.parameters())]


def test_a_model_with_all_fast_paths_is_as_exact_as_without():
    pytest.importorskip("liger_kernel", reason="liger-kernel is not installed: pip install 'finetrial[gpu]'")
    _, exact = gradients(small_llama(torch.float32), fast=False)
    _, plain = gradients(small_llama(torch.bfloat16), fast=False)
    loss_model, fast = gradients(small_llama(torch.bfloat16), fast=True)
    assert loss_model.attention.name.startswith("varlen")
    on = {path.name for path in loss_model.fast_paths if path.on}
    assert {"RMS norm", "gated activation", "rotary grouped attention"} <= on, loss_model.fast_paths

    def error(found):
        return sum(float((f - e).norm() / e.norm()) for f, e in zip(found, exact, strict=True))

    assert error(fast) <= 1.5 * error(plain)


# -- the card is not waited for


@pytest.mark.parametrize("lora", [False, True])
def test_a_step_waits_for_the_card_nowhere(lora, tmp_path):
    task = replace(quantized(tmp_path, "llama"), precision="bfloat16")
    task = replace(task, method=task.method.model_copy(update={"quantize": None}) if lora else Full())
    ready = prepare(task, dtype=torch.bfloat16, device=CARD)
    set_mode(ready.model, training=True, model_dropout=False)
    batches = [tuple(range(10)), tuple(range(10, 20))]
    work = Accumulation(ready, TuneState(micro_tokens=64, loss_scale=1.0), train=task.train, batches=batches)
    with Interrupts() as interrupts:
        for step in (0, 1, 0):
            if step:  # the first one makes the optimizer's moments
                torch.cuda.set_sync_debug_mode("error")
            try:
                loss = work.gradients(step, interrupts)
                norm = ready.optimizer.step(learning_rate=1e-3, clip=1.0)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            assert float(loss) > 0 and float(norm) > 0


def test_losses_that_are_read_late_are_those_of_the_same_steps(tmp_path):
    task = replace(quantized(tmp_path, "llama"), method=Full(), precision="float32", learning_rate=3e-3, epochs=2)
    points = {}
    for device in ("cpu", DEVICE):
        found = points[device] = []
        one = replace(task, folder=tmp_path / device, device=device)
        tune_with(one, prepare, on_point=found.append)
    here, there = ([p.train_loss for p in points[d] if p.train_loss is not None] for d in ("cpu", DEVICE))
    assert len(here) == len(there) > 5
    assert there == pytest.approx(here, rel=2e-4)
    norms = [[p.gradient_norm for p in points[d] if p.gradient_norm is not None] for d in ("cpu", DEVICE)]
    assert norms[1] == pytest.approx(norms[0], rel=5e-3)


@pytest.mark.parametrize("lora", [False, True])
def test_a_run_that_was_stopped_and_continued_has_the_same_bits(lora, tmp_path):
    task = replace(quantized(tmp_path, "llama"), precision="bfloat16", epochs=3)
    task = replace(task, method=task.method.model_copy(update={"quantize": None}) if lora else Full())

    def stop(progress):
        if progress.step == 4:
            signal.raise_signal(signal.SIGINT)

    with deterministic_kernels(wanted=True):
        tune(replace(task, folder=tmp_path / "whole"))
        with pytest.raises(KeyboardInterrupt):
            tune(replace(task, folder=tmp_path / "halves"), on_progress=stop)
        tune(replace(task, folder=tmp_path / "halves"))
    name = "adapter_model.safetensors" if lora else "model.safetensors"
    first, second = (load_file(tmp_path / half / name) for half in ("whole", "halves"))
    assert first and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_an_evaluation_on_the_card_is_that_of_a_cpu(precision, tmp_path):
    base = save_model("llama", tmp_path / "base")
    exact = mean_loss(load_model(base), VALIDATION)
    found = mean_loss(load_model(base, dtype=getattr(torch, precision), device=DEVICE), VALIDATION)
    assert found == pytest.approx(exact, rel=1e-4 if precision == "float32" else 2e-2)
