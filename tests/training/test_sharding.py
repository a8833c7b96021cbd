"""Processes that share a model out come to what one comes to, hold a share each, and go on from one another."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sharded import begin_from, half_way, keeping, task_of
from small_tasks import points
from tiny_models import SIZE, save_model
from tiny_tokenizers import byte_level
from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

from finetrial.errors import UserError
from finetrial.footprint.adapters import Full
from finetrial.footprint.shapes import shape_from_config
from finetrial.footprint.shares import shares_of
from finetrial.store.records import Measured, read_object
from finetrial.training.checkpoint import read_checkpoint
from finetrial.training.loop import tune
from finetrial.training.sharded_optimizer import check_sharded
from finetrial.training.sharding import Rows
from finetrial.training.task import task_fingerprint

SUPPORT = Path(__file__).parents[1] / "support"
SOURCE = Path(__file__).parents[2] / "src"


def launch(folder, *names, processes):
    """Tune these tasks in so many processes."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    paths = [str(SOURCE), str(SUPPORT), os.environ.get("PYTHONPATH", "")]
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    shared = {**os.environ, **shared}
    command = [sys.executable, str(SUPPORT / "sharded.py"), str(folder), *names]
    return [
        subprocess.Popen(command, env=shared | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(processes)
    ]


def start(folder, *names, processes):
    """The same, and wait for them."""
    running = launch(folder, *names, processes=processes)
    ended = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0] * processes, ended


def alone(folder, name):
    """The same task in one process."""
    task = task_of(folder, f"{name}-alone")
    tune(task, on_progress=keeping(folder, task))
    return task


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder in which one process and then two, which share models out, have tuned."""
    folder = tmp_path_factory.mktemp("shared")
    save_model("llama", folder / "model")
    save_model("gpt2", folder / "gpt2")
    for name in ("full", "fused"):
        alone(folder, name)
    names = ["full", "full-again:full", "full-of-one:full-alone", "narrow", "uneven"]
    start(folder, *names, "fused", "fused-of-one:fused-alone", processes=2)
    return folder


def weights(folder):
    return load_file(next(folder.glob("*.safetensors")))


def assert_near(one, other, *, tolerance=1e-4):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.allclose(value.float(), other[name].float(), atol=tolerance, rtol=tolerance), name


def test_two_processes_that_share_a_model_out_come_to_the_losses_and_weights_of_one(shared):
    one, two = shared / "full-alone", shared / "full"
    assert_near(weights(one), weights(two))
    for a, b in zip(points(one), points(two), strict=True):
        assert (a.step, a.trained_tokens, a.tokens) == (b.step, b.trained_tokens, b.tokens)
        assert b.validation_loss == pytest.approx(a.validation_loss, abs=1e-4)
        if a.train_loss is not None:
            assert b.train_loss == pytest.approx(a.train_loss, abs=1e-4)
            assert b.gradient_norm == pytest.approx(a.gradient_norm, rel=1e-3)
    measured = read_object(two / "measured.json", Measured)
    assert measured.device == "2 x cpu"
    assert "sharded over processes" in [path.name for path in measured.fast_paths if path.on]


def test_the_arm_that_they_leave_has_the_files_of_one_process(shared):
    one, two = shared / "full-alone", shared / "full"
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in two.iterdir())
    assert (one / "config.json").read_text() == (two / "config.json").read_text()
    assert {k: v.dtype for k, v in weights(one).items()} == {k: v.dtype for k, v in weights(two).items()}
    AutoModelForCausalLM.from_pretrained(two)


def test_a_run_that_goes_on_half_way_has_the_bits_of_one_that_was_not_stopped(shared):
    first, again = (shared / name / "model.safetensors" for name in ("full", "full-again"))
    assert (shared / "full half way" / "checkpoint" / "current").exists()
    assert first.read_bytes() == again.read_bytes()
    steps = [[p.step for p in points(shared / name)] for name in ("full", "full-again")]
    assert steps[0] == steps[1]


def test_a_process_without_examples_passes_as_often_and_counts_nothing(shared):
    task = task_of(shared, "uneven-alone", sharding=False)
    tune(task)  # steps of one example or two
    assert_near(weights(task.folder), weights(shared / "uneven"))
    for a, b in zip(points(task.folder), points(shared / "uneven"), strict=True):
        assert b.train_loss == (None if a.train_loss is None else pytest.approx(a.train_loss, abs=1e-4))


@pytest.mark.long
def test_recomputing_changes_no_bit_of_a_shared_model(shared):
    start(shared, "recomputed", processes=2)
    one, other = (shared / name / "model.safetensors" for name in ("narrow", "recomputed"))
    assert one.read_bytes() == other.read_bytes()


def test_at_bfloat16_the_losses_are_those_of_one_process_within_its_rounding(shared, tmp_path):
    task = task_of(shared, "narrow-alone", sharding=False)
    tune(task)
    for a, b in zip(points(task.folder), points(shared / "narrow"), strict=True):
        if a.validation_loss is not None:
            assert b.validation_loss == pytest.approx(a.validation_loss, abs=0.01)
        if a.train_loss is not None:
            assert b.train_loss == pytest.approx(a.train_loss, abs=0.02)


def test_what_two_began_one_ends_and_what_one_began_two_end(shared):
    """From a checkpoint of two processes in one, and the other way; slices of a fused matrix, too."""
    for name in ("full", "fused"):
        task = task_of(shared, f"{name}-of-two")
        begin_from(shared, f"{name}-of-two", source=name)
        before = [p.step for p in points(task.folder)]
        assert 0 < len(before) < len(points(shared / name))
        saved = read_checkpoint(task.folder / "checkpoint", fingerprint=task_fingerprint(task))
        assert saved.shards is not None and "optimizer" not in saved.tensors
        tune(task)
        uninterrupted = weights(shared / f"{name}-alone")
        for folder in (task.folder, shared / f"{name}-of-one", shared / name):
            assert_near(uninterrupted, weights(folder))


def test_of_a_fused_matrix_only_the_slices_that_are_tuned_move(shared):
    base = load_file(shared / "gpt2" / "model.safetensors")
    stored = weights(shared / "fused")
    assert stored.keys() == weights(shared / "fused-alone").keys() and len(stored) == 4
    for name, value in stored.items():
        key, _, part = name.partition("[")
        _, begin, end = (int(n) for n in part.rstrip("]").split(":"))
        before = base[key.removeprefix("transformer.")] if key not in base else base[key]
        assert not torch.equal(value, before[:, begin:end])


@pytest.mark.long
def test_processes_that_are_killed_again_and_again_end_with_the_bits_of_those_that_were_not(shared):
    folder = shared / "full-killed"
    for count in range(4):
        first, second = launch(shared, "full-killed", processes=2)
        seen = {path.name for path in (folder / "checkpoint").glob("step-*")}
        while {path.name for path in (folder / "checkpoint").glob("step-*")} <= seen:  # a write has begun
            time.sleep(0.001)
            assert first.poll() is None and second.poll() is None, "it is over before it was killed"
        (first, second)[count % 2].kill()
        assert [process.wait(timeout=60) != 0 for process in (first, second)] == [True, True]
    start(shared, "full-killed", processes=2)
    assert (folder / "model.safetensors").read_bytes() == (shared / "full" / "model.safetensors").read_bytes()


@pytest.mark.long
def test_a_mixture_of_experts_comes_to_the_losses_of_one_process(shared):
    torch.manual_seed(0)
    sizes = {"num_local_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 2, "hidden_size": 32}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
    MixtralForCausalLM(MixtralConfig(**sizes, **heads, **SIZE)).save_pretrained(shared / "mixture")
    byte_level().save_pretrained(shared / "mixture")
    tune(task_of(shared, "experts-alone", sharding=False))
    start(shared, "experts", processes=2)
    for a, b in zip(points(shared / "experts-alone"), points(shared / "experts"), strict=True):
        assert (a.validation_loss is None) == (b.validation_loss is None)
        assert b.train_loss == (None if a.train_loss is None else pytest.approx(a.train_loss, abs=1e-4))


@pytest.mark.long
def test_three_processes_go_on_from_two_though_some_hold_nothing_of_a_parameter(shared):
    start(shared, "full-of-three:full", "full-three:full-alone", processes=3)
    assert_near(weights(shared / "full"), weights(shared / "full-of-three"))
    assert_near(weights(shared / "full"), weights(shared / "full-three"))


def test_each_process_holds_its_share_of_weights_gradients_and_moments(shared):
    """Float32 weights and gradients are 4 bytes a parameter, AdamW's moments 8."""
    model = AutoModelForCausalLM.from_pretrained(shared / "model")
    params = sum(p.numel() for p in model.parameters())
    paper = shares_of(shape_from_config(model.config.to_dict()), Full(), devices=2).trained
    found = [json.loads((shared / f"held-2-{rank}.json").read_text()) for rank in (0, 1)]
    for kind, bytes_each in (("parameters", 4), ("gradients", 4), ("states", 8)):
        held = [one[kind] for one in found]
        assert sum(held) == bytes_each * params, kind
        assert held[0] == bytes_each * paper and max(held) / sum(held) == pytest.approx(0.5, abs=0.01), kind


def test_a_parameters_rows_are_dealt_out_as_torch_chunks_them():
    for count, processes in ((5, 2), (4, 3), (1, 3), (6, 3), (7, 4)):
        chunks = [len(chunk) for chunk in torch.arange(count).chunk(processes)]
        rows = [Rows.of(count, rank=rank, processes=processes) for rank in range(processes)]
        assert [r.stop - r.start for r in rows] == chunks + [0] * (processes - len(chunks))
        assert rows[-1].stop == count


def test_an_optimizer_that_reads_whole_matrices_is_refused():
    for name in ("adafactor", "adamw8bit"):
        with pytest.raises(UserError, match="cannot be sharded"):
            check_sharded(name, weight_decay=0.0, parts={})
    check_sharded("adamw", weight_decay=0.1, parts={})
    with pytest.raises(UserError, match="weight decay on some rows"):
        check_sharded("adamw", weight_decay=0.1, parts={0: ()})


def test_the_kept_checkpoint_is_of_all_processes(shared):
    kept = half_way(shared, "full") / "checkpoint"
    folder = kept / (kept / "current").read_text()
    assert sorted(p.name for p in (folder / "shards").glob("*.distcp")) == ["__0_0.distcp", "__1_0.distcp"]
