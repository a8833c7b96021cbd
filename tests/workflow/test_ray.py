"""A sweep on a cluster of several Ray nodes ends in the files of any run, though a node dies in the middle."""

import threading
import time

import pytest
from tiny_trials import TRIAL, Lines, make_base

from finetrial.api.trial import Trial
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, Sample, read_object, read_rows
from finetrial.workflow.remote_log import read_events

SWEEP = "sweep: {lora: {rank: [1, 2, 4], learning_rate: [1e-2, 1e-3], epochs: [1, 8]}}\n"
LONG = "epochs8"


def sweep_of_twelve(base):
    make_base(base)
    text = TRIAL[: TRIAL.index("arms:")]
    text += "arms:\n  base:\n  lora: {method: lora, targets: [q, v]}\n" + SWEEP
    text += "training: {batch_tokens: 128, precision: float32, evaluations: 1, checkpoint_seconds: 0.2}\n"
    text += "sampling: {prompts: 4, per_prompt: 1, max_new_tokens: 4}\njudging: {grade_prompts: 2}\n"
    (base / "tiny.yaml").write_text(text)
    return base / "tiny.yaml"


@pytest.fixture
def cluster(monkeypatch):
    """A Ray cluster of three nodes with a core each, on this machine."""
    Cluster = pytest.importorskip("ray.cluster_utils", reason="NOT TESTED: Ray is not installed").Cluster
    monkeypatch.setenv("RAY_worker_niceness", "0")  # beside other tests, workers that stand back come to nothing
    small = {"num_cpus": 1, "memory": 2 << 30, "object_store_memory": 80 << 20}
    made = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    nodes = [made.add_node(wait=False, **small) for _ in range(2)]
    made.wait_for_nodes()
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made, nodes
    made.shutdown()


def kill_the_node_of_a_checkpoint(cluster, nodes, folder, killed):
    """Wait until an arm in the middle of its tuning has a checkpoint, and kill the node that tunes it."""
    deadline = time.monotonic() + 500
    while time.monotonic() < deadline:
        for pointer in folder.root.glob(f"arms/*{LONG}*/checkpoint/current"):
            arm = pointer.parent.parent.name
            events, _ = read_events(folder.log(f"tune:{arm}"))
            place = next((event["begin"] for event in events if "begin" in event), None)
            node = next((node for node in nodes if node.node_id == place), None)
            if node is not None:
                killed.append(arm)
                cluster.remove_node(node, allow_graceful=False)
                return
        time.sleep(0.01)


def test_a_sweep_of_twelve_arms_loses_a_node_and_ends_in_a_report_that_verifies(tmp_path, cluster):
    made, nodes = cluster
    folder, lines, killed = TrialFolder(tmp_path / "runs" / "tiny"), Lines(), []
    trial = Trial.load(sweep_of_twelve(tmp_path))
    killer = threading.Thread(target=kill_the_node_of_a_checkpoint, args=(made, nodes, folder, killed))
    killer.start()
    result = trial.run(on="ray", progress=lines)
    killer.join()
    arms = list(trial.loaded.trial.arms)
    assert len(arms) == 13 and result.failures == {} and len(killed) == 1
    said, arm = lines.take(), killed[0]
    assert any(line.startswith(f"{arm}: begun again on ") for line in said)
    assert any(line.startswith(f"{arm}: goes on from step ") for line in said), "it was begun anew"
    places = {
        event["begin"] for log in folder.root.glob("logs/*") for event in read_events(log)[0] if "begin" in event
    }
    assert len(places) == 3
    for name in arms:
        assert len(list(read_rows(folder.samples(name), Sample))) == 4
    assert trial.verify().holds

    # the weights and the samples are those of one process that nobody disturbed
    alone = Trial.load(tmp_path / "tiny.yaml", folder=tmp_path / "alone")
    alone.run(arms=[arm], progress=False)
    here = TrialFolder(tmp_path / "alone")
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (here.arm(arm) / file).read_bytes() == (folder.arm(arm) / file).read_bytes()
    drawn = [[row.text for row in read_rows(one.samples(arm), Sample)] for one in (here, folder)]
    assert drawn[0] == drawn[1]
    assert read_object(here.measured(arm), Measured).steps == read_object(folder.measured(arm), Measured).steps
