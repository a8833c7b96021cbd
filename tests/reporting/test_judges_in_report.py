"""A judge stands in the report with its audit, unaudited without people, and the report is verified with it."""

import json
import random
import re

import pytest
import yaml
from grading_material import sample
from judge_server import JudgeServer

from finetrial.cli.main import dispatch
from finetrial.judging.grading_session import GradingSession
from finetrial.judging.unblinding import lock
from finetrial.reporting.verification import verify
from finetrial.stats.any_time import any_time, people_paths
from finetrial.store.grade_key import unblinded_grades
from finetrial.store.grades import grading_state
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.store.records import write_rows

ARMS = {"base": 0.2, "prompted": 0.5, "lora": 0.95}


def grade_of(user, body):
    good = "GOOD" in user.split("ANSWER:\n", 1)[1]
    return json.dumps({"note": "n", "reasons": [], "grade": "good" if good else "bad"})


@pytest.fixture
def make_trial(tmp_path):
    """Three arms and 40 prompts, judged over the wire; a stand-in grades twelve, unless told not to."""
    server = JudgeServer(grade_of)

    def make(*, estimator="people+judge", graded=True, stopping=None):
        rng = random.Random(1)
        folder = TrialFolder(tmp_path / f"{estimator}-{graded}")
        for arm, share in ARMS.items():
            rows = [
                sample(arm, prompt, 0, f"{'GOOD' if rng.random() < share else 'BAD'} answer {arm[:2]} {prompt}")
                for prompt in range(40)
            ]
            write_rows(folder.samples(arm), rows)
        trial = {
            "trial": "judged",
            "model": "outputs-only",
            "data": {"source": "none.jsonl"},
            "arms": {arm: {"model": "elsewhere"} for arm in ARMS},
            "sampling": {"per_prompt": 1, "max_new_tokens": 16, "temperature": 1.0, "stop": []},
            "judging": {
                "primary": "grade",
                "metrics": ["exact"],
                "grade_prompts": 12,
                "estimator": estimator,
                "judges": [{"name": "llm", "endpoint": {"url": server.url, "model": "served"}}],
                **({} if stopping is None else {"stopping": stopping}),
            },
        }
        folder.trial.write_text(yaml.safe_dump(trial))
        Manifest(folder.manifest).describe({"outputs_only": True})
        assert dispatch(["judge", str(folder.root), "--json"]) == 0
        if graded:
            session = GradingSession(folder)
            session.book.join("robot")
            session.book.declare("robot", "stand-in")
            for n, item in enumerate(session.items.values()):
                value = "good" if item.text.startswith("GOOD") else "bad"
                event = {"uid": f"robot-{n:06}", "kind": "grade", "item_id": item.item_id, "value": value}
                session.record(event, rater="robot")
            session.close()
        lock(folder)
        assert dispatch(["report", str(folder.root)]) == 0
        return folder, json.loads((folder.report / "results.json").read_text())

    yield make
    server.close()


def test_both_verdicts_and_the_audit_stand_in_one_report_that_verifies(make_trial, capsys):
    folder, results = make_trial()
    (judge,) = results["judges"]
    assert judge["audit"]["n_texts"] == 36 and judge["audit"]["raw"]["value"] == 1.0 and judge["decides"] is True
    assert [pair["found"]["n_graded"] for pair in judge["pairs"]] == [12, 12, 12]
    assert [pair["found"]["n_judged_alone"] for pair in judge["pairs"]] == [28, 28, 28]
    assert all(pair["found"]["people_alone"] for pair in judge["pairs"])
    assert "helped by the judge llm on 28 more" in results["verdict"] and "lora" in results["verdict"]
    page = (folder.report / "report.md").read_text()
    assert "What model judges said" in page and "Cohen’s kappa" in page
    assert judge["audit"]["raters"] == "stand-ins" and "Stand-ins’ grades give it" in results["verdict"]
    judges = page[page.index("What model judges said") :]
    assert "raw agreement with stand-ins" in judges and "Stand-ins alone" in judges
    assert not re.search(r"\b[Pp]eople", results["verdict"] + judges[: judges.index("\n## ")]), "no person graded"
    capsys.readouterr()
    assert dispatch(["verify", str(folder.root)]) == 0, capsys.readouterr()


def test_a_judge_helps_grading_that_may_stop_at_any_time_where_coins_chose_the_prompts(make_trial, capsys):
    folder, results = make_trial(stopping={"margin": 0.1, "alpha": 0.05})
    settings = grading_state(folder).settings
    assert settings.stopping == {"margin": 0.1, "alpha": 0.05, "share": 12 / 40}
    (judge,) = results["judges"]
    assert judge["decides"] is True and "The judge llm helped stand-ins’ grades to it" in results["verdict"]
    pairs = {(row["a"], row["b"]): row for row in results["pairs"] if row["metric"] == "grade"}
    lora = pairs["base", "lora"]
    assert lora["low"] is None and lora["n_units"] == settings.prompts == 8, "twelve in expectation"
    alone = any_time(people_paths(_gaps(folder, "base", "lora"), margin=0.1), alpha=0.05)
    p_alone = 2 * min(alone.p_better, alone.p_worse)
    assert lora["p"] != pytest.approx(p_alone), "the judge has a part in it"
    assert lora["p"] <= 2 * p_alone + 1e-12, "and takes no more than half away"
    capsys.readouterr()
    assert dispatch(["verify", str(folder.root)]) == 0, capsys.readouterr()


def _gaps(folder, a, b):
    """People's differences, one sample a prompt and arm."""
    values = {}
    for row in unblinded_grades(folder):
        if row.rater_kind != "model":
            values.setdefault(row.prompt_id, {})[row.arm] = float(row.value == "good")
    return [row[a] - row[b] for row in values.values()]


def test_a_grade_that_no_stored_answer_gives_is_found(make_trial):
    folder, _ = make_trial()
    rows = folder.judge("llm").read_text(encoding="utf-8").splitlines()
    row = json.loads(rows[3])
    said = json.loads(row["raw"])["grade"]
    other = {"good": "bad", "bad": "good"}[said]
    row["raw"] = row["raw"].replace(f'"{said}"', f'"{other}"')
    rows[3] = json.dumps(row, ensure_ascii=False)
    folder.judge("llm").write_text("\n".join(rows) + "\n", encoding="utf-8")
    what = [row.what for row in verify(folder).mismatches]
    assert "judges/llm.jsonl, row 4: the raw answer" in what
    assert f"the grade of llm for {row['cell_id']}" in what


def test_people_alone_give_the_verdict_where_the_file_says_so(make_trial):
    _, results = make_trial(estimator="people")
    assert "helped by the judge" not in results["verdict"] and results["judges"][0]["decides"] is False


def test_without_people_the_judge_is_called_unaudited(make_trial):
    folder, results = make_trial(graded=False)
    assert results["judges"][0]["audit"]["reason"].startswith("unaudited")
    page = (folder.report / "report.md").read_text()
    assert "unaudited" in page and "kappa" not in page
