"""The trial file: what it means, and one exact complaint for each way it can be wrong."""

from pathlib import Path

import pytest

from finetrial.errors import UserError
from finetrial.trial.folder import open_trial
from finetrial.trial.trial_file import load_trial, parse_trial, write_resolved

GOOD = """\
trial: tldr
model: gpt2
data:
  source: a/b
  format:
    text: {unit: line, prefix: 1}
arms:
  base:
  prompted: {shots: 3}
  full: {method: full, learning_rate: 1e-4}
  lora: {method: lora, rank: 4, targets: [q, v]}
  mine: {adapter: ./mine}
"""


def test_methods_are_given_or_implied_and_defaults_are_those_of_the_design():
    trial = parse_trial(GOOD, origin="t.yaml")
    assert [arm.method.name for arm in trial.arms.values()] == ["base", "prompted", "full", "lora", "external"]
    lora = trial.arms["lora"].method
    assert lora.rank == 4 and lora.scaling_alpha == 8
    assert trial.arms["full"].learning_rate == 1e-4
    assert trial.data.text_format.continuation == 4
    sampling = trial.sampling
    assert {sampling.per_prompt, sampling.max_new_tokens, sampling.temperature, sampling.stop} == {"auto"}
    assert trial.data.chat == "auto" and trial.judging.margin == 0.02


@pytest.mark.parametrize(
    ("found", "replacement", "complaint"),
    [
        ("shots: 3", "shot: 3", r"line 9: unknown key 'arms.prompted.shot'.*Did you mean 'shots'"),
        ("unit: line", "unit: lines", r"line 6: data.format.text.unit.*'lines'.*Did you mean 'line'"),
        ("rank: 4", "rank: four", r"line 11: arms.lora.rank.*'four'.*integer"),
        ("rank: 4", "rank: 0", r"line 11: arms.lora.rank.*got 0.*greater than or equal to 1"),
        ("method: full", "method: ful", r"line 10: arms.full.method.*'ful'.*Did you mean 'full'"),
        ("method: full, ", "", r"line 10: arms.full: `learning_rate` belongs to arms that are tuned"),
        (
            "method: full,",
            "method: full, rank: 3,",
            r"line 10: arms.full.rank: `rank` belongs to .* method vera or lora",
        ),
        ("model: gpt2\n", "", r"the key 'model' is missing"),
        ("arms:", "arns:", r"unknown key 'arns'.*Did you mean 'arms'"),
        ("1e-4", ".nan", r"line 10: arms.full.learning_rate.*nan.*finite"),
        ("1e-4", "-1", r"line 10: arms.full.learning_rate.*more than zero"),
        ("trial: tldr", "trial: a/b", r"line 1: trial: invalid value; got 'a/b'"),
        ("  base:\n", "  base:\n  base:\n", r"line 9: the key 'arms.base' stands twice"),
        ("  base:", "  base: [", r"t.yaml, line \d+: not valid YAML"),
        ("adapter: ./mine", "adapter: ./mine, model: x", r"line 12: arms.mine: .*either `model` or `adapter`"),
    ],
)
def test_each_fault_is_one_line_that_says_where(found, replacement, complaint):
    assert found in GOOD
    with pytest.raises(UserError, match=complaint) as caught:
        parse_trial(GOOD.replace(found, replacement, 1), origin="t.yaml")
    assert "\n" not in str(caught.value)


def test_overrides_reach_any_value():
    trial = parse_trial(
        GOOD, origin="t", overrides=["arms.lora.rank=8", "sampling.stop=[x]", "training.epochs=2.5"]
    )
    assert (trial.arms["lora"].method.rank, trial.sampling.stop, trial.training.epochs) == (8, ("x",), 2.5)
    with pytest.raises(UserError, match=r"unknown key 'arms.lora.rnk'"):
        parse_trial(GOOD, origin="t", overrides=["arms.lora.rnk=8"])
    with pytest.raises(UserError, match="an override has no value"):
        parse_trial(GOOD, origin="t", overrides=["arms.lora.rank"])


def test_the_resolved_copy_means_the_same_from_another_folder(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "rows.jsonl").write_text("{}\n")
    text = GOOD.replace("source: a/b", "source: ./rows.jsonl[0:10]").replace("a/b", "x")
    (tmp_path / "d" / "t.yaml").write_text(text)
    loaded = load_trial(tmp_path / "d" / "t.yaml", overrides=["arms.lora.rank=16"])
    folder = tmp_path / "run"
    write_resolved(loaded, folder / "trial.yaml")
    again = load_trial(folder)
    assert again.trial.data.source == str(tmp_path / "d" / "rows.jsonl[0:10]")
    assert again.trial.arms["mine"].adapter == str(tmp_path / "d" / "mine")
    assert again.trial.arms["lora"].method.rank == 16
    assert again.trial.model == "gpt2"


def test_a_missing_file_names_what_is_there(tmp_path):
    (tmp_path / "other.yaml").write_text("x")
    (tmp_path / ".hidden.yaml").write_text("")  # another tool's settings are no trial
    with pytest.raises(UserError, match=r"there is no trial file .*t\.yaml; expected one of other\.yaml\."):
        load_trial(tmp_path / "t.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"trial: caf\xe9\n")
    with pytest.raises(UserError, match="not UTF-8"):
        load_trial(tmp_path / "latin.yaml")


def test_the_starter_keeps_its_name_in_the_resolved_copy(tmp_path):
    (tmp_path / "t.yaml").write_text(GOOD.replace("model: gpt2", "model: starter"))
    loaded = load_trial(tmp_path / "t.yaml")
    assert (Path(loaded.model_source("starter")) / "model.safetensors").exists()
    write_resolved(loaded, tmp_path / "run" / "trial.yaml")
    assert load_trial(tmp_path / "run").trial.model == "starter"


def test_every_command_refuses_a_folder_whose_records_a_newer_version_wrote(tmp_path):
    (tmp_path / "trial.yaml").write_text(GOOD, encoding="utf-8")
    open_trial(tmp_path)
    (tmp_path / "manifest.json").write_text('{"records": 99}', encoding="utf-8")
    with pytest.raises(UserError, match="got records version 99"):
        open_trial(tmp_path)
