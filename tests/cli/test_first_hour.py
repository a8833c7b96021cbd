"""The newcomer's road: init, check and run on four kinds of data, without an edit, on the embedded model."""

import json

import pytest

from benchmarks.newcomers_data import chats, extraction, labels, tickets
from finetrial.cli.main import dispatch


@pytest.mark.parametrize(
    ("make", "primary", "metrics", "greedy"),
    [
        (tickets, "rouge1", {"rouge1", "rouge2", "rougeL"}, False),
        (chats, "rouge1", {"rouge1", "rouge2", "rougeL"}, False),
        (labels, "exact", {"exact", "macro_f1", "exact_squad"}, True),
        (extraction, "json_fields", {"json_fields", "json"}, True),
    ],
)
def test_init_check_and_run_give_fair_arms_and_fitting_metrics_without_an_edit(
    tmp_path, capsys, monkeypatch, make, primary, metrics, greedy
):
    monkeypatch.chdir(tmp_path)
    data = make(tmp_path)

    def finetrial(*arguments: str) -> dict:
        status = dispatch([*arguments, "--json"])
        out = capsys.readouterr().out
        assert status == 0, out
        return json.loads(out)

    first = finetrial("init", "--data", data.name, "--model", "starter")
    assert first["primary"] == primary and first["alternatives"] == []
    checked = finetrial("check", first["file"])
    assert "does not say what is wanted" not in json.dumps(checked), "an untuned arm is told what is wanted"
    results = finetrial("run", first["file"])["results"]
    assert set(results["metrics"]) == metrics
    cells = results["metrics"][primary]
    assert set(cells) == {"base", "prompted", "full", "lora"}
    assert all(cell["mean"] is not None and 0 <= cell["mean"] <= 1 for cell in cells.values())
    # the same prompts for every arm; one greedy answer where one is right, else three that vary
    assert len({cell["n_prompts"] for cell in cells.values()}) == 1
    assert {cell["n_samples"] / cell["n_prompts"] for cell in cells.values()} == {1 if greedy else 3}
    if make is not extraction:  # of which the starter learns too little from 48 rows to write valid JSON
        assert cells["full"]["mean"] > cells["base"]["mean"], "tuning learns this in one epoch"
    if primary == "exact":
        matrix = results["details"]["macro_f1"]["full"]
        assert matrix["labels"] == ["0", "1"]
        assert sum(map(sum, matrix["counts"])) + sum(matrix["other"]) == cells["full"]["n_samples"]
