"""An arm that several workers of a Ray cluster tune together ends as one process would have it."""

import math
import signal
import threading
import time

import pytest
from tiny_trials import TRIAL, Lines, make_base

from finetrial.api.trial import Trial
from finetrial.errors import UserError
from finetrial.store.records import Measured, read_object
from finetrial.workflow.executor_table import executor_at
from finetrial.workflow.remote_log import read_events


def test_workers_and_an_address_stand_behind_the_place():
    assert executor_at("ray").workers == 1
    assert executor_at("ray://workers=2").workers == 2 and executor_at("ray://workers=2").address is None
    both = executor_at("ray://head:10001,workers=3")
    assert (both.address, both.workers) == ("ray://head:10001", 3)
    for wrong in ("workers=0", "workers=two", "cards=2"):
        with pytest.raises(UserError, match="has a setting that is none") as caught:
            executor_at(f"ray://{wrong}")
        assert caught.value.got == wrong


def trial_file(base):
    make_base(base)
    text = TRIAL[: TRIAL.index("arms:")]
    text += "arms:\n  full: {method: full, learning_rate: 1e-3, epochs: 30}\n"
    text += "training: {batch_tokens: 128, precision: float32, evaluations: 1, checkpoint_seconds: 0.2, "
    text += "sharding: full}\n"
    text += "sampling: {prompts: 4, per_prompt: 1, max_new_tokens: 4}\njudging: {grade_prompts: 2}\n"
    (base / "tiny.yaml").write_text(text)
    return base / "tiny.yaml"


def kill_the_second_worker(folder, killed):
    """Wait until there is a checkpoint, and kill the worker that does not lead: the leading one is in the log."""
    import psutil

    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not killed:
        events, _ = read_events(folder.log("tune:full"))
        leader = next((event["process"] for event in events if "begin" in event), None)
        if leader is not None and (folder.arm("full") / "checkpoint" / "current").exists():
            for process in psutil.process_iter(["cmdline"]):
                title = " ".join(process.info["cmdline"] or ())
                if title.startswith("ray::RayTrainWorker") and process.pid != leader:
                    process.send_signal(signal.SIGKILL)
                    killed.append(process.pid)
        time.sleep(0.02)


@pytest.mark.long
@pytest.mark.parametrize("loses_one", [False, True])
def test_two_workers_share_a_model_and_end_with_the_weights_of_one_process(tmp_path, monkeypatch, loses_one):
    ray = pytest.importorskip("ray", reason="NOT TESTED: Ray is not installed")
    pytest.importorskip("psutil")
    from safetensors.torch import load_file

    monkeypatch.setenv("RAY_worker_niceness", "0")
    path, killed = trial_file(tmp_path), []
    alone = Trial.load(path, folder=tmp_path / "alone")
    assert not alone.tune(progress=Lines())
    together = Trial.load(path, folder=tmp_path / "together")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        killer = threading.Thread(target=kill_the_second_worker, args=(together.folder, killed), daemon=True)
        if loses_one:
            killer.start()
        lines = Lines()
        assert not together.tune(progress=lines, on="ray://workers=2")
    finally:
        ray.shutdown()
    assert bool(killed) == loses_one
    first, second = (load_file(one.folder.arm("full") / "model.safetensors") for one in (alone, together))
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert (values - second[name]).abs().max() < 1e-4, name
    losses = [read_object(one.folder.measured("full"), Measured).validation_loss for one in (alone, together)]
    assert math.isclose(*losses, rel_tol=1e-4)
    paths = read_object(together.folder.measured("full"), Measured).fast_paths
    assert any(one.name == "sharded over processes" and one.on for one in paths)
    events, _ = read_events(together.folder.log("tune:full"))
    attempts = sum("begin" in event for event in events)
    assert attempts > 1 if loses_one else attempts == 1
