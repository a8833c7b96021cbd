"""The logs of other tools, each made by the tool itself, are outputs: epochs are samples, tasks are groups."""

import json
import shutil
from pathlib import Path

import pytest
from installing import install

from finetrial.api.outputs import score
from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.evidence.logs.log_table import LOGS
from finetrial.evidence.outputs_file import read_outputs_file
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Sample, read_rows

LOG_FILES = Path(__file__).parent / "logs"
SMOL = LOG_FILES / "lm_eval" / "SmolLM2-135M-Instruct"


def texts(found):
    return {(s.arm, s.prompt_id, s.index): s.text for s in found.samples}


def test_lm_evals_repeats_are_samples_and_a_multiple_choice_is_the_likeliest_choice():
    (capitals,) = SMOL.glob("samples_capitals_*.jsonl")
    found = read_outputs_file(capitals)
    assert found.arms == ("SmolLM2-135M-Instruct",) and len(found.samples) == 6
    first = found.samples[0]
    assert (first.text, first.references, first.prompt_id) == (" The answer is Paris.", ("Paris",), "capitals/0")
    assert first.prompt == "Question: What is the capital of France?\nAnswer:" and first.group is None
    (colours,) = SMOL.glob("samples_colours_*.jsonl")
    snow, bananas = read_outputs_file(colours).samples
    # log-likelihoods -7.37 against -10.11, and -8.87 against -10.09: the model takes "white" and, wrongly, "blue"
    assert (snow.text, snow.references) == ("white", ("white",))
    assert (bananas.text, bananas.references) == ("blue", ("yellow",))
    values = read_outputs_file(colours, values=["acc"]).values
    assert [row.value for row in values] == [1.0, 0.0]


def test_a_folder_of_logs_is_one_file_and_several_tasks_are_its_groups():
    found = read_outputs_file(LOG_FILES / "lm_eval")
    assert {s.group for s in found.samples} == {"capitals", "colours"} and len(found.samples) == 8
    assert {s.arm for s in found.samples} == {"SmolLM2-135M-Instruct"}


def test_a_question_that_several_filters_scored_counts_once(tmp_path):
    (capitals,) = SMOL.glob("samples_capitals_*.jsonl")
    rows = [json.loads(line) for line in capitals.read_text().splitlines()]
    again = [{**row, "filter": "strict", "contains": 1.0} for row in rows]
    path = tmp_path / capitals.name
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *again]))
    results = path.with_name(path.name.replace("samples_capitals", "results").replace(".jsonl", ".json"))
    results.write_text(json.dumps({"model_name": "/models/tuned/"}))
    found = read_outputs_file(path, values=["contains", "contains,strict"])
    assert found.arms == ("tuned",), "as the results beside it name the model"
    assert len(found.samples) == 6
    assert {row.value for row in found.values if row.metric == "contains,strict"} == {1.0}


@pytest.mark.parametrize("name", ["inspect.eval", "inspect.json"])
def test_inspects_epochs_are_samples_in_both_of_its_forms(name):
    found = read_outputs_file(LOG_FILES / name)
    assert found.arms == ("answers/Paris",) and set(texts(found)) == {
        ("answers/Paris", f"capitals/{place}", epoch) for place in ("france", "italy") for epoch in (0, 1)
    }
    assert all(text.startswith("Paris, said for the") for text in texts(found).values())
    italy = next(s for s in found.samples if s.prompt_id == "capitals/italy")
    assert italy.references == ("Rome", "Roma") and italy.source == "What is the capital of Italy?"
    assert italy.prompt == "system: Answer briefly.\nuser: What is the capital of Italy?"
    values = read_outputs_file(LOG_FILES / name, values=["includes"]).values
    assert sorted(row.value for row in values) == [0.0, 0.0, 1.0, 1.0], "C is 1 and I is 0"


@pytest.mark.parametrize("name", ["promptfoo.json", "promptfoo.jsonl"])
def test_promptfoos_providers_are_arms_and_its_repetitions_samples(name):
    found = read_outputs_file(LOG_FILES / name)
    assert set(texts(found)) == {
        (arm, f"test-{test}", index) for arm in ("paris", "oslo") for test in (0, 2) for index in (0, 1)
    }
    assert {s.text for s in found.samples if s.prompt_id == "test-0"} == {
        "Paris (46 characters read)",
        "Oslo (46 characters read)",
    }
    assert {s.references for s in found.samples} == {("Paris",), ("Oslo",)}
    result = score(LOG_FILES / name, values=["success"], primary="success")
    assert {arm: row.mean for arm, row in result.findings.intervals["success"].items()} == {
        "paris": 0.5,
        "oslo": 0.5,
    }


def test_openai_evals_events_are_joined_by_their_sample():
    found = read_outputs_file(LOG_FILES / "openai_evals.jsonl")
    assert texts(found) == {
        ("answers/paris", "capitals.test.0", 0): "Paris",
        ("answers/paris", "capitals.test.1", 0): "Paris",
    }
    assert {s.references for s in found.samples} == {("Paris",), ("Rome",)}
    assert found.samples[0].turns == (("system", "Answer briefly."), ("user", "What is the capital of Italy?"))
    values = read_outputs_file(LOG_FILES / "openai_evals.jsonl", values=["correct"]).values
    assert sorted(row.value for row in values) == [0.0, 1.0]


def test_alpacas_outputs_and_mt_benchs_answers_are_read_by_the_columns_that_their_users_write(tmp_path):
    alpaca = [
        {"dataset": d, "instruction": f"Say {d}.", "output": f"{g}: {d}", "generator": g}
        for g in ("ours", "theirs")
        for d in ("helpful", "koala")
    ]
    (tmp_path / "model_outputs.json").write_text(json.dumps(alpaca))
    found = read_outputs_file(tmp_path / "model_outputs.json")
    assert found.arms == ("ours", "theirs") and {s.group for s in found.samples} == {"helpful", "koala"}
    folder = tmp_path / "mt_bench"
    (folder / "model_answer").mkdir(parents=True)
    question = {"question_id": 81, "category": "writing", "turns": ["Write.", "Write again."], "reference": ["w"]}
    answer = {"question_id": 81, "answer_id": "a", "model_id": "vicuna", "tstamp": 1.0}
    answer["choices"] = [{"index": n, "turns": [f"first {n}", f"second {n}"]} for n in (0, 1)]
    (folder / "model_answer" / "vicuna.jsonl").write_text(json.dumps(answer) + "\n")
    with pytest.raises(UserError, match=r"question\.jsonl"):
        read_outputs_file(folder / "model_answer" / "vicuna.jsonl")
    (folder / "question.jsonl").write_text(json.dumps(question) + "\n")
    found = read_outputs_file(folder / "model_answer" / "vicuna.jsonl")
    by_place = {(s.prompt_id, s.index): s for s in found.samples}
    assert {key: s.text for key, s in by_place.items()} == {
        (f"81-{turn}", n): f"{word} {n}" for turn, word in ((1, "first"), (2, "second")) for n in (0, 1)
    }
    assert {s.group for s in found.samples} == {"81"}, "both turns of a question are one unit"
    assert by_place["81-2", 1].turns == (("user", "Write."), ("assistant", "first 1"), ("user", "Write again."))
    assert by_place["81-1", 0].references == ("w",) and by_place["81-2", 0].references == ()


def test_score_and_grade_take_a_log_and_a_folder_of_logs(tmp_path, capsys):
    assert dispatch(["score", str(LOG_FILES / "promptfoo.json"), "--primary", "f1", "--json"]) == 0
    means = json.loads(capsys.readouterr().out)["metrics"]["f1"]
    # one word of the four that are said is right, for one test of two: precision 1/4, recall 1, F1 .4, halved
    assert {arm: row["mean"] for arm, row in means.items()} == {"paris": 0.2, "oslo": 0.2}
    shutil.copytree(SMOL, tmp_path / "results" / SMOL.name)
    command = ["grade", str(tmp_path / "results"), "--export", str(tmp_path / "pages"), "--criterion", "Right?"]
    assert dispatch(command) == 0
    folder = TrialFolder(tmp_path / "runs" / "results")
    assert len(list(read_rows(folder.samples("SmolLM2-135M-Instruct"), Sample))) == 8
    assert dispatch(["score", str(tmp_path / "results"), "--json"]) == 0


def test_a_file_that_is_no_log_says_which_logs_are_read(tmp_path):
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(
        UserError, match="lm-evaluation-harness, Inspect, promptfoo, OpenAI evals, AlpacaEval, MT-bench"
    ):
        read_outputs_file(tmp_path / "other.json")
    (tmp_path / "damaged.eval").write_bytes((LOG_FILES / "inspect.eval").read_bytes()[:5000])
    with pytest.raises(UserError, match="another form"):
        read_outputs_file(tmp_path / "damaged.eval")


def test_a_package_adds_a_format_by_one_file_and_one_entry_point(tmp_path, monkeypatch):
    code = '''"""Reads files that begin with TOY."""

from finetrial.evidence.logs.log_format import LogFormat

ADDED = LogFormat(
    "toy", (".json",), lambda file: (file.content or {}) == {"toy": 1},
    lambda file: iter([("the toy", {"prompt": "p", "arm": "a", "text": "t"})]),
)
'''
    install(tmp_path, group="finetrial.logs", code=code, module="toy_logs")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "some.json").write_text('{"toy": 1}')
    assert texts(read_outputs_file(tmp_path / "some.json")) == {("a", "prompt-1", 0): "t"}
    assert len({log.name for log in LOGS}) == len(LOGS) == 6
