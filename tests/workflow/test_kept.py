"""A changed setting destroys nothing: what it displaces is kept, and taken back when the setting returns."""

import json

import pytest
import torch
from tiny_trials import TRIAL, Lines, make_base

from finetrial.cli.main import dispatch
from finetrial.store.kept import kept_places
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, read_object
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial, tune_trial

SMALL = TRIAL.replace("  prompted: {shots: 1}\n", "").replace("  full: {method: full, learning_rate: 3e-3}\n", "")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("kept")
    make_base(folder)
    (folder / "tiny.yaml").write_text(SMALL)
    return folder


def run(base, folder, *overrides):
    lines = Lines()
    done = run_trial(TrialContext(load_trial(base / "tiny.yaml", overrides=overrides), folder, listener=lines))
    assert done.failures == {}
    return lines.take()


def contents(folder, *parts):
    """The files of arms/ and samples/ with their bytes; timings differ from run to run."""
    files = [p for part in parts for p in sorted((folder.root / part).rglob("*")) if p.is_file()]
    return {p.relative_to(folder.root).as_posix(): p.read_bytes() for p in files}


def numbers(folder, arm):
    measured = read_object(folder.measured(arm), Measured)
    return measured.trained_parameters, measured.heldout_loss, measured.sample_seconds


def test_a_return_to_the_earlier_setting_takes_weights_samples_and_measurements_back(base, tmp_path):
    folder = TrialFolder(tmp_path / "run")
    run(base, folder)
    before, measured = contents(folder, "arms", "samples"), numbers(folder, "lora")
    said = run(base, folder, "arms.lora.rank=4")
    assert "lora: tuning again, arms.lora.rank changed" in said
    assert sum("is kept in kept/" in line for line in said) == 2  # its weights and its samples
    names = [place.relative_to(folder.kept).parts[:2] for place in kept_places(folder)]
    assert names == [("sample", "lora"), ("tune", "lora")]
    assert numbers(folder, "lora")[0] == 2 * measured[0]
    other = contents(folder, "arms", "samples")
    said = run(base, folder)
    assert said.count("lora: taken back, as these settings made it before") == 2
    assert not any("again" in line or "tuned in" in line for line in said)
    assert contents(folder, "arms", "samples") == before and numbers(folder, "lora") == measured
    run(base, folder, "arms.lora.rank=4")
    assert contents(folder, "arms", "samples") == other


def test_the_measurements_of_one_sampling_never_stand_beside_the_samples_of_another(base, tmp_path):
    """Two ranks and two temperatures, in an order in which each returns while the other is something else."""
    folder = TrialFolder(tmp_path / "run")
    rank, cold = "arms.lora.rank=4", "sampling.temperature=0.5"
    settings = [(), (cold,), (rank, cold), (rank,), ()]
    seen = {}
    for given in [*settings, *settings[1:], (rank, cold), (cold,)]:
        said = run(base, folder, *given)
        state = contents(folder, "arms/lora", "samples"), numbers(folder, "lora")
        if given in seen:
            assert state == seen[given], given
            assert not any("tuned in" in line or "samples in" in line for line in said)
        seen[given] = state
    assert len(seen) == 4 and len({state[1] for state in seen.values()}) == 4


def test_clean_removes_what_is_kept_says_how_much_and_leaves_the_trial(base, tmp_path, capsys):
    folder = TrialFolder(tmp_path / "run")
    run(base, folder)
    run(base, folder, "sampling.seed=9")
    kept = sum(p.stat().st_size for p in folder.kept.rglob("*") if p.is_file())
    now = contents(folder, "arms", "samples")
    arguments = ["clean", str(base / "tiny.yaml"), "--out", str(folder.root)]
    assert dispatch([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["removed_bytes"] == kept > 0 and result["removed"] == ["sample/base", "sample/lora"]
    assert not folder.kept.exists() and contents(folder, "arms", "samples") == now
    assert dispatch(arguments) == 0 and "nothing" in capsys.readouterr().out
    assert "base: sampling again, sampling.seed changed" in run(base, folder)  # and nothing to take back


class Stopping(Lines):
    """A watcher that interrupts after so many steps."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def step(self, label, **progress):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def tune(base, folder, *overrides, listener=None):
    loaded = load_trial(base / "tiny.yaml", overrides=["training.checkpoint_seconds=0", *overrides])
    assert tune_trial(TrialContext(loaded, folder, listener=listener or Lines())) == {}


def test_an_unfinished_run_is_kept_and_goes_on_where_it_was(base, tmp_path):
    folder, other = TrialFolder(tmp_path / "a"), TrialFolder(tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        tune(base, folder, "training.epochs=3", listener=Stopping(9))
    assert folder.checkpoint("lora").exists()
    tune(base, folder, "training.epochs=1")
    (place,) = kept_places(folder)
    assert (place / "arms/lora/checkpoint/current").exists() and not folder.checkpoint("lora").exists()
    resumed = Stopping(10**6)
    tune(base, folder, "training.epochs=3", listener=resumed)
    tune(base, other, "training.epochs=3", listener=(whole := Stopping(10**6)))
    assert 0 < 10**6 - resumed.left < 10**6 - whole.left  # fewer steps than from the start
    weights = folder.arm("lora") / "adapter_model.safetensors"
    assert weights.read_bytes() == (other.arm("lora") / "adapter_model.safetensors").read_bytes()


def test_a_move_that_is_cut_off_is_finished_by_the_next_run(base, tmp_path, monkeypatch):
    folder = TrialFolder(tmp_path / "run")
    run(base, folder)
    before = contents(folder, "arms", "samples")
    for setting, moves in (("arms.lora.rank=4", (0, 1, 2)), (None, (0, 1, 2, 3, 4))):
        for after in moves:
            stop_after(monkeypatch, moves=after)
            with pytest.raises(KeyboardInterrupt):
                run(base, folder, *([setting] if setting else []))
            monkeypatch.undo()
            assert contents_everywhere(folder) >= set(before.values())
        if setting:
            run(base, folder, setting)
    run(base, folder)
    assert contents(folder, "arms", "samples") == before


def contents_everywhere(folder):
    return {p.read_bytes() for p in folder.root.rglob("*") if p.is_file()}


def stop_after(monkeypatch, *, moves):
    """Let the process die after so many files are moved."""
    from finetrial.store import kept

    real, left = kept._move, [moves]

    def move(path, target):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(path, target)

    monkeypatch.setattr(kept, "_move", move)
