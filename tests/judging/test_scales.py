"""Scales beside good and bad: one rule says which answers count as good, for k of n and for the test alike."""

import json

import pytest
from grading_material import distinct_samples, make_folder, sample

from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.evidence.trial_findings import trial_findings
from finetrial.judging.export_grades import Shape, save_grades
from finetrial.judging.grading_session import GradingSession
from finetrial.judging.import_grades import import_files
from finetrial.judging.unblinding import lock, unblinded
from finetrial.store.grades import read_events, read_grades
from finetrial.store.layout import TrialFolder
from finetrial.trial.schema import OwnLabels
from finetrial.trial.trial_file import parse_trial

OWN = OwnLabels(labels=("excellent", "usable", "poor"), good=("excellent", "usable"))


def answered(folder, answers):
    """One rater gives these answers to the items in the order of their ids."""
    session = GradingSession(folder)
    session.book.join("Anna")
    for n, (item, value) in enumerate(zip(sorted(session.items), answers, strict=False)):
        session.record({"uid": f"uid-{n:08}", "kind": "grade", "item_id": item, "value": value}, rater="Anna")
    session.close()
    return [(grade.value, grade.label) for grade in read_grades(folder)]


def test_on_five_points_four_and_five_count_as_good_and_the_point_is_kept(tmp_path):
    folder = make_folder(tmp_path / "t", distinct_samples(prompts=1), scale="1-5")
    said = answered(folder, ["1", "2", "3", "4", "5", "unsure"])
    assert said == [("bad", "1"), ("bad", "2"), ("bad", "3"), ("good", "4"), ("good", "5"), ("unsure", None)]
    assert [event.label for _, event in read_events(folder)] == ["1", "2", "3", "4", "5", None]


def test_own_labels_count_as_the_trial_file_says(tmp_path):
    folder = make_folder(tmp_path / "t", distinct_samples(prompts=1), scale=OWN)
    said = answered(folder, ["excellent", "usable", "poor"])
    assert said == [("good", "excellent"), ("good", "usable"), ("bad", "poor")]


@pytest.mark.parametrize(
    ("scale", "value"), [("1-5", "good"), ("1-5", "6"), ("1-5", 4), (OWN, "1"), ("good_bad", "4")]
)
def test_an_answer_of_another_scale_is_refused(tmp_path, scale, value):
    folder = make_folder(tmp_path / "t", distinct_samples(prompts=1), scale=scale)
    with pytest.raises(UserError, match="unknown grade"):
        answered(folder, [value])
    assert read_events(folder) == ()


def test_a_scale_is_fixed_by_the_first_grade(tmp_path):
    folder = make_folder(tmp_path / "t", distinct_samples(prompts=1), scale=OWN)
    make_folder(tmp_path / "t", distinct_samples(prompts=1), scale="1-5")  # nobody has graded yet
    answered(folder, ["5"])
    with pytest.raises(UserError, match="another scale"):
        make_folder(tmp_path / "t", distinct_samples(prompts=1), scale="good_bad")
    stricter = OwnLabels(labels=("1", "2", "3", "4", "5"), good=("5",))
    with pytest.raises(UserError, match="fixed before anybody grades"):
        make_folder(tmp_path / "t", distinct_samples(prompts=1), scale=stricter)
    make_folder(tmp_path / "t", distinct_samples(prompts=1), scale="1-5")
    assert [grade.label for grade in read_grades(folder)] == ["5"]


def test_grades_on_another_scale_have_another_rubric(tmp_path):
    hashes = set()
    for name, scale, value in (("a", "good_bad", "good"), ("b", "1-5", "5"), ("c", OWN, "poor")):
        folder = make_folder(tmp_path / name, distinct_samples(prompts=1), scale=scale)
        answered(folder, [value])
        hashes.add(read_grades(folder)[0].rubric_hash)
    assert len(hashes) == 3


def outputs_trial(root, scale):
    """A folder that `unblind` and the verdict read: two arms, six prompts, graded on a scale."""
    rows = [
        {"prompt": f"Q{p}", "arm": arm, "text": f"answer {n} of {p}"}
        for p in range(8)
        for n, arm in enumerate(("base", "tuned"))
    ]
    file = root / "outs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert dispatch(["grade", str(file), "--scale", scale, "--export", str(root / "page.html")]) == 0
    return TrialFolder(root / "runs" / "outs")


def test_k_of_n_and_the_test_use_the_one_rule(tmp_path):
    folder = outputs_trial(tmp_path, "1-5")
    session = GradingSession(folder)
    session.book.join("Anna")
    session.book.declare("Anna", "stand-in")
    for n, item in enumerate(sorted(session.items.values(), key=lambda item: item.prompt)):
        # tuned: 4 or 5 on every prompt but one, base: 3, which a mean would count as half good
        value = "3" if item.text.startswith("answer 0") else "1" if item.prompt == "Q0" else "45"[n % 2]
        event = {"uid": f"uid-{n:08}", "kind": "grade", "item_id": item.item_id, "value": value}
        session.record(event, rater="Anna")
    session.close()
    assert lock(folder)
    result = unblinded(folder, newly_locked=True)
    arms = {arm.arm: arm for arm in result.arms}
    assert (arms["tuned"].good, arms["tuned"].bad) == (7, 1) and (arms["base"].good, arms["base"].bad) == (0, 8)
    tuned = arms["tuned"].labels
    assert (tuned["1"], tuned["2"], tuned["3"], tuned["4"] + tuned["5"]) == (1, 0, 0, 7)
    assert result.facts.kinds == {"Anna": "stand-in"} and result.facts.word == "stand-ins"
    assert result.facts.rule == "4 and 5 count as good, 1, 2 and 3 as bad"
    (pair,) = [p for p in trial_findings(folder).pairs if p.metric == "grade"]
    assert abs(pair.difference) == pytest.approx(7 / 8)  # the same eight grades, by the same rule


def test_unblinding_says_the_rule_and_what_the_raters_were(tmp_path, capsys):
    folder = outputs_trial(tmp_path, "1-5")
    answered(folder, ["5", "1"] * 8)
    capsys.readouterr()
    assert dispatch(["unblind", str(folder.root), "--yes"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "4 and 5 count as good, 1, 2 and 3 as bad" in printed and "not declared" in printed


def test_points_leave_and_come_home(tmp_path):
    folder = make_folder(tmp_path / "t", distinct_samples(prompts=1), scale="1-5")
    answered(folder, ["5", "3", "unsure"])
    saved = save_grades(folder, tmp_path / "g.csv", shape=Shape.CSV)
    copy = make_folder(tmp_path / "copy", distinct_samples(prompts=1), scale="1-5")
    session = GradingSession(copy)
    import_files(session, [saved.path])
    sheet = tmp_path / "sheet.csv"
    item = sorted(session.items)[3]
    sheet.write_text(f"rater;value;item_id\nBen;4.0;{item}\n")
    import_files(session, [sheet])
    sheet.write_text(f"rater;value;item_id\nBen;good;{item}\n")
    with pytest.raises(UserError, match="unknown grade") as caught:
        import_files(session, [sheet])
    assert "1, 2, 3, 4, 5" in str(caught.value)
    session.close()
    said = {(g.rater, g.value, g.label) for g in read_grades(copy)}
    assert said == {("Anna", "good", "5"), ("Anna", "bad", "3"), ("Anna", "unsure", None), ("Ben", "good", "4")}


TRIAL = "trial: a\nmodel: starter\ndata: {source: a.jsonl}\narms: {base: {}}\njudging:\n  scale: "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1-7", "must be good_bad, 1-5, or own labels"),
        ("[a, b]", "must be good_bad, 1-5, or own labels"),
        ("{labels: [a, b], good: [c]}", "`good` names 'c', which is none of `labels`"),
        ("{labels: [a, b], good: [a, b]}", "no grade could be bad"),
        ("{labels: [a, A], good: [a]}", "two of `labels` are the same"),
        ("{labels: [a], good: [a]}", "two to nine"),
        ("{labels: [yes, no], good: [yes]}", "in quotes"),
        ("{labels: [fine, unsure], good: [fine]}", "leave it out"),
        ("{labels: [a, b], god: [a]}", "Did you mean 'good'"),
    ],
)
def test_an_invalid_scale_is_one_error_with_its_line(text, message):
    with pytest.raises(UserError) as caught:
        parse_trial(TRIAL + text, origin="t.yaml")
    assert message in str(caught.value) and "judging.scale" in str(caught.value) and "line 6" in str(caught.value)


def test_scales_of_a_trial_file_are_read():
    assert parse_trial(TRIAL + "1-5", origin="t.yaml").judging.scale == "1-5"
    own = parse_trial(TRIAL + "{labels: [1, 2, 3], good: [3]}", origin="t.yaml").judging.scale
    assert own == OwnLabels(labels=("1", "2", "3"), good=("3",))


def test_a_sample_of_one_text_has_the_turns_of_its_chat(tmp_path):
    turns = (("user", "Hello"), ("assistant", "Yes?"), ("user", "Who are you?"))
    rows = [
        type(row)(**{**{f: getattr(row, f) for f in row.__slots__}, "turns": turns, "source": "as one text"})
        for row in (sample("base", 0, 0, "a"), sample("lora", 0, 0, "b"))
    ]
    folder = make_folder(tmp_path / "t", rows)
    session = GradingSession(folder)
    content = session.block_content(session.plan(session.book.join("Anna"), mode="single"), 0)
    session.close()
    assert [list(turn) for turn in content["turns"]] == [list(turn) for turn in turns]
    assert content["prompt"] == "as one text"
