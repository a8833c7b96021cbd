"""Arms that are tuned side by side end with the weights that each has alone."""

import json
import math
import os
import signal

import pytest
import torch
from safetensors.torch import load_file
from small_tasks import make_task, points
from tiny_models import FAMILIES, GQA, SIZE, save_model
from transformers import GemmaConfig, GemmaForCausalLM

from finetrial.methods.lora.lora_method import Lora
from finetrial.store.records import Measured, read_object
from finetrial.training.arm_run import Diverged
from finetrial.training.checkpoint import read_checkpoint
from finetrial.training.loop import tune
from finetrial.training.shared_base import SharedBase
from finetrial.training.side_by_side import Hears, tune_together
from finetrial.training.task import task_fingerprint

# Of the size of what an arm has moved: the most by which float32's rounding moved it. 3e-5 was seen.
CLOSE = 3e-4


def arms_of(folder, model, **changes):
    """Three ranks, three sets of targets, three alphas, two kinds of scaling, three rates, two schedules."""
    methods = {
        "small": (Lora(rank=2, targets=("q", "v"), alpha=16.0), {"learning_rate": 3e-3}),
        "wide": (Lora(rank=9, targets=("q", "k", "v", "o"), rank_stabilised=True), {"learning_rate": 1e-3}),
        "all": (Lora(rank=4, targets=("all-linear",)), {"learning_rate": 5e-4, "schedule": "linear", "clip": 0.1}),
    }
    return {
        name: make_task(folder / name, model=model, method=method, **{**own, **changes})
        for name, (method, own) in methods.items()
    }


def both_ways(tmp_path, model, **changes):
    """Each arm tuned alone, and all of them together: the tasks, and the two outcomes of each."""
    alone = arms_of(tmp_path / "alone", model, **changes)
    together = arms_of(tmp_path / "together", model, **changes)
    for task in (*alone.values(), *together.values()):
        task.folder.mkdir(parents=True)
    measured = [tune(task) for task in alone.values()]
    outcomes = tune_together(list(together.values()), SharedBase())
    return list(zip(alone.values(), together.values(), measured, outcomes, strict=True))


def weights(task):
    return load_file(task.folder / "adapter_model.safetensors")


def distance(one, other):
    """By which two arms' B differ, as a share of their size; B begins as zeros, so that it is what was learned."""
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    moved = [name for name in a if "lora_B" in name]
    assert moved
    difference = math.sqrt(sum(float((a[name] - b[name]).double().norm() ** 2) for name in moved))
    size = math.sqrt(sum(float(a[name].double().norm() ** 2) for name in moved))
    assert size > 0.01, "the test is empty unless something is learned"
    return difference / size


def gemma():
    """Gemma's norms, its scaled embedding and its gate, with one key head for all."""
    config = GemmaConfig(**{**GQA, "num_key_value_heads": 1, "head_dim": 8}, **SIZE)
    return GemmaForCausalLM, config


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2", "phi", "gemma"])
def test_each_arm_ends_with_the_weights_and_files_that_it_has_alone(tmp_path, family, monkeypatch):
    monkeypatch.setitem(FAMILIES, "gemma", gemma())
    found = both_ways(tmp_path, save_model(family, tmp_path / "model"), early_stopping=50)
    for alone, together, measured, outcome in found:
        assert distance(alone, together) < CLOSE
        assert outcome.validation_loss == pytest.approx(measured.validation_loss, abs=2e-5)
        assert_same_files(alone, together)
        assert read_object(together.folder / "measured.json", Measured) == outcome
        same = ("trained_parameters", "total_parameters", "steps", "tokens_processed", "flops_total", "best_step")
        same += ("evaluations", "evaluation_flops", "curve_rows", "learning_rate", "precision", "device")
        assert [getattr(measured, key) for key in same] == [getattr(outcome, key) for key in same]
    assert len(found) == 3
    shares = [outcome.tune_seconds for *_, outcome in found]
    assert max(shares) < 1.5 * min(shares) and all(outcome.evaluation_seconds > 0 for *_, outcome in found)


def assert_same_files(alone, together):
    """The same names, the same adapter configuration, and rows of metrics.jsonl that differ by rounding."""
    names = [sorted(p.name for p in task.folder.rglob("*") if p.is_file()) for task in (alone, together)]
    assert names[0] == names[1] and {"metrics.jsonl", "measured.json", "adapter_config.json"} <= set(names[0])
    configs = [json.loads((task.folder / "adapter_config.json").read_text()) for task in (alone, together)]
    assert configs[0] == configs[1]
    rows = [points(task.folder) for task in (alone, together)]
    assert len(rows[0]) == len(rows[1]) > 8
    for one, other in zip(*rows, strict=True):
        assert (one.step, one.tokens, one.trained_tokens) == (other.step, other.tokens, other.trained_tokens)
        assert one.learning_rate == other.learning_rate
        assert one.train_loss is None or one.train_loss == pytest.approx(other.train_loss, abs=1e-4)
        assert one.validation_loss is None or one.validation_loss == pytest.approx(other.validation_loss, abs=1e-4)


def test_at_bfloat16_an_arm_differs_no_more_than_by_other_micro_batches(tmp_path):
    # Alone an arm's bits hang on the micro-batch, too: rounding of activations at bfloat16 is what both differ by.
    model = save_model("llama", tmp_path / "model")
    found = both_ways(tmp_path, model, precision="bfloat16", epochs=1.0)
    other = arms_of(tmp_path / "other", model, precision="bfloat16", epochs=1.0, micro_tokens=41)
    for (alone, together, measured, outcome), again in zip(found, other.values(), strict=True):
        again.folder.mkdir(parents=True)
        tune(again)
        assert distance(alone, together) < 2 * distance(alone, again)
        assert outcome.validation_loss == pytest.approx(measured.validation_loss, abs=0.02)


def test_an_arm_that_diverges_fails_alone(tmp_path):
    model = save_model("llama", tmp_path / "model")
    tasks = made(tmp_path / "together", model)
    wild = make_task(tmp_path / "wild", model=model, method=tasks[0].method, learning_rate=1e6, clip=None)
    wild.folder.mkdir()
    heard = []
    hears = [Hears(), Hears(), Hears(on_progress=heard.append)]
    outcomes = tune_together([tasks[0], wild, tasks[1]], SharedBase(), hears=hears)
    assert isinstance(outcomes[1], Diverged)
    assert not (wild.folder / "adapter_model.safetensors").exists()
    assert len(heard) == outcomes[2].steps == outcomes[0].steps > 8
    alone = made(tmp_path / "alone", model)[1]
    tune(alone)
    assert distance(alone, tasks[1]) < CLOSE


def test_arms_stop_early_each_by_itself_with_its_best_weights(tmp_path):
    model = save_model("llama", tmp_path / "model")
    fast = {"learning_rate": 0.1}  # stops at its second evaluation
    methods = [
        (Lora(rank=2, targets=("q", "v")), {"learning_rate": 1e-3}),
        (Lora(rank=4, targets=("all-linear",)), fast),
    ]
    changes = {"early_stopping": 1, "evaluations": 8, "epochs": 3.0}
    outcomes = {}
    for way in ("alone", "together"):
        tasks = [
            make_task(tmp_path / way / str(i), model=model, method=method, **changes, **own)
            for i, (method, own) in enumerate(methods)
        ]
        for task in tasks:
            task.folder.mkdir(parents=True)
        outcomes[way] = [tune(task) for task in tasks] if way == "alone" else tune_together(tasks, SharedBase())
    steps = [[(one.steps, one.best_step) for one in found] for found in outcomes.values()]
    assert steps[0] == steps[1]
    assert steps[0] == [(16, 16), (4, 2)], "the test is empty unless one arm stops before the other"
    for one, other in zip(*outcomes.values(), strict=True):
        assert one.validation_loss == pytest.approx(other.validation_loss, abs=1e-3)


def interrupted(tasks, *, at, base=None):
    """Tune the tasks together until one of them hears of step `at`, then press Ctrl-C."""

    def stop(progress):
        if progress.step == at:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        tune_together(tasks, base or SharedBase(), hears=[Hears(on_progress=stop), *[Hears()] * (len(tasks) - 1)])


def made(folder, model, **changes):
    tasks = list(arms_of(folder, model, **changes).values())
    for task in tasks:
        task.folder.mkdir(parents=True)
    return tasks


def saved_step(task):
    return read_checkpoint(task.folder / "checkpoint", fingerprint=task_fingerprint(task)).values["step"]


def test_a_group_that_is_interrupted_goes_on_bit_for_bit(tmp_path):
    model = save_model("llama", tmp_path / "model")
    whole, stopped = made(tmp_path / "whole", model), made(tmp_path / "stopped", model)
    tune_together(whole, SharedBase())
    interrupted(stopped, at=4)
    assert [saved_step(task) for task in stopped] == [4, 4, 4]
    resumed = []
    hears = [Hears(on_resume=lambda step, steps: resumed.append((step, steps)))] * 3
    outcomes = tune_together(stopped, SharedBase(), hears=hears)
    assert resumed == [(4, outcomes[0].steps)] * 3
    for one, other in zip(whole, stopped, strict=True):
        assert (one.folder / "adapter_model.safetensors").read_bytes() == (
            other.folder / "adapter_model.safetensors"
        ).read_bytes()
        assert [p.step for p in points(one.folder)] == [p.step for p in points(other.folder)]
        assert not (other.folder / "checkpoint").exists()


def test_arms_that_a_kill_left_at_different_steps_are_brought_level(tmp_path):
    # As after a kill between the checkpoints of two arms; and an arm goes on alone from what a group began.
    model = save_model("llama", tmp_path / "model")
    whole, uneven = made(tmp_path / "whole", model), made(tmp_path / "uneven", model)
    tune_together(whole, SharedBase())
    interrupted(uneven[:2], at=3)
    interrupted(uneven[1:], at=6)
    assert [saved_step(task) for task in uneven] == [3, 6, 6]
    tune_together(uneven[:2], SharedBase())
    tune(uneven[2])
    for one, other in zip(whole, uneven, strict=True):
        assert distance(one, other) < CLOSE


def test_recomputed_activations_change_nothing(tmp_path):
    model = save_model("llama", tmp_path / "model")
    kept, anew = made(tmp_path / "kept", model), made(tmp_path / "anew", model, checkpointing=True)
    tune_together(kept, SharedBase())
    tune_together(anew, SharedBase())
    for one, other in zip(kept, anew, strict=True):
        assert distance(one, other) < 1e-5


def test_the_base_is_as_it_was_for_the_arm_that_comes_after(tmp_path):
    model = save_model("gpt2", tmp_path / "model")
    first, second = made(tmp_path / "first", model), made(tmp_path / "second", model)
    base = SharedBase()
    tune_together(first, base)
    one = base.prepare(second[0], dtype=torch.float32, device=torch.device("cpu"))
    fresh = SharedBase().prepare(second[0], dtype=torch.float32, device=torch.device("cpu"))
    assert base.loads == 1
    a, b = one.model.state_dict(), fresh.model.state_dict()
    assert a.keys() == b.keys() and len(a) > 20
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert [(p.name, p.on) for p in one.loss_model.fast_paths] == [
        (p.name, p.on) for p in fresh.loss_model.fast_paths
    ]
