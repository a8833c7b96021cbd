"""A judge's number never stands without its audit, and the audit finds what was planted."""

import json
import random

import pytest
from grading_material import make_folder, sample
from judge_server import JudgeServer

from finetrial.evidence.findings_json import findings_object
from finetrial.evidence.judge_findings import judge_findings
from finetrial.evidence.trial_findings import open_grades_of
from finetrial.judging.grading_session import GradingSession
from finetrial.judging.model_judge import run_judge
from finetrial.judging.unblinding import lock
from finetrial.store.layout import TrialFolder
from finetrial.trial.schema import Trial

ARMS = ("base", "lora")
PROMPTS, GRADED = 40, 20


def texts():
    """lora's texts are good two times in three, base's one in three; good ones say so, and lengths vary."""
    rng = random.Random(0)
    rows = []
    for prompt in range(PROMPTS):
        for arm in ARMS:
            good = rng.random() < (2 / 3 if arm == "lora" else 1 / 3)
            words = " ".join(["word"] * rng.randint(1, 40))
            rows.append(sample(arm, prompt, 0, f"{'GOOD' if good else 'BAD'} {words} {arm[0]}{prompt}"))
    return rows


def is_good(text):
    return text.startswith("GOOD")


def judge_that(kind):
    def answer(user, body):
        if "ANSWER B:" in user:
            a, b = user.split("ANSWER A:\n", 1)[1].split("\n\nANSWER B:\n")
            takes_a = kind == "first" or is_good(a) > is_good(b)
            better = "A" if takes_a else "B" if is_good(b) > is_good(a) else "tie"
            return json.dumps({"note": "n", "better": better})
        text = user.split("ANSWER:\n", 1)[1]
        good = is_good(text)
        if kind == "long":
            good = len(text.split()) > 20
        if kind == "lora's friend":
            good = good or " l" in text
        return json.dumps({"note": "n", "reasons": [], "grade": "good" if good else "bad"})

    return answer


@pytest.fixture
def found(tmp_path):
    """A function from a kind of judge to its finding, with one person's grades on half of the prompts."""
    servers = []

    def find(kind, *, scale="good_bad", people=("Ada",), estimator="people", model="llama-judge"):
        server = JudgeServer(judge_that(kind))
        servers.append(server)
        judge = {"name": "llm", "endpoint": {"url": server.url, "model": model}, "scale": scale}
        trial = Trial.model_validate(
            {
                "trial": "t",
                "model": "SmolLM2-135M",
                "data": {"source": "x.jsonl"},
                "arms": {"base": {}, "lora": {"method": "lora"}},
                "judging": {
                    "primary": "grade",
                    "grade_prompts": GRADED,
                    "judges": [judge],
                    "estimator": estimator,
                },
            }
        )
        root = tmp_path / f"{kind}-{scale}-{len(people)}"
        folder: TrialFolder = make_folder(root, texts(), **trial.judging.model_dump())
        assert run_judge(folder, trial.judging.judges[0]).complete
        session = GradingSession(folder)
        for rater in people:
            session.book.join(rater)
            session.book.declare(rater, "person")
            for n, item in enumerate(session.items.values()):
                value = "good" if is_good(item.text) else "bad"
                event = {"uid": f"{rater}-{n:06}", "kind": "grade", "item_id": item.item_id, "value": value}
                session.record(event, rater=rater)
        session.close()
        lock(folder)
        grades = open_grades_of(folder)
        (finding,) = judge_findings(folder, trial, samples=texts(), grades=grades, open_grades=False)
        return finding

    yield find
    for server in servers:
        server.close()


def test_a_judge_that_agrees_is_shown_to_and_narrows_the_interval(found):
    finding = found("right", estimator="people+judge")
    audit = finding.audit
    assert audit.audited and audit.n_texts == 2 * GRADED and audit.raw.value == 1.0
    assert audit.kappa.value == audit.alpha.value == 1.0
    assert audit.sensitivity.share == audit.specificity.share == 1.0 and audit.sensitivity.low < 1
    assert audit.same_family == ARMS and audit.family == "llama"
    (pair,) = finding.pairs
    assert (pair.a, pair.b, pair.found.n_graded, pair.found.n_judged_alone) == ("base", "lora", GRADED, GRADED)
    assert pair.found.weight > 0.3 and pair.found.correlation == pytest.approx(1.0)
    assert 0 < pair.found.grades_saved < 1 and finding.decides
    assert pair.found.low < pair.found.difference < pair.found.high
    shares = {row.arm: row.share for row in finding.shares}
    assert shares["lora"].corrected > shares["base"].corrected
    assert json.loads(json.dumps(findings_object_of(finding)))["audit"]["n_texts"] == 40


def findings_object_of(finding):
    from finetrial.evidence.findings import Findings

    return findings_object(Findings(verdict="", judges=(finding,)))["judges"][0]


def test_a_judge_that_likes_length_has_the_slope_that_people_lack(found):
    audit = found("long").audit
    assert audit.length_slope.low > 0.1
    assert audit.people_length_slope.low < 0 < audit.people_length_slope.high
    assert audit.raw.value < 0.8


def test_a_judge_that_favours_an_arm_is_found_leaning(found):
    finding = found("lora's friend")
    errors = {row.arm: row.error for row in finding.audit.arm_errors}
    assert errors["lora"].mean > 0.2 and errors["base"].mean == 0
    (bias,) = finding.audit.pair_biases
    assert bias.bias.mean < 0 and bias.p_holm < 0.05 and finding.audit.leans == (bias,)


def test_a_judge_of_pairs_that_takes_the_first_shown_switches_and_is_told(found):
    audit = found("first", scale="pairs").audit
    assert (audit.switches.hits, audit.switches.of) == (PROMPTS, PROMPTS)
    assert audit.first_shown.share == 1.0 and audit.sensitivity is None and audit.arm_errors == ()
    fair = found("right", scale="pairs", people=()).audit
    assert fair.switches.hits == 0 and not fair.audited and fair.reason.startswith("unaudited")


def test_without_people_a_judge_is_unaudited_and_gives_no_interval(found):
    finding = found("right", people=())
    assert not finding.audit.audited and finding.audit.raw is None and finding.audit.sensitivity is None
    assert finding.pairs[0].found.low is None and "people graded 0" in finding.pairs[0].found.reason


def test_with_two_people_the_judge_is_tested_as_their_replacement(found):
    audit = found("right", people=("Ada", "Bea")).audit
    assert audit.replacement.passes is True and audit.replacement.winning_rate == 1.0
    assert {row.n_texts for row in audit.replacement.by_rater} == {2 * GRADED}
