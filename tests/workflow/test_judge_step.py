"""Model judges in a whole trial: `run` asks them, `judge` goes on, and the report is verified."""

import json

import pytest
import torch
from judge_server import JudgeServer
from tiny_trials import TRIAL, Lines, make_base
from transformers import AutoTokenizer

from finetrial.api.trial import Trial
from finetrial.cli.main import dispatch
from finetrial.judging.model_judge import standing
from finetrial.store.grades import read_grades
from finetrial.store.layout import TrialFolder
from finetrial.store.model_answers import read_answers
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial

TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] "


def long_is_good(user, body):
    good = len(user) % 2 == 0
    return json.dumps({"note": "n", "reasons": [], "grade": "good" if good else "bad"})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A tiny trial with a judge, run once; its server has a budget of nothing left to hide behind."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("judged")
    make_base(base)
    server = JudgeServer(long_is_good)
    judge = {"name": "llm", "endpoint": {"url": server.url, "model": "served"}, "backoff_seconds": 0.01}
    text = TRIAL.replace(
        "judging: {grade_prompts: 2}", f"judging: {{grade_prompts: 2, judges: [{json.dumps(judge)}]}}"
    )
    (base / "tiny.yaml").write_text(text.replace("  full: {method: full, learning_rate: 3e-3}\n", ""))
    folder, lines = TrialFolder(base / "run"), Lines()
    run_trial(TrialContext(load_trial(base / "tiny.yaml"), folder, listener=lines))
    yield base, folder, server, lines.take()
    server.close()


def test_run_asks_the_judges_once_and_its_answers_are_hashed(prepared):
    base, folder, server, lines = prepared
    asked = len(server.seen)
    questions = standing(folder, load_trial(folder.root).trial.judging.judges[0]).questions
    assert any(line.startswith(f"judge llm: {questions} of {questions} questions answered") for line in lines)
    assert asked == questions == len({g.item_id for g in read_grades(folder)}) > 10
    record = json.loads(folder.manifest.read_text())["steps"]["judge:llm"]
    assert "judges/llm.jsonl" in record["outputs"]
    again = Lines()
    run_trial(TrialContext(load_trial(base / "tiny.yaml"), folder, listener=again))
    assert len(server.seen) == asked and "judge llm: has answered everything already" in again.lines
    assert dispatch(["verify", str(folder.root)]) == 0
    content = folder.judge("llm").read_bytes()
    folder.judge("llm").write_bytes(content.replace(b"good", b"bad ", 1))
    assert dispatch(["verify", str(folder.root)]) == 1
    folder.judge("llm").write_bytes(content)


def test_the_judge_command_takes_another_judge_and_stops_at_its_budget(prepared, capsys):
    base, folder, server, _ = prepared
    text = (base / "tiny.yaml").read_text()
    second = {"name": "second", "endpoint": {"url": server.url, "model": "served"}, "budget": {"requests": 3}}
    (base / "two.yaml").write_text(text.replace("judges: [", f"judges: [{json.dumps(second)}, "))
    command = ["judge", str(base / "two.yaml"), "--out", str(folder.root), "--json"]
    assert dispatch(command) == 1
    said = json.loads(capsys.readouterr().out)
    runs = {run["name"]: run for run in said["judges"]}
    assert runs["second"]["answered"] == 3 and runs["llm"]["answered"] == runs["llm"]["questions"]
    assert dispatch([*command, "--judge", "third"]) == 2
    assert "unknown judge 'third'" in capsys.readouterr().out
    (base / "three.yaml").write_text(text.replace("grade_prompts: 2", "grade_prompts: 3"))
    assert dispatch(["judge", str(base / "three.yaml"), "--out", str(folder.root), "--json"]) == 2
    assert "in more than its judges" in capsys.readouterr().out


def test_a_local_model_judges_through_our_own_sampler_and_its_nonsense_is_missing(prepared, monkeypatch):
    base, folder, _, _ = prepared
    tokenizer = AutoTokenizer.from_pretrained(base / "model")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(base / "model")
    text = (base / "tiny.yaml").read_text()
    local = {"name": "local", "model": "./model", "max_tokens": 8, "rubric": "Short?"}
    (base / "local.yaml").write_text(text.replace("judges: [", f"judges: [{json.dumps(local)}, "))
    trial = Trial.load(base / "local.yaml", folder=folder.root)
    (done,) = trial.judge(judges=["local"], progress=False)
    rows = read_answers(folder.judge("local"))
    # the context of 128 tokens holds no question: every one is refused by itself, and none is fatal
    assert done.answered == 0 and {row.error.split(":")[0][:20] for row in rows if row.raw is None} and rows
