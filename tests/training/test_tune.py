"""Tuning: equal to the plain loop, exact when resumed, kept by stock libraries, hard to break."""

import dataclasses
import json
import math
import signal

import pytest
import torch
from peft import PeftModel
from plain_loop import mean_loss, train
from safetensors.torch import load_file
from small_tasks import LORA, TRAIN, VALIDATION, assert_same_run, make_task, points
from tiny_models import FAMILIES, save_model
from transformers import AutoModelForCausalLM

from finetrial.errors import UserError
from finetrial.footprint.adapters import trained_parameters
from finetrial.footprint.parameters import multiplied_parameters
from finetrial.footprint.shapes import shape_from_config
from finetrial.methods.full.full_method import Full
from finetrial.methods.halves import half_of
from finetrial.methods.lora.lora_method import Lora
from finetrial.models.loading import load_model
from finetrial.store.hashes import hash_value
from finetrial.training.arm_setup import prepare
from finetrial.training.loop import tune, tune_with
from finetrial.trial.examples import Encoded


def stop_and_resume(task, *, stops):
    """Tune with Ctrl-C after each of these steps, then to the end; every run goes on where the last one stopped."""
    first = []
    for stop_at in stops:
        seen = []

        def watch(progress, stop_at=stop_at, seen=seen):
            seen.append(progress.step)
            if progress.step == stop_at:
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            tune(task, on_progress=watch)
        assert (task.folder / "checkpoint" / "current").exists()
        first.append(seen[0])
    seen = []
    measured = tune(task, on_progress=lambda progress: seen.append(progress.step))
    assert [*first, seen[0]] == [1, *(step + 1 for step in stops)]
    return measured


def reload_stock(task):
    """By transformers and peft alone."""
    if isinstance(task.method, Full):
        return AutoModelForCausalLM.from_pretrained(task.folder, dtype=torch.float32).eval()
    base = AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32)
    return PeftModel.from_pretrained(base, task.folder).eval()


@pytest.mark.parametrize("method", [Full(), LORA], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_equal_the_plain_loop_and_stock_libraries_load_the_result(family, method, tmp_path):
    task = make_task(tmp_path / "arm", model=save_model(family, tmp_path / "base"), method=method)
    measured = tune(task)

    reference = load_model(task.model)
    mask = lambda: None
    if isinstance(method, Lora):
        adapters = half_of(method).attach(reference, method=method, fresh=(), seed=task.seed, dtype=torch.float32)
        params = [p for p in reference.parameters() if p.requires_grad]

        def mask():
            for place, entries in adapters.masks.items():
                params[place].grad.mul_(entries)

    expected = train(reference.eval(), task, after_backward=mask)
    found = [p.train_loss for p in points(task.folder)[1:]]
    assert len(found) == len(expected) == measured.steps > 8
    # Float32 sums in another order: a plain float32 loop is 1e-7 from a float64 one here.
    assert found == pytest.approx(expected, rel=5e-6)
    assert measured.validation_loss < points(task.folder)[0].validation_loss - 0.05

    stock = reload_stock(task)
    assert mean_loss(stock, VALIDATION) == pytest.approx(measured.validation_loss, rel=1e-5)


@pytest.mark.parametrize("method", [Full(), LORA], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_and_bytes_equal_the_formula_and_the_file(family, method, tmp_path):
    task = make_task(tmp_path / "arm", model=save_model(family, tmp_path / "base"), method=method, epochs=0.2)
    measured = tune(task)
    shape = shape_from_config(FAMILIES[family][1].to_dict())
    assert measured.trained_parameters == trained_parameters(shape, method=method.counted())
    assert measured.total_parameters == trained_parameters(shape, method=Full().counted())
    file = task.folder / ("model.safetensors" if isinstance(method, Full) else "adapter_model.safetensors")
    assert measured.stored_bytes == file.stat().st_size
    # 6 N a token for full tuning and 4 N behind adapters, less the head's share on tokens without loss
    least, most = (5, 6) if isinstance(method, Full) else (3, 4)
    assert least < measured.flops_total / (multiplied_parameters(shape) * measured.tokens_processed) < most
    assert measured.tokens_processed == sum(p.tokens for p in points(task.folder)[-1:])


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gpt2", {"method": LORA.model_copy(update={"dropout": 0.2})}),
        ("gpt2", {"precision": "bfloat16"}),
        ("gpt2", {"model_dropout": True}),
        ("gpt2", {"early_stopping": 3}),
        ("llama", {"precision": "bfloat16"}),
        ("llama", {"precision": "bfloat16", "optimizer": "adafactor"}),
        ("phi", {"precision": "bfloat16"}),
        ("phi", {"precision": "bfloat16", "checkpointing": True}),
    ],
    ids=[
        "adapter dropout",
        "bfloat16",
        "model dropout",
        "early stopping",
        "bfloat16, untied head",
        "bfloat16, untied head, adafactor",
        "bfloat16, head with bias",
        "bfloat16, head with bias, checkpointing",
    ],
)
def test_a_stopped_run_resumes_to_the_same_weights_bit_for_bit(family, changes, tmp_path):
    base = save_model(family, tmp_path / "base")
    whole = make_task(tmp_path / "whole", model=base, **changes)
    tune(whole)
    stopped = make_task(tmp_path / "stopped", model=base, **changes)
    measured = stop_and_resume(stopped, stops=(3, 7))
    assert not (stopped.folder / "checkpoint").exists()
    assert_same_run(stopped, whole)
    seconds = [p.seconds for p in points(stopped.folder)]
    assert seconds == sorted(seconds)
    assert measured.steps == points(whole.folder)[-1].step


def test_a_checkpoint_of_another_task_is_not_continued(tmp_path):
    base = save_model("gpt2", tmp_path / "base")

    def stop(progress):
        if progress.step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        tune(make_task(tmp_path / "arm", model=base), on_progress=stop)
    seen = []
    tune(make_task(tmp_path / "arm", model=base, learning_rate=1e-3), on_progress=lambda p: seen.append(p.step))
    assert seen[0] == 1


def test_micro_batches_change_rounding_and_nothing_else(tmp_path):
    base = save_model("llama", tmp_path / "base")
    wide = tune(make_task(tmp_path / "wide", model=base, micro_tokens=10_000))
    narrow = tune(make_task(tmp_path / "narrow", model=base, micro_tokens=1))
    assert narrow.validation_loss == pytest.approx(wide.validation_loss, rel=1e-4)
    assert [p.trained_tokens for p in points(tmp_path / "wide")] == [
        p.trained_tokens for p in points(tmp_path / "narrow")
    ]


def test_bfloat16_follows_float32_with_masters(tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    exact = tune(make_task(tmp_path / "exact", model=base))
    rounded = tune(make_task(tmp_path / "rounded", model=base, precision="bfloat16"))
    start = points(tmp_path / "exact")[0].validation_loss
    assert exact.validation_loss < start - 0.3
    assert rounded.validation_loss == pytest.approx(exact.validation_loss, rel=0.01)
    stored = load_file(tmp_path / "rounded" / "model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.bfloat16}
    assert rounded.precision == "bfloat16"


def test_steps_too_small_for_bfloat16_add_up_in_the_masters(tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    # AdamW moves a weight by about the rate a step. Weights near 0.08 lie 2^-12 = 2.4e-4 apart or more in bfloat16:
    # a step of 1e-5 rounds away wherever it is taken in bfloat16 itself.
    small = {"learning_rate": 1e-5, "schedule": "constant", "warmup": 0.0, "weight_decay": 0.0, "epochs": 12.0}
    start = load_file(tmp_path / "base" / "model.safetensors")["transformer.h.0.mlp.c_fc.weight"]
    moved = {}
    for precision in ("float32", "bfloat16"):
        tune(make_task(tmp_path / precision, model=base, precision=precision, validation=(), **small))
        end = load_file(tmp_path / precision / "model.safetensors")["transformer.h.0.mlp.c_fc.weight"].float()
        moved[precision] = end - (start if precision == "float32" else start.bfloat16().float())
    large = start.abs() > 0.0625
    assert int(large.sum()) > 500
    assert (moved["bfloat16"][large] != 0).float().mean() > 0.1
    both = torch.stack([moved[p][large] for p in ("float32", "bfloat16")])
    assert torch.corrcoef(both)[0, 1] > 0.3


def test_checkpointing_recomputes_to_the_same_losses(tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    losses = []
    for setting in (False, True):
        task = make_task(tmp_path / str(setting), model=base, checkpointing=setting, epochs=1.0)
        tune(task)
        losses.append([p.train_loss for p in points(task.folder)[1:]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_early_stopping_keeps_the_best_weights(tmp_path):
    # Completions that follow no rule can only be learned by heart: the validation loss turns upward.
    base = save_model("gpt2", tmp_path / "base")
    noise = [
        dataclasses.replace(e, token_ids=tuple(hash_value([i, j])[0].encode()[0] for j in range(len(e.token_ids))))
        for i, e in enumerate(TRAIN[:6])
    ]
    changes = {"train": noise, "epochs": 60.0, "learning_rate": 1e-2, "schedule": "constant"}
    task = make_task(tmp_path / "arm", model=base, evaluations=20, early_stopping=2, **changes)
    measured = tune(task)
    rows = [p for p in points(task.folder) if p.validation_loss is not None]
    best = min(rows, key=lambda p: p.validation_loss)
    assert measured.best_step == best.step < rows[-1].step
    assert measured.validation_loss == best.validation_loss
    assert mean_loss(reload_stock(task), VALIDATION) == pytest.approx(best.validation_loss, rel=1e-5)


def test_a_diverging_arm_names_the_step_and_the_rate(tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    task = make_task(tmp_path / "arm", model=base, learning_rate=1e4, clip=None, optimizer="sgd", epochs=5.0)
    with pytest.raises(UserError, match=r"at step \d+ of \d+.*learning rate .*Try learning_rate"):
        tune(task)


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_arithmetic(tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    expected = tune(make_task(tmp_path / "roomy", model=base, micro_tokens=200))

    def tight(task, *, dtype, device):
        ready = prepare(task, dtype=dtype, device=device)

        def refuse(module, inputs):
            if inputs[0].numel() > 60:
                raise torch.OutOfMemoryError("no room for more than 60 tokens")

        ready.loss_model.base.get_input_embeddings().register_forward_pre_hook(refuse)
        return ready

    task = make_task(tmp_path / "tight", model=base, micro_tokens=200, validation=())
    found = tune_with(task, tight)
    assert found.tokens_processed == expected.tokens_processed
    losses = [[p.train_loss for p in points(tmp_path / name)[1:]] for name in ("roomy", "tight")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)

    def hopeless(task, *, dtype, device):
        ready = prepare(task, dtype=dtype, device=device)

        def refuse(module, inputs):
            raise torch.OutOfMemoryError("no room at all")

        ready.loss_model.base.get_input_embeddings().register_forward_pre_hook(refuse)
        return ready

    with pytest.raises(UserError, match="even one example at a time"):
        tune_with(dataclasses.replace(task, folder=tmp_path / "hopeless"), hopeless)


def test_debris_of_a_killed_write_is_ignored_and_removed(tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    task = make_task(tmp_path / "arm", model=base, checkpoint_seconds=0.0)

    def stop(progress):
        if progress.step == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        tune(task, on_progress=stop)
    debris = task.folder / "checkpoint" / "step-5-dead"
    debris.mkdir()
    (debris / "state.pt").write_bytes(b"half")
    seen = []
    tune(task, on_progress=lambda p: seen.append(p.step))
    assert seen[0] == 5
    assert not (task.folder / "checkpoint").exists()


def test_nothing_to_train_is_an_error(tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    untrained = [dataclasses.replace(e, trained=(False,) * len(e.trained)) for e in TRAIN]
    with pytest.raises(UserError, match="no trained token"):
        tune(make_task(tmp_path / "arm", model=base, train=untrained))
    with pytest.raises(UserError, match="no training examples"):
        tune(make_task(tmp_path / "arm", model=base, train=[]))


def test_an_example_longer_than_the_context_is_an_error(tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    long = [Encoded("long", tuple(range(66)), (True,) * 66)]  # 65 inputs, 64 positions
    with pytest.raises(UserError, match=r"longer than the model's context.*at most 64"):
        tune(make_task(tmp_path / "arm", model=base, train=long))


@pytest.mark.parametrize("optimizer", ["sgd", "adafactor"])
def test_other_optimizers_learn_and_resume(optimizer, tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    rate = {"sgd": 0.3, "adafactor": 3e-3}[optimizer]
    whole, stopped = (
        make_task(tmp_path / name, model=base, optimizer=optimizer, learning_rate=rate)
        for name in ("whole", "stopped")
    )
    tune(whole)
    measured = stop_and_resume(stopped, stops=(3,))
    assert measured.validation_loss < points(stopped.folder)[0].validation_loss
    assert_same_run(stopped, whole)


def test_measured_json_and_metrics_hold_no_nan(tmp_path):
    task = make_task(tmp_path / "arm", model=save_model("gpt2", tmp_path / "base"), validation=())
    tune(task)
    content = json.loads((task.folder / "measured.json").read_text())
    assert content["validation_loss"] is None
    rows = points(task.folder)
    assert rows[0].step == 0 and rows[0].train_loss is None
    assert all(math.isfinite(r.train_loss) for r in rows[1:])
    assert rows[-1].epoch == pytest.approx(2.0)
