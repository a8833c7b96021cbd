"""A disk that fills up while a checkpoint is written stops the run; the checkpoint before it is continued."""

import errno
import os
import shutil

import pytest
import torch
from small_tasks import assert_same_run, make_task
from tiny_models import save_model

from finetrial.store.files import atomic_text
from finetrial.training.loop import tune

NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fails_after(write, *, calls, error):
    """`write` until it was called so often; then a write of some bytes that fails, as on a full disk."""
    done = []

    def failing(content, target, **options):
        done.append(1)
        if len(done) > calls:
            target.write(b"half")
            raise error
        return write(content, target, **options)

    return failing


def torch_raises(monkeypatch):
    # what torch.save raises on /dev/full
    monkeypatch.setattr(torch, "save", fails_after(torch.save, calls=3, error=NO_SPACE))


def torch_words_it_its_own_way(monkeypatch):
    error = RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
    monkeypatch.setattr(torch, "save", fails_after(torch.save, calls=3, error=error))
    full = shutil.disk_usage("/")._replace(free=0)
    monkeypatch.setattr("finetrial.training.checkpoint.shutil.disk_usage", lambda folder: full)


def the_rest_does_not_fit(name):
    """The state was written; a small file of the fourth checkpoint is not."""

    def patch(monkeypatch):
        done = []

        def failing(path, text):
            done.extend([1] if path.name == name else [])
            if len(done) > 3:
                raise NO_SPACE
            atomic_text(path, text)

        monkeypatch.setattr("finetrial.training.checkpoint.atomic_text", failing)

    return patch


FULL = {
    "the tensors, an OSError": torch_raises,
    "the tensors, a RuntimeError": torch_words_it_its_own_way,
    "the facts": the_rest_does_not_fit("facts.json"),
    "the pointer": the_rest_does_not_fit("current"),
}


@pytest.mark.parametrize("fills_up", FULL)
def test_the_last_good_checkpoint_survives_a_full_disk_and_is_resumed_to_the_same_bits(fills_up, tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    whole, stopped = (
        make_task(tmp_path / name, model=base, precision="bfloat16", checkpoint_seconds=0.0)
        for name in ("whole", "stopped")
    )
    tune(whole)
    with pytest.MonkeyPatch.context() as patched, pytest.raises(OSError) as caught:
        FULL[fills_up](patched)
        tune(stopped)
    assert caught.value.errno == errno.ENOSPC
    if FULL[fills_up] in (torch_raises, torch_words_it_its_own_way):
        assert str(stopped.folder) in caught.value.filename
    (folder,) = (stopped.folder / "checkpoint").glob("step-*")
    assert folder.name.startswith("step-3-"), "the fourth checkpoint left no debris that takes room"
    assert (stopped.folder / "checkpoint" / "current").read_text() == folder.name
    seen = []
    tune(stopped, on_progress=lambda progress: seen.append(progress.step))
    assert seen[0] == 4
    assert_same_run(stopped, whole)
