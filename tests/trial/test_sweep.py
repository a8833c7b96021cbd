"""`sweep` makes an arm of every combination of values, and what it makes is a trial like any other."""

import pytest
from tiny_trials import TRIAL, make_base

from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, read_object
from finetrial.trial.subset import training_rows
from finetrial.trial.sweep import chosen_arms
from finetrial.trial.trial_file import load_trial, parse_trial

HEAD = "trial: t\nmodel: starter\ndata: {source: rows.jsonl}\n"
ARMS = "arms:\n  base: {}\n  lora: {method: lora, targets: [q, v]}\n  full: {method: full}\n"


def parsed(sweep, arms=ARMS):
    return parse_trial(HEAD + arms + f"sweep: {sweep}\n", origin="t.yaml")


def test_every_combination_is_an_arm_in_the_order_of_the_file():
    trial = parsed("{lora: {rank: [4, 16], learning_rate: [1e-4, 0.02]}}")
    assert list(trial.arms) == [
        "base",
        "lora-r4-lr1e-4",
        "lora-r4-lr2e-2",
        "lora-r16-lr1e-4",
        "lora-r16-lr2e-2",
        "full",
    ]
    last = trial.arms["lora-r16-lr2e-2"]
    assert last.describe() == "LoRA, rank 16 on q and v, alpha 32" and last.learning_rate == 0.02
    assert "sweep" not in trial.model_dump(exclude_unset=True)


@pytest.mark.parametrize(
    ("factors", "names"),
    [
        ("{targets: [[q, v], all-linear]}", ["lora-q_v", "lora-all-linear"]),
        ("{from: [./models/small-1.5B, starter]}", ["lora-small-1_5B", "lora-starter"]),
        ("{from: [./a/model, ./b/model]}", ["lora-from1", "lora-from2"]),  # their own words are alike
        ("{rows: [100, 400]}", ["lora-n100", "lora-n400"]),
        ("{learning_rate: [1.0e-5, 3.0e-4]}", ["lora-lr1e-5", "lora-lr3e-4"]),
    ],
)
def test_an_arm_is_named_by_what_it_varies(factors, names):
    arms = "arms:\n  lora: {method: lora}\n"
    assert list(parsed(f"{{lora: {factors}}}", arms).arms) == names


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ("{lara: {rank: [4]}}", "sweep names an arm that is not there: 'lara'; expected one of base, lora, full. "
                                "Did you mean 'lora'?"),
        ("{lora: {rank: 4}}", "sweep.lora.rank is no list; got 4"),
        ("{lora: {rank: []}}", "sweep.lora.rank is no list"),
        ("{lora: {rank: [4, 4]}}", "sweep.lora.rank names a value twice"),
        ("{lora: {targets: [[q], [v]]}}", "sweep.lora.targets: targets stands under arms.lora too"),
        ("{lora: {}}", "sweep.lora has no keys"),
        ("[lora]", "sweep: invalid value"),
        ("{lora: {rank: [4, -1]}}", "t.yaml, line 8: arms.lora-r-1.rank"),
        ("{lora: {ranks: [4]}}", "unknown key 'arms.lora-ranks4.ranks'"),
        ("{base: {rows: [4]}}", "`rows` belongs to arms that are tuned"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept_is_said(sweep, said):
    with pytest.raises(UserError) as caught:
        parsed(sweep)
    assert said in str(caught.value)


def test_a_swept_arm_is_chosen_with_all_that_it_stands_for():
    arms = list(parsed("{lora: {rank: [4, 16]}}").arms)
    assert chosen_arms(["lora", "base"], arms) == ("lora-r4", "lora-r16", "base")
    assert chosen_arms(["lora-r4", "lora"], arms) == ("lora-r4", "lora-r16")
    assert chosen_arms(None, arms) is None
    with pytest.raises(UserError, match="unknown arm 'lor'"):
        chosen_arms(["lor"], arms)


def test_every_mistake_of_a_sweep_is_named_at_once():
    with pytest.raises(UserError, match="2 mistakes"):
        parsed("{lora: {rank: 4}, lara: {rank: [4]}}")


def test_fewer_rows_stand_among_more_and_another_seed_chooses_others():
    ids = [f"row{n}" for n in range(50)]
    few, more = (training_rows(ids, count=n, seed=1) for n in (10, 30))
    assert len(few) == 10 and len(more) == 30 and few < more < training_rows(ids, count=None, seed=1) == set(ids)
    assert training_rows(ids, count=10, seed=2) != few


def test_arms_of_a_sweep_are_tuned_on_the_rows_that_they_name(tmp_path, capsys):
    make_base(tmp_path)
    start = TRIAL.index("arms:")
    end = TRIAL.index("training:")
    arms = "arms:\n  base: {}\n  full: {method: full, learning_rate: 3e-3}\n"
    text = TRIAL[:start] + arms + TRIAL[end:] + "sweep: {full: {rows: [8, 16, 24]}}\n"
    (tmp_path / "tiny.yaml").write_text(text)
    assert dispatch(["run", str(tmp_path / "tiny.yaml")]) == 0
    folder = TrialFolder(tmp_path / "runs" / "tiny")
    few, more = (read_object(folder.measured(f"full-n{n}"), Measured) for n in (8, 16))
    assert 0 < few.trained_tokens < more.trained_tokens
    assert list(load_trial(folder.root).trial.arms) == ["base", "full-n8", "full-n16", "full-n24"]
    report = (folder.report / "report.md").read_text()
    assert "More rows, full-n8 to full-n24" in report and "forecast for 2 times the rows" in report
    assert "% less loss" in report or "No number of rows" in report
    capsys.readouterr()
    assert dispatch(["check", str(tmp_path / "tiny.yaml"), "--set", "sweep.full.rows=[8, 4000]"]) == 2
    assert "arms.full-n4000.rows asks for more rows than the training split has" in capsys.readouterr().err
