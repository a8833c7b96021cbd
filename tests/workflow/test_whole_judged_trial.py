"""A trial with a judge from its first step to its verified report, killed on the way: nothing is lost.

Three arms, 40 prompts, 12 of them graded through the page by a stand-in, all by a judge behind an endpoint. With
the real model at both ends, behind `transformers serve`: tests/real_model/test_real_judged_trial.py.
"""

import itertools
import json

import pytest
import torch
from judge_server import JudgeServer
from killed_trial import grade_killed, judge_killed
from tiny_trials import TRIAL, make_base

from finetrial.cli.main import dispatch
from finetrial.judging.model_judge import standing
from finetrial.store.grades import read_grades
from finetrial.store.layout import TrialFolder
from finetrial.store.model_answers import read_answers
from finetrial.trial.trial_file import load_trial

CONCURRENCY = 3
FAULTS = (429, "half", "nonsense", 503)
ARMS = {
    "base": {},
    "prompted": {"shots": 1},
    "lora": {"method": "lora", "rank": 2, "targets": ["q", "v"], "learning_rate": 1e-2},
}


def is_good(text):
    """What the stand-in goes by, in texts of a model that knows nothing: an even number of characters."""
    return len(text) % 2 == 0


def judged(user, body):
    """The judge errs on a fifth of the bad texts and on none of the good ones."""
    text = user.rsplit("ANSWER:\n", 1)[-1]
    good = is_good(text) or len(text) % 5 == 0
    return json.dumps({"note": "n", "reasons": [], "grade": "good" if good else "bad"})


@pytest.fixture
def server():
    server = JudgeServer(judged, FAULTS, headers={"Retry-After": "0"})
    server.delay_seconds = 0.01
    yield server
    server.close()


def test_three_arms_forty_prompts_twelve_graded_on_the_page_and_killed_four_times_lose_nothing(server, tmp_path):
    torch.set_num_threads(1)
    make_base(tmp_path)
    judge = {"name": "llm", "endpoint": {"url": server.url, "model": "served"}, "concurrency": CONCURRENCY}
    judge |= {"backoff_seconds": 0.01, "timeout_seconds": 5}
    judging = {"primary": "grade", "metrics": ["rouge1"], "grade_prompts": 12, "estimator": "people+judge"}
    judging |= {"criterion": "Is its length even?", "judges": [judge]}
    begin, end = TRIAL.index("arms:"), TRIAL.index("training:")
    text = f"{TRIAL[:begin]}arms: {json.dumps(ARMS)}\n{TRIAL[end:]}".replace("heldout: 10", "heldout: 40")
    text = text.replace("prompts: 6, per_prompt: 2", "prompts: 40, per_prompt: 1")
    (tmp_path / "tiny.yaml").write_text(text.replace("{grade_prompts: 2}", json.dumps(judging)))
    folder = TrialFolder(tmp_path / "run")

    trial = ("tiny.yaml", "--out", str(folder.root))
    commands = ("run", *trial), ("judge", *trial), ("judge", *trial)
    kills = judge_killed(folder, commands, requests=lambda: len(server.seen), after=20)
    assert kills == 2, (tmp_path / "commands.log").read_text()
    done = standing(folder, load_trial(folder.root).trial.judging.judges[0])
    assert done.complete and done.unreadable == 0 and done.questions > 90
    rows = [row for row in read_answers(folder.judge("llm")) if row.raw is not None]
    assert len(rows) == len({row.request_hash for row in rows}) == done.questions, "nothing is answered twice"
    spoiled = len(FAULTS)
    assert done.questions + spoiled <= len(server.seen) <= done.questions + spoiled + kills * CONCURRENCY

    texts = grade_killed(folder, lambda prompt, text: "good" if is_good(text) else "bad", after=(5, 12))
    assert texts > 24
    assert {g.rater_kind for g in read_grades(folder)} == {"stand-in", "model"}

    assert dispatch(["unblind", str(folder.root), "--yes"]) == 0
    assert dispatch(["report", str(folder.root)]) == 0
    assert dispatch(["verify", str(folder.root)]) == 0
    (found,) = json.loads((folder.report / "results.json").read_text())["judges"]
    assert found["decides"] and found["audit"]["reason"] is None
    sensitivity = found["audit"]["sensitivity"]
    assert sensitivity["hits"] == sensitivity["of"] > 0, "it calls good whatever is even"
    pairs = {(pair["a"], pair["b"]): pair["found"] for pair in found["pairs"]}
    assert set(pairs) == set(itertools.combinations(ARMS, 2))
    assert all(pair["n_graded"] == 12 for pair in pairs.values())
    report = (folder.report / "report.md").read_text()
    for words in ("Stand-ins alone", "raw agreement with stand-ins", "helped by the judge llm"):
        assert words in report, words
