"""Two processes that tune an arm come to what one comes to; a lost one ends the other, and the arm goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_tasks import LORA, make_task, points
from tiny_models import save_model
from tiny_trials import TRIAL, make_base
from together import tasks_in

from finetrial.api.trial import Trial
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, read_object
from finetrial.training.loop import tune
from finetrial.training.ranks import Ranks

SUPPORT = Path(__file__).parents[1] / "support"
SOURCE = Path(__file__).parents[2] / "src"


def environment(**more):
    paths = [str(SOURCE), str(SUPPORT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths), **more}


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A folder in which two processes have tuned what tasks_in() names."""
    folder = tmp_path_factory.mktemp("together")
    save_model("llama", folder / "model")
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [sys.executable, str(SUPPORT / "together.py"), str(folder)]
    running = [
        subprocess.Popen(command, env=environment(RANK=str(rank), **shared), stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    ended = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], ended
    return folder


def weights(folder):
    return load_file(next(folder.glob("*.safetensors")))


def assert_near(one, other, *, tolerance):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.allclose(value, other[name], atol=tolerance, rtol=tolerance), name


def test_two_processes_come_to_the_weights_and_losses_of_one(together, tmp_path):
    alone = make_task(tmp_path / "full", model=str(together / "model"), early_stopping=2)
    tune(alone)
    assert_near(weights(alone.folder), weights(together / "full"), tolerance=1e-4)
    for one, two in zip(points(alone.folder), points(together / "full"), strict=True):
        assert (one.step, one.trained_tokens, one.tokens) == (two.step, two.trained_tokens, two.tokens)
        assert two.validation_loss == pytest.approx(one.validation_loss, abs=1e-4)
        if one.train_loss is not None:
            assert two.train_loss == pytest.approx(one.train_loss, abs=1e-4)
            assert two.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-3)
    assert read_object(together / "full" / "measured.json", Measured).device == "2 x cpu"


def test_the_same_number_of_processes_gives_the_same_bits(together):
    first, again = (together / name / "adapter_model.safetensors" for name in ("lora", "again"))
    assert first.read_bytes() == again.read_bytes()


def test_a_checkpoint_of_two_processes_goes_on_in_one(together, tmp_path):
    task = tasks_in(together, str(together / "model"))["stopped"]
    assert (task.folder / "checkpoint" / "current").exists(), "the interrupt left one"
    before = [p.step for p in points(task.folder)]
    tune(task)
    rows = points(task.folder)
    assert [p.step for p in rows][: len(before)] == before
    alone = make_task(tmp_path / "alone", model=task.model, method=LORA)
    tune(alone)
    assert_near(weights(alone.folder), weights(task.folder), tolerance=1e-4)
    assert [p.step for p in rows] == [p.step for p in points(alone.folder)]


def test_every_example_of_a_batch_falls_to_one_process_and_the_shares_are_about_as_long():
    lengths = [30, 5, 5, 5, 5, 10, 20, 1]
    shares = [Ranks(rank, 3).share(range(8), lengths=lengths) for rank in range(3)]
    assert sorted(place for share in shares for place in share) == list(range(8))
    assert max(sum(lengths[i] for i in share) for share in shares) == 30
    assert Ranks().share([3, 1], lengths=lengths) == [3, 1]


def start_torchrun(base, out):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["-m", "finetrial.cli.main", "run", str(base / "tiny.yaml"), "--out", str(out), "--json"]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ranks_below(process):
    """The processes that torchrun started, by rank."""
    import psutil

    found = {}
    for child in psutil.Process(process.pid).children():
        rank = child.environ().get("RANK")
        if rank is not None:
            found[int(rank)] = child.pid
    return found


@pytest.mark.parametrize("sharding", ["full", pytest.param("none", marks=pytest.mark.long)])
def test_a_process_that_dies_ends_the_other_and_the_same_command_goes_on(tmp_path, sharding):
    """Processes that share the model out, or hold all of it each, as of the LoRA arm in any case."""
    make_base(tmp_path)
    arms = (
        "arms:\n  full: {method: full, learning_rate: 3e-3}\n  lora: {method: lora, rank: 2, learning_rate: 1e-2}\n"
    )
    text = TRIAL[: TRIAL.index("arms:")] + arms
    text += "training: {epochs: 12, batch_tokens: 128, precision: float32, evaluations: 2, checkpoint_seconds: 0.2,"
    text += f" sharding: {sharding}}}"
    text += "\nsampling: {prompts: 4, per_prompt: 1, max_new_tokens: 4}\njudging: {grade_prompts: 2}\n"
    (tmp_path / "tiny.yaml").write_text(text)
    folder = TrialFolder(tmp_path / "run")
    first = start_torchrun(tmp_path, folder.root)
    deadline = time.monotonic() + 500
    while not (folder.checkpoint("full") / "current").exists():
        assert time.monotonic() < deadline and first.poll() is None, first.communicate()[1][-3000:]
        time.sleep(0.02)
    os.kill(ranks_below(first)[1], signal.SIGKILL)
    killed = time.monotonic()
    _, said = first.communicate(timeout=120)
    assert time.monotonic() - killed < 60 and first.returncode != 0
    kept = folder.checkpoint("full")
    shards = kept / (kept / "current").read_text() / "shards"
    assert shards.exists() == (sharding == "full")
    again = start_torchrun(tmp_path, folder.root)
    out, said = again.communicate(timeout=600)
    assert again.returncode == 0, said[-3000:]
    assert "full: goes on from step " in said
    assert json.loads(out)["failures"] == {}, "one process speaks"
    found = {arm: read_object(folder.measured(arm), Measured) for arm in ("full", "lora")}
    assert [one.device for one in found.values()] == ["2 x cpu"] * 2
    shared = {arm: "sharded over processes" in [p.name for p in one.fast_paths] for arm, one in found.items()}
    assert shared == {"full": sharding == "full", "lora": False}
    assert Trial.load(folder.root).verify().holds
