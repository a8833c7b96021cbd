"""`finetrial run --smoke` takes the whole path on ten rows, and leaves the real run as it is."""

import json

import pytest
from tiny_trials import TRIAL, make_base

from finetrial.api.trial import Trial
from finetrial.cli.main import dispatch
from finetrial.planning.token_counts import counts_key
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, Sample, Score, read_object, read_rows
from finetrial.trial.data import read_splits
from finetrial.trial.smoke import left_out, smoke_trial
from finetrial.trial.trial_file import load_trial

HARD = (
    TRIAL.replace("learning_rate: 3e-3", "learning_rate: auto, epochs: 9")
    .replace("precision: float32", "precision: float32, seeds: 2, learning_rate: auto")
    .replace("per_prompt: 2, max_new_tokens: 6", "per_prompt: 3, max_new_tokens: 100")
)


@pytest.fixture
def path(tmp_path):
    make_base(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TRIAL)
    return tmp_path / "tiny.yaml"


def content(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_whole_path_is_taken_on_ten_rows_and_the_real_run_keeps_all_it_has(path, tmp_path, capsys):
    real, smoke = tmp_path / "runs" / "tiny", tmp_path / "runs" / "tiny+smoke"
    assert dispatch(["run", str(path), "--arm", "lora"]) == 0
    before = content(real)
    assert len(before) > 10
    capsys.readouterr()
    assert dispatch(["run", str(path), "--smoke"]) == 0
    shown = capsys.readouterr()
    assert "On ten rows base, prompted, full, lora went the whole way" in shown.out
    assert "Nothing of it is evidence" in shown.out and "is better than" not in shown.out
    assert content(real) == before, "the real run is neither displaced nor read"
    folder = TrialFolder(smoke)
    assert json.loads(folder.data.read_text())["text"]["rows"] == {"train": 10, "validation": 4, "heldout": 4}
    for arm in ("base", "prompted", "full", "lora"):
        assert len(list(read_rows(folder.samples(arm), Sample))) == 4
    assert all(2 <= read_object(folder.measured(arm), Measured).steps <= 5 for arm in ("full", "lora"))
    assert len(list(read_rows(folder.scores, Score))) == 4 * 4 * 3 and folder.items.exists()
    assert "ten rows, and no evidence" in (folder.report / "index.html").read_text()
    # and back: the real run goes on where it stood
    assert dispatch(["run", str(path)]) == 0
    assert "lora: tuned already" in capsys.readouterr().err


def test_what_would_cost_hours_is_shortened_and_what_decides_the_path_stays(path):
    path.write_text(HARD)
    loaded = load_trial(path)
    small = smoke_trial(loaded, read_splits(loaded)).trial
    assert left_out(loaded.trial) == ["the search of a learning rate (full)", "1 of 2 seeds"] and not left_out(
        small
    )
    assert small.arms["full"].epochs == 1 and small.rate_of("full") is None and small.rate_of("lora") == 1e-2
    assert small.training.seeds == 1 and small.sampling.per_prompt == 1 and small.sampling.max_new_tokens == 64
    assert {name: arm.method for name, arm in small.arms.items()} == {
        name: arm.method for name, arm in loaded.trial.arms.items()
    }
    assert small.data.template == loaded.trial.data.template and small.model == loaded.trial.model
    # what is counted of ten rows is never taken for the whole trial's
    assert counts_key(smoke_trial(loaded, read_splits(loaded))) != counts_key(loaded)


def test_an_arm_that_shows_more_examples_than_ten_rows_has_them(path):
    loaded = load_trial(path, overrides=["arms.prompted.shots=12"])
    assert smoke_trial(loaded, read_splits(loaded)).trial.data.train == 14


def test_an_arm_that_would_fail_after_hours_fails_now(path, capsys):
    broken = path.parent / "broken"
    broken.mkdir()
    (broken / "adapter_config.json").write_text("{}")
    arguments = ["run", str(path), "--smoke", "--arm", "base", "--arm", "mine", "--json"]
    assert dispatch([*arguments, "--set", "arms.mine={adapter: ./broken}"]) == 2
    found = json.loads(capsys.readouterr().out)
    said = found["error"]["what"] if "error" in found else list(found["failures"])  # all of it, or the arm alone
    assert "mine" in said or "adapter" in said


def test_python_smokes_and_a_trial_on_few_rows_uses_what_there_is(tmp_path):
    make_base(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").open()][:8]
    trial = Trial(
        model=tmp_path / "model",
        data={"source": rows, "max_tokens": 64},
        arms={"base": {}, "lora": {"method": "lora", "rank": 2, "targets": ["q"]}},
        folder=tmp_path / "t",
        sampling={"max_new_tokens": 4},
    )
    result = trial.smoke().run(progress=False)
    assert result.failures == {} and result.folder.root == tmp_path / "t+smoke"
    assert trial.smoke().smoke().folder.root == tmp_path / "t+smoke"
    assert not (tmp_path / "t" / "manifest.json").exists()
