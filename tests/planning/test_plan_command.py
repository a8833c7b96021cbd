"""`finetrial plan` answers without torch, exits with 1 where nothing fits, and a run keeps to its first plan."""

import json
from dataclasses import replace

import pytest
import yaml

from finetrial.cli.main import dispatch
from finetrial.cli.plan_view import print_plan
from finetrial.errors import UserError
from finetrial.starter.corpus import write_demo
from finetrial.store.plan_record import plan_content, read_plan, read_plan_or_none
from finetrial.store.records import Measured, read_object
from finetrial.trial.folder import open_trial
from finetrial.workflow.trial_plan import plan_request, plan_trial


@pytest.fixture
def trial(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETRIAL_CACHE", str(tmp_path / "cache"))
    return write_demo(tmp_path, task="tldr")


def _planned(capsys, *arguments):
    status = dispatch(["plan", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_every_part_of_the_run_is_planned_and_adds_up(trial, capsys):
    status, plan = _planned(capsys, trial, "--memory", "24GiB")
    assert status == 0 and plan["fits"] is True
    assert [s["kind"] for s in plan["steps"]] == [
        "start",
        "data",
        *["tune"] * 2,
        *["sample"] * 3,
        "score",
        "report",
    ]
    assert plan["total_seconds"] == pytest.approx(sum(s["seconds"] for s in plan["steps"]))
    assert plan["arms"]["lora"]["trained_parameters"] == 30_720  # as the report of the demo has it
    assert plan["lengths"] == "estimated" and any("rough" in note for note in plan["notes"])


def test_an_arms_own_step_is_traced_beside_what_was_counted(trial, capsys):
    _, counted = _planned(capsys, trial, "--memory", "24GiB")
    assert all(arm["memory"].get("traced_bytes") is None for arm in counted["arms"].values())
    arms = ["--arm", "base", "--arm", "lora"]
    status, plan = _planned(capsys, trial, "--memory", "24GiB", "--traced", *arms)
    assert status == 0
    assert plan["arms"]["base"]["memory"].get("traced_bytes") is None  # nothing is tuned
    memory = plan["arms"]["lora"]["memory"]
    assert memory["traced_bytes"] == pytest.approx(memory["training_bytes"], rel=0.05)
    assert memory["needed_bytes"] == counted["arms"]["lora"]["memory"]["needed_bytes"]


def test_traced_memory_is_said_with_the_counts_error_and_not_for_a_card(trial, capsys):
    loaded, folder = open_trial(trial)
    plan = plan_trial(plan_request(loaded, folder))
    lora = plan.arms["lora"]
    memory = replace(lora.memory, traced_bytes=lora.memory.training_bytes * 2)
    print_plan(replace(plan, arms={**plan.arms, "lora": replace(lora, memory=memory)}))
    assert "as counted (-50.0%)" in " ".join(capsys.readouterr().out.split())
    assert dispatch(["plan", str(trial), "--device", "rtx-4090", "--traced"]) != 0
    assert "a step is traced by a CPU's rules" in capsys.readouterr().err


def test_a_search_is_planned_where_the_rate_is_left_to_one(trial, capsys):
    _, plan = _planned(capsys, trial, "--set", "arms.full.learning_rate=auto")
    searched = [step for step in plan["steps"] if step["kind"] == "search"]
    assert [step["arm"] for step in searched] == ["full"] and searched[0]["seconds"] > 0


def test_too_little_memory_and_too_few_hours_are_each_said_with_status_1(trial, capsys):
    status, plan = _planned(capsys, trial, "--memory", "400MiB")
    assert status == 1 and len(plan["misfits"]) == 3
    _, plan = _planned(capsys, trial, "--memory", "24GiB")
    tuning = sum(step["seconds"] for step in plan["steps"] if step["kind"] == "tune")
    hours = (plan["total_seconds"] - tuning / 2) / 3600  # half of the tuning would fit, on whatever machine
    status, plan = _planned(capsys, trial, "--memory", "24GiB", "--hours", str(hours))
    assert status == 1
    assert "training.epochs" in plan["misfits"][0]


def test_prices_give_money_energy_and_serving(trial, capsys):
    prices = "prices={hour: 3600, watts: 1000}"
    _, plan = _planned(capsys, trial, "--set", prices, "--memory", "24GiB")
    assert plan["money"] == pytest.approx(plan["total_seconds"])  # 3,600 an hour is 1 a second
    assert plan["kilowatt_hours"] == pytest.approx(plan["total_seconds"] / 3600)
    assert plan["serving_unit"] == "money" and plan["serving_requests"] == 1000


def test_a_card_is_planned_by_its_name_and_an_unknown_one_names_those_that_exist(trial, capsys):
    status, plan = _planned(capsys, trial, "--device", "rtx-4090")
    assert status == 0 and plan["arms"]["lora"]["rates_are"] == "table" and plan["precision"] == "bfloat16"
    assert dispatch(["plan", str(trial), "--device", "rtx-4091"]) == 2
    assert "rtx-4090" in capsys.readouterr().err


def test_several_devices_take_a_share_of_every_batch(trial, capsys):
    alone, eight = (_planned(capsys, trial, "--device", "rtx-4090", "--devices", n)[1] for n in (1, 8))
    assert (alone["device"]["count"], eight["device"]["count"]) == (1, 8)
    one, many = alone["arms"]["lora"], eight["arms"]["lora"]
    assert many["device"] == "8 x rtx-4090" and many["memory"]["sharded"] is False
    assert one["flops_total"] == many["flops_total"] and many["tune_seconds"] < one["tune_seconds"]
    assert one["sample_seconds"] == many["sample_seconds"], "one of them samples"
    assert any("sampling runs on one alone" in note for note in eight["notes"])
    assert dispatch(["plan", str(trial), "--device", "rtx-4090", "--devices", "8"]) == 0
    shown = capsys.readouterr().out
    assert "on 8 x rtx-4090, 24 GiB each" in shown and "every device holds everything" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_an_unknown_arm_is_refused_and_a_known_one_is_planned_alone(trial, capsys):
    assert list(_planned(capsys, trial, "--arm", "lora")[1]["arms"]) == ["lora"]
    status, answer = _planned(capsys, trial, "--arm", "lorra")
    assert status == 2 and answer["error"]["what"] == "unknown arm 'lorra'" and "lora" in answer["error"]["fix"]


def test_check_counts_the_lengths_for_the_next_plan_until_the_data_change(trial, capsys):
    assert dispatch(["check", str(trial), "--json"]) == 0
    capsys.readouterr()
    assert _planned(capsys, trial)[1]["lengths"] == "counted"
    rows = trial.parent / "tldr_train.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    assert _planned(capsys, trial)[1]["lengths"] == "estimated"


@pytest.fixture
def small(trial):
    content = yaml.safe_load(trial.read_text())
    content["data"] |= {"train": 24, "validation": 8, "heldout": 4}
    content["arms"] = {"base": {}, "lora": {"method": "lora", "rank": 2}}
    content["sampling"] = {"prompts": 4, "per_prompt": 1, "max_new_tokens": 8}
    trial.write_text(yaml.safe_dump(content))
    return trial


def test_a_run_writes_the_plan_says_it_and_measures_what_was_counted(small, capsys):
    folder = small.parent / "out"
    assert dispatch(["run", str(small), "--out", str(folder), "--json"]) == 0
    assert "of memory" in capsys.readouterr().err.split("lora: tuned")[0]
    plan, measured = read_plan(folder / "plan.json"), read_object(folder / "arms/lora/measured.json", Measured)
    figures = plan.arms["lora"].figures
    assert plan.lengths == "counted"
    for key in ("trained_parameters", "tokens_processed", "trained_tokens", "flops_total", "steps"):
        assert getattr(figures, key) == getattr(measured, key), key
    before = (folder / "plan.json").read_text()
    assert json.loads(before) == json.loads(json.dumps(plan_content(plan)))  # read back as it was written
    assert dispatch(["run", str(small), "--out", str(folder), "--json"]) == 0
    assert (folder / "plan.json").read_text() == before
    whole = json.loads(before)["steps"]
    place = folder / "kept" / "tune" / "lora" / "abc" / "file"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x" * 1000)
    capsys.readouterr()
    _, left = _planned(capsys, small, "--out", folder)
    # tuned and sampled already: starting, reading the data, scoring and the report are left
    assert [s["left"] for s in left["steps"]] == [1, 1, 0, 0, 0, 1, 1] and len(left["steps"]) == len(whole)
    assert left["total_seconds"] == pytest.approx(sum(s["seconds"] for s in left["steps"] if s["left"]))
    assert left["disk_bytes"] == json.loads(before)["disk_bytes"] + 1000
    assert any("kept/" in note for note in left["notes"]) and any("only the rest" in n for n in left["notes"])
    _, other_trial = _planned(capsys, small, "--out", folder, "--set", "arms.lora.rank=4")
    assert all(s["left"] == 1 for s in other_trial["steps"])
    other = json.loads(before) | {"version": 2}
    (folder / "plan.json").write_text(json.dumps(other))
    assert read_plan_or_none(folder / "plan.json") is None
    with pytest.raises(UserError, match="is not a plan; got version 2, and this finetrial reads 1"):
        read_plan(folder / "plan.json")


def test_a_run_that_cannot_fit_does_not_start_unless_told(small, capsys, monkeypatch):
    monkeypatch.setattr("finetrial.planning.machine.memory_bytes", lambda: 100 << 20)
    folder = small.parent / "out"
    assert dispatch(["run", str(small), "--out", str(folder), "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert "does not fit" in error["what"] and "--even-if-it-does-not-fit" in error["fix"]
    assert not (folder / "arms").exists()
    assert dispatch(["run", str(small), "--out", str(folder), "--even-if-it-does-not-fit", "--json"]) == 0
