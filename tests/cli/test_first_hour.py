"""The newcomer's road: init, check and run on four kinds of data, without an edit, on the embedded model."""

import csv
import json
import random
from pathlib import Path

import pytest

from finetrial.cli.main import dispatch

ROWS = 60
THINGS = ["kettle", "lamp", "chair", "phone", "tent", "radio", "oven", "watch"]
CITIES = ["Bonn", "Kiel", "Ulm", "Jena"]


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tickets(folder: Path, chance: random.Random) -> Path:
    path = folder / "tickets.csv"
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "customer", "ticket", "reply"])
        for i in range(ROWS):
            thing, days = chance.choice(THINGS), chance.randint(2, 20)
            reply = f"We are sorry that your {thing} is {days} days late, and have sent another."
            table.writerow([i, f"c{i % 20}", f"My {thing} has not come after {days} days. Order {i}.", reply])
    return path


def chats(folder: Path, chance: random.Random) -> Path:
    def turns(i: int) -> list[dict]:
        thing = chance.choice(THINGS)
        asked, told = f"Where is my {thing}, order {i}?", f"Your {thing} of order {i} is on its way."
        return [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]

    return jsonl(folder / "chats.jsonl", [{"messages": turns(i)} for i in range(ROWS)])


def labels(folder: Path, chance: random.Random) -> Path:
    said = {1: "works perfectly", 0: "broke at once"}
    rows = [{"review": f"The {chance.choice(THINGS)} {i} {said[i % 2]}.", "label": i % 2} for i in range(ROWS)]
    return jsonl(folder / "labels.jsonl", rows)


def extraction(folder: Path, chance: random.Random) -> Path:
    rows = []
    for i in range(ROWS):
        thing, count, city = chance.choice(THINGS), chance.randint(1, 9), chance.choice(CITIES)
        wanted = {"item": thing, "count": count, "city": city}
        rows.append({"text": f"Order {i}: {count} pieces of {thing} to {city}, please.", "fields": wanted})
    return jsonl(folder / "extraction.jsonl", rows)


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
    data = make(tmp_path, random.Random(0))

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
