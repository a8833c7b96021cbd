"""The ladder: one command that predicts before it trains, continues where it stopped, and kept tables that hold."""

import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "ladder" / "ladder.py"
KEPT = ROOT / "docs" / "results" / "ladder"
sys.path.insert(0, str(SCRIPT.parent))

from ladder import COUNTS, climb  # noqa: E402
from ladder_plan import read_rungs  # noqa: E402
from ladder_tables import tables  # noqa: E402

from finetrial.api.run_table import read_runs  # noqa: E402
from finetrial.errors import UserError  # noqa: E402
from finetrial.scaling.fitting import fit_law  # noqa: E402

HEADER = "role,layers,width,heads,unique_tokens,epochs,seed"
ONE_EPOCH = [f"rung,1,{width},2,{tokens},1,0" for width in (8, 24, 72) for tokens in (1000, 2000, 4000)]
PLAN = [HEADER, *ONE_EPOCH, "rung,1,24,2,1000,3,0", "larger,2,96,2,8000,1,0"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Speeches of drawn words, 15,000 characters or more."""
    draw = random.Random(0)
    words = ["thee", "thou", "king", "crown", "blood", "night", "love", "sword", "good", "my lord"]
    speeches = [f"SPEAKER {i}:\n" + " ".join(draw.choices(words, k=12)) + "." for i in range(250)]
    path = tmp_path_factory.mktemp("text") / "plays.txt"
    path.write_text("\n\n".join(speeches) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "rungs.csv"
    path.write_text("\n".join(PLAN) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def climbed(text, plan, tmp_path_factory):
    """The folder that the command leaves."""
    out = tmp_path_factory.mktemp("ladder") / "out"
    command = [sys.executable, str(SCRIPT), "--text", str(text), "--out", str(out), "--rungs", str(plan)]
    done = subprocess.run(
        [*command, "--bootstrap", "100"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n[") + done.stdout.startswith("[") == 11  # one line a run
    return out


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_prediction_is_older_than_the_larger_run_and_knows_nothing_of_it(climbed):
    prediction, larger = read(climbed / "prediction.json"), read(climbed / "larger.json")
    assert prediction["made_at"] < larger["started_at"]
    assert prediction["run"] == larger["name"] == "l2-w96-u8000-e1-s0"
    assert read(climbed / f"fit-{prediction['definition']}.json")["runs_used"] == len(ONE_EPOCH) == 9
    low, high = prediction["interval"]
    assert low < high and prediction["measured"] is None
    assert larger["loss"] < math.log(257)  # uniform guessing among 257 tokens


def test_the_better_definition_of_size_is_chosen_by_the_rungs(climbed):
    prediction = read(climbed / "prediction.json")
    objectives = {name: fit["objective"] for name, fit in prediction["fits"].items()}
    assert set(objectives) == {"params", "params_body"}
    assert objectives[prediction["definition"]] == min(objectives.values())


def test_a_rung_is_measured_on_speeches_that_no_run_has_read(climbed, text):
    speeches = text.read_text(encoding="utf-8").strip().split("\n\n")
    held = (climbed / "heldout.txt").read_text(encoding="utf-8").strip().split("\n\n")
    train = (climbed / "train.txt").read_text(encoding="utf-8").strip().split("\n\n")
    assert len(held) == 10  # 4 % of 250
    assert sorted(held + train) == sorted(speeches) and not set(held) & set(train)


def test_the_loss_is_the_one_transformers_computes(climbed):
    name = "l1-w24-u2000-e1-s0"
    model = AutoModelForCausalLM.from_pretrained(climbed / "models" / name)
    ids = AutoTokenizer.from_pretrained(climbed / "tokenizer")((climbed / "heldout.txt").read_text())["input_ids"]
    stream = torch.tensor([0, *ids, 0])  # the end token is the first of the vocabulary
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(stream) - 1, 128):
            window = stream[start : start + 129]
            logits = model(window[None, :-1]).logits[0]
            total += float(torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum"))
    measured = read(climbed / "models" / f"{name}.json")["loss"]
    assert measured == pytest.approx(total / (len(stream) - 1), rel=1e-5)


def test_tokens_are_counted_once_and_repetition_is_marked(climbed):
    rows = {(r.params_R[0], r.tokens_R[0]): r for r in one_by_one(climbed / "rungs.csv")}
    assert len(rows) == 10
    repeated = [r for r in rows.values() if r.epochs_R[0] > 1]
    # 1,000 tokens and the end token, read three times
    assert [(float(r.tokens_R[0]), float(r.epochs_R[0])) for r in repeated] == [(3003.0, 3.0)]
    assert all(r.epochs_R[0] == 1 for r in one_by_one(climbed / "one_epoch.csv"))


def one_by_one(path: Path):
    runs = read_runs(path, columns=None, units=COUNTS)
    return [runs.select(runs.lines_R == line) for line in runs.lines_R]


def test_a_finished_ladder_trains_nothing_again(climbed, text, plan):
    weights = sorted((climbed / "models").glob("*/model.safetensors"))
    assert len(weights) == 11
    before = [path.stat().st_mtime_ns for path in weights]
    tables_before = (climbed / "ladder.md").read_text(encoding="utf-8")
    climb(text, out=climbed, rungs=plan, bootstrap=100)
    assert [path.stat().st_mtime_ns for path in weights] == before
    assert (climbed / "ladder.md").read_text(encoding="utf-8") == tables_before


def test_other_rungs_after_the_larger_run_are_refused(climbed, text, tmp_path):
    out = shutil.copytree(climbed, tmp_path / "copy")
    fewer = tmp_path / "rungs.csv"
    fewer.write_text("\n".join([PLAN[0], *PLAN[2:]]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="a prediction made afterwards is none"):
        climb(text, out=out, rungs=fewer, bootstrap=100)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["role,width"], "expected the columns"),
        ([HEADER, "rung,1,8,2,many,1,0"], "line 2: whole numbers"),
        ([HEADER, *ONE_EPOCH], "one row with the role larger"),
    ],
)
def test_a_plan_that_cannot_be_climbed_is_one_line(tmp_path, rows, message):
    path = tmp_path / "rungs.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_rungs(path)


def test_the_tables_that_were_kept_follow_from_the_records_that_were_kept():
    assert tables(KEPT).strip() in (ROOT / "docs" / "results" / "ladder.md").read_text(encoding="utf-8")


def test_the_law_that_was_kept_is_found_again_in_its_runs():
    prediction = read(KEPT / "prediction.json")
    runs = read_runs(KEPT / "rungs.csv", columns=f"params={prediction['definition']}", units=COUNTS)
    found = fit_law(runs.select(runs.epochs_R == 1))
    kept = prediction["fits"][prediction["definition"]]
    assert found.objective == pytest.approx(kept["objective"], rel=1e-6)
    larger = read(KEPT / "larger.json")
    again = found.law.loss(larger[prediction["definition"]], tokens=larger["tokens"])
    assert again == pytest.approx(prediction["predicted"], rel=1e-6)
