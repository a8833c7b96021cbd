"""The arms are compared in parts of the prompts, by columns of the data, and where they change places is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from evidence_material import from_values
from whole_trial import TRIAL, Parts, build_whole

from finetrial.cli.main import dispatch
from finetrial.evidence.conclude import AnalysisSettings, conclude
from finetrial.evidence.slices import Slices
from finetrial.evidence.trial_findings import trial_findings
from finetrial.stats.intervals import mean_interval


def sliced(column: str, of_prompt: dict[str, object], values: dict[str, dict[str, float]]) -> Slices:
    samples, scores = from_values({arm: {p: [v] for p, v in row.items()} for arm, row in values.items()})
    rows = [replace(s, columns={column: of_prompt.get(s.prompt_id)}) for s in samples]
    found = conclude(rows, scores, setting=AnalysisSettings(primary="rouge1", slices=(column,)))
    (one,) = found.slices
    return one


PROMPTS = [f"p{n:02}" for n in range(8)]
# lora wins on the refunds by little and loses on the rest by much
VALUES = {
    "full": {p: 0.5 + 0.01 * n if n < 3 else 0.8 for n, p in enumerate(PROMPTS)},
    "lora": {p: 0.6 + 0.01 * n if n < 3 else 0.2 for n, p in enumerate(PROMPTS)},
}
LABELS = {p: "refund" if n < 3 else "other" for n, p in enumerate(PROMPTS)}


def test_every_value_is_a_row_with_each_arm_s_mean_and_interval():
    found = sliced("label", LABELS, VALUES)
    assert [(part.value, part.n_prompts) for part in found.parts] == [("other", 5), ("refund", 3)]
    refund = found.parts[1].arms["lora"]
    by_hand = mean_interval([0.60, 0.61, 0.62], bounds=(0.0, 1.0))
    assert (refund.estimate, refund.low, refund.high) == (by_hand.estimate, by_hand.low, by_hand.high)


def test_arms_that_change_places_are_named_where_they_do_so_and_nowhere_else():
    found = sliced("label", LABELS, VALUES)
    assert [part.changed for part in found.parts] == [(), (("lora", "full"),)]


def test_prompts_without_a_value_are_counted_and_left_out():
    found = sliced("label", {p: label for p, label in LABELS.items() if p != "p07"}, VALUES)
    assert found.missing == 1 and sum(part.n_prompts for part in found.parts) == 7


def test_a_column_of_numbers_is_cut_into_thirds_and_equal_numbers_stay_together():
    prompts = [f"p{n:02}" for n in range(12)]
    values = {"a": dict.fromkeys(prompts, 0.5), "b": {p: 0.1 * (n % 3) for n, p in enumerate(prompts)}}
    found = sliced("year", {p: 1990 + n for n, p in enumerate(prompts)}, values)
    assert [(part.value, part.n_prompts) for part in found.parts] == [
        ("1990 to 1993", 4),
        ("1994 to 1997", 4),
        ("1998 to 2001", 4),
    ]
    tied = sliced("year", {p: 7 if n < 6 else 10 + n for n, p in enumerate(prompts)}, values)
    assert tied.parts[0].value == "7" and tied.parts[0].n_prompts == 6
    assert sum(part.n_prompts for part in tied.parts) == 12


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ({}, "no prompt has a column label"),
        (dict.fromkeys(PROMPTS, "same"), "all prompts have the same value"),
        ({p: n for n, p in enumerate(PROMPTS)}, "too few prompts to cut into parts"),
    ],
)
def test_where_there_are_no_parts_the_reason_is_said(column, why):
    found = sliced("label", column, VALUES)
    assert found.parts == () and found.reason == why


def test_rare_values_stand_together():
    prompts = [f"p{n:02}" for n in range(30)]
    values = {arm: dict.fromkeys(prompts, 0.5) for arm in ("a", "b")}
    found = sliced("label", {p: f"l{min(n, 20)}" for n, p in enumerate(prompts)}, values)
    assert found.parts[0].n_prompts == 10 and found.parts[-1].value == "10 other values"
    assert len(found.parts) == 12 and sum(part.n_prompts for part in found.parts) == 30


def test_a_file_is_sliced_by_any_of_its_columns(tmp_path, capsys):
    file = tmp_path / "outs.jsonl"
    rows = [
        {"prompt": f"Q{n}", "arm": arm, "text": "right", "reference": "right" if (arm == "a") == (n < 2) else "no",
         "channel": "mail" if n < 2 else "chat"}
        for n in range(6)
        for arm in ("a", "b")
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert dispatch(["score", str(file), "--slice", "channel"]) == 0
    said = capsys.readouterr().out
    assert "By channel" in said and "mail" in said
    assert dispatch(["score", str(file), "--slice", "channel", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["slices"]
    assert [(part["value"], part["changed"]) for part in found["parts"]] == [("chat", []), ("mail", [["a", "b"]])]


def test_a_trial_s_columns_are_kept_with_its_scores_and_stand_in_its_report(tmp_path):
    text = TRIAL.replace("report: {", "report: {slices: [id, length], ")
    whole = build_whole(tmp_path / "trial", Parts(trial_text=text))
    rows = [json.loads(row) for row in whole.folder.columns.read_text().splitlines()]
    assert rows and all(row["columns"]["id"] == row["prompt_id"] for row in rows)
    by_id, by_length = trial_findings(whole.folder).slices
    assert by_length.parts == () and by_length.reason is not None  # all posts have one length
    assert [part.value for part in by_id.parts] == ["p1", "p2", "p3", "p4", "p5"]
    page = (Path(whole.folder.report) / "report.md").read_text()
    assert "By parts of the data" in page and "By id" in page
