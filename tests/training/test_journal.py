"""metrics.jsonl holds each point once, also after a write that a full disk tore."""

import signal

import pytest
from small_tasks import assert_same_run, make_task
from tiny_models import save_model

from finetrial.store.records import TrainingPoint, read_rows
from finetrial.training.journal import Journal
from finetrial.training.loop import tune


def point(step):
    return TrainingPoint(step, 0.5, 100 * step, 50 * step, 1e-3, 2.0, None, 1.0, float(step))


@pytest.mark.parametrize("removed", [1, 40], ids=["its line break", "half the line"])
def test_a_torn_last_line_is_dropped_and_the_next_point_stands_on_its_own_line(removed, tmp_path):
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path, until_step=None)
    for step in range(3):
        journal.add(point(step))
    path.write_bytes(path.read_bytes()[:-removed])
    Journal(path, until_step=2).add(point(2))
    assert list(read_rows(path, TrainingPoint)) == [point(0), point(1), point(2)]


def test_points_after_the_checkpoint_are_forgotten_and_a_new_run_starts_anew(tmp_path):
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path, until_step=None)
    for step in range(4):
        journal.add(point(step))
    Journal(path, until_step=1)
    assert list(read_rows(path, TrainingPoint)) == [point(0), point(1)]
    Journal(path, until_step=None)
    assert list(read_rows(path, TrainingPoint)) == []


def test_a_run_whose_last_line_was_torn_is_resumed_to_the_same_bits(tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    whole, torn = (make_task(tmp_path / name, model=base) for name in ("whole", "torn"))
    tune(whole)

    def stop(progress):
        if progress.step == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        tune(torn, on_progress=stop)
    with (torn.folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 5, "epoch": 0.')
    seen = []
    tune(torn, on_progress=lambda progress: seen.append(progress.step))
    assert seen[0] == 5
    assert_same_run(torn, whole)
