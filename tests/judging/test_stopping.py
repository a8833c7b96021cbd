"""Grading that may stop any time: enough or not is told, who leads is not, and the server never holds the key."""

import json
import os
import re
import sys
import threading
import time
import urllib.request

import pytest
import yaml
from grading_material import distinct_samples, make_folder
from judge_server import JudgeServer

from finetrial.evidence.grading_stand import any_time_comparisons, grading_stand
from finetrial.judging.grading_session import GradingSession
from finetrial.judging.model_judge import run_judge
from finetrial.judging.page_content import about
from finetrial.judging.server import serve
from finetrial.judging.unblinding import lock
from finetrial.store.grade_key import read_sealed_key, unblinded_grades
from finetrial.store.grades import grading_state
from finetrial.store.records import Item, read_rows
from finetrial.store.stopping_record import read_stand
from finetrial.trial.judges import JudgeSetting
from finetrial.trial.schema import Judging
from finetrial.trial.subset import unit_order
from finetrial.workflow.stopping_watch import look, watching

RULE = {"margin": 0.1, "alpha": 0.05}
ARMS = ("base", "lora")


@pytest.fixture
def folder(tmp_path):
    samples = distinct_samples(prompts=30, arms=("base", "lora"), per_prompt=2)
    return make_folder(tmp_path / "any time", samples, stopping=RULE, criterion="Good is short.")


def grade(folder, *, prompts, good=("lora",), rater="Ada", kind="person"):
    """A rater grades whole prompts, an arm's texts good or bad; `good` may hang on the prompt."""
    session, key = GradingSession(folder), read_sealed_key(folder)
    session.book.join(rater)
    session.book.declare(rater, kind)
    names = sorted({item.prompt for item in session.items.values()})[:prompts]
    for n, item in enumerate(sorted(session.items.values(), key=lambda i: (i.prompt, i.item_id))):
        if item.prompt in names:
            arms = good(item.prompt) if callable(good) else good
            value = "good" if key.items[item.item_id][0].arm in arms else "bad"
            event = {"uid": f"{rater}-{n:06}", "kind": "grade", "item_id": item.item_id, "value": value}
            session.record(event, rater=rater)
    session.close()


def test_enough_is_told_as_soon_as_it_is_and_nothing_of_the_arms(folder):
    assert (
        grading_stand(folder).sentence() == "0 of 30 prompts are graded; how many more it takes cannot be told yet."
    )
    grade(folder, prompts=3)
    stand = grading_stand(folder)
    assert not stand.enough and 1 <= stand.prompts_more <= 20 and (stand.prompts, stand.of) == (3, 30)
    grade(folder, prompts=15)
    look(folder)
    told = json.loads(folder.stopping.read_text())
    assert told["enough"] is True and set(told) == {"enough", "prompts_more", "prompts", "of", "events"}
    text = folder.stopping.read_text()
    assert not any(word in text for word in ("base", "lora", "better", "first"))
    session = GradingSession(folder)
    assert "that is enough" in about(session, mode="single")["reach"][-1]
    session.close()


def test_which_arm_is_better_changes_nothing_that_is_told(tmp_path):
    told = []
    for leading in ("base", "lora"):
        samples = distinct_samples(prompts=12, arms=("base", "lora"), per_prompt=2)
        folder = make_folder(tmp_path / leading, samples, stopping=RULE)
        grade(folder, prompts=4, good=(leading,))
        told.append(grading_stand(folder))
    assert told[0] == told[1]


def test_the_watcher_is_another_process_and_the_key_stays_sealed_in_the_log(folder):
    with watching(folder):
        grade(folder, prompts=15)
        deadline = time.monotonic() + 30
        while (stand := read_stand(folder)) is None or not stand.enough:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert grading_state(folder).opened_at is None
    lock(folder)
    assert all(row.blind for row in unblinded_grades(folder))


def test_the_server_never_opens_the_key(folder):
    grade(folder, prompts=15)
    look(folder)
    opened, until, addresses, ready = [], threading.Event(), [], threading.Event()
    key, active = os.fspath(folder.key), [True]

    def hook(event, args):
        if active[0] and event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
            opened.append(os.fspath(args[0]))

    sys.addaudithook(hook)

    def start():
        serve(folder, on_ready=lambda address: (addresses.append(address), ready.set()), until=until)

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    try:
        assert ready.wait(20)
        page = urllib.request.urlopen(addresses[0].progress, timeout=10).read().decode()
        start_screen = urllib.request.urlopen(f"{addresses[0].url}api/start", timeout=10).read().decode()
    finally:
        until.set()
        thread.join(10)
        active[0] = False
    assert "that is enough" in page and "that is enough" in start_screen
    assert any("items.jsonl" in str(name) for name in opened) and key not in [str(name) for name in opened]


def test_the_e_process_gives_the_verdict_and_no_fixed_size_interval(folder):
    grade(folder, prompts=15)
    lock(folder)
    (pair,) = any_time_comparisons(folder, confirmatory=True)
    assert (pair.a, pair.b, pair.n_units, pair.n_missing) == ("base", "lora", 15, 15)
    assert pair.is_worse and pair.low is None and "not valid after stopping early" in pair.reason
    assert (pair.wins, pair.losses, pair.ties) == (0, 15, 0) and pair.difference == -1.0


def test_grading_that_declares_no_stopping_is_told_nothing(tmp_path):
    folder = make_folder(tmp_path / "fixed", distinct_samples())
    assert grading_stand(folder) is None
    look(folder)
    assert not folder.stopping.exists() and any_time_comparisons(folder, confirmatory=True) == ()


def helped(root, *, wrong=()):
    """Forty prompts, all judged; fourteen of those for people are graded. The judge errs on the `wrong` ones.

    Gives what the e-process says, and the units in their drawn order with whether they are for people.
    """

    def answer(user, body):
        number = int(re.search(r"PROMPT:\nprompt (\d+)", user)[1])
        good = ("text 1" in user or number % 5 == 0) != (number in wrong)
        return json.dumps({"note": "n", "reasons": [], "grade": "good" if good else "bad"})

    server = JudgeServer(answer)
    judge = {"name": "llm", "endpoint": {"url": server.url, "model": "served"}}
    judging = {"grade_prompts": 24, "stopping": RULE, "estimator": "people+judge", "judges": [judge]}
    trial = {"trial": "t", "model": "m", "data": {"source": "x.jsonl"}, "judging": {"primary": "grade", **judging}}
    samples = distinct_samples(prompts=40, arms=("base", "lora"), per_prompt=1)
    folder = make_folder(root, samples, **Judging.model_validate(judging).model_dump())
    folder.trial.write_text(yaml.safe_dump({**trial, "arms": {"base": {}, "lora": {"method": "full"}}}))
    assert run_judge(folder, JudgeSetting.model_validate(judge)).complete
    server.close()
    grade(folder, prompts=14, good=lambda prompt: ARMS if int(prompt.split()[1]) % 5 == 0 else ARMS[1:])
    (pair,) = any_time_comparisons(folder, confirmatory=True)
    for_people = {item.prompt for item in read_rows(folder.items, Item) if item.for_people}
    order = unit_order([f"prompt p{n}" for n in range(40)], seed=0)
    numbers = [int(unit.removeprefix("prompt p")) for unit in order]
    return pair, [(n, f"prompt {n}" in for_people) for n in numbers]


def test_a_judge_counts_up_to_the_first_place_that_awaits_people_and_no_further(tmp_path):
    plain, order = helped(tmp_path / "plain")
    places = [place for place, (_, for_people) in enumerate(order) if for_people]
    assert plain.n_units == 14 < len(places), "some await people"
    # what is not for people stands where it was drawn, before or behind the first place that awaits them
    before = [n for n, for_people in order[: places[14]] if not for_people]
    behind = [n for n, for_people in order[places[14] :] if not for_people]
    assert before and behind
    assert helped(tmp_path / "behind", wrong=behind)[0].p == plain.p
    assert helped(tmp_path / "before", wrong=before)[0].p > plain.p
