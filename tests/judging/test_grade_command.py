"""`finetrial grade` and `finetrial unblind`, from a file of outputs to what people found."""

import json
import signal
import subprocess
import sys
import time

import pytest

from finetrial.cli.main import dispatch
from finetrial.judging.grading_session import GradingSession
from finetrial.judging.outputs_trial import read_outputs
from finetrial.store.grade_key import unblinded_grades, unblinded_pairs
from finetrial.store.layout import TrialFolder


def write_outputs(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def outputs(path, *, prompts=8, arms=("base", "my model"), **extra):
    rows = [
        {"prompt": f"Q{p}", "arm": arm, "text": f"answer {n} {i} of {p}", **extra}
        for p in range(prompts)
        for n, arm in enumerate(arms)
        for i in range(2)
    ]
    return write_outputs(path, rows)


def run(*arguments):
    return dispatch([str(argument) for argument in arguments])


def answer(capsys, *arguments):
    assert run(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def grade_all(folder, judge, *, raters=("Anna",), explained=False):
    """Every rater grades by `judge(rater, text)`, as the page would send it; None leaves a text ungraded."""
    session = GradingSession(folder)
    for rater in raters:
        session.book.join(rater)
        for n, item in enumerate(session.items.values()):
            event = {"uid": f"{rater}-{n:08}", "kind": "grade", "item_id": item.item_id}
            if (value := judge(rater, item.text)) is not None:
                said = {"reasons": ["off_task"]} if value == "bad" and explained else {}
                session.record({**event, "value": value, "shown_ms": 2000, **said}, rater=rater)
    session.close()


def test_a_file_of_outputs_becomes_a_trial_that_can_be_graded(tmp_path, capsys):
    file = outputs(tmp_path / "outs.jsonl", reference="answer 1")
    assert run("grade", file, "--criterion", "Good is right.", "--export", tmp_path / "page.html") == 0
    folder = TrialFolder(tmp_path / "runs" / "outs")
    assert "called my-model here" in capsys.readouterr().err
    assert {p.name for p in (folder.root / "samples").iterdir()} == {"base.jsonl", "my-model.jsonl"}
    assert json.loads(folder.manifest.read_text())["outputs_only"] is True
    assert len(folder.scores.read_text().splitlines()) == 32 * 3
    grade_all(folder, lambda rater, text: "good" if text.startswith("answer 1") else "bad", explained=True)
    result = answer(capsys, "unblind", folder.root, "--yes")["results"]
    arms = {arm["arm"]: arm for arm in result["arms"]}
    assert (arms["base"]["good"], arms["base"]["bad"]) == (0, 16)
    assert (arms["my-model"]["good"], arms["my-model"]["bad"]) == (16, 0)
    grid = result["grid"]["prompts"]
    assert sum(row["arms"]["my-model"]["good"] for row in grid) == 16
    assert sum(row["arms"]["base"]["of"] for row in grid) == 16
    assert result["newly_locked"] is True and result["facts"]["median_seconds"] == 2.0
    assert run("unblind", folder.root) == 0
    (total,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  all ")]
    assert total == ["all", "0/16", "16/16"]
    again = answer(capsys, "unblind", folder.root)["results"]
    assert again["newly_locked"] is False and again["arms"] == result["arms"]
    assert run("report", folder.root) == 0
    page = (folder.report / "report.md").read_text()
    assert "Good answers by prompt" in page and page.count("| 0/2 | 2/2 |") == 8
    assert (
        "| All prompts | 0/16 (0.00 to 0.32) | 16/16 (0.68 to 1.00) |" in page
        and "<details" not in page[: page.index("All prompts")]
    )
    assert page.index("All prompts") < page.index("## Scores")  # what people said stands right after the verdict
    assert (
        page.count("**good**") == 16 and page.count("**bad (off task)**") == 16
    )  # beside each answer what was said
    assert "| Reason | base |" in page
    assert "temperature" not in page and "random numbers" not in page  # nobody told how these were sampled
    assert "not known: the answers were made elsewhere" in page


def test_before_unblinding_nothing_is_told_and_it_must_be_meant(tmp_path, capsys):
    file = outputs(tmp_path / "outs.jsonl")
    run("grade", file, "--export", tmp_path / "page.html")
    capsys.readouterr()
    assert run("unblind", file, "--yes") == 2  # it would lock everybody out before the first grade
    assert "nobody has graded anything" in capsys.readouterr().err
    folder = TrialFolder(tmp_path / "runs" / "outs")
    grade_all(folder, lambda rater, text: "good" if text.startswith("answer 1") else None)
    assert run("unblind", file) == 2  # no terminal to ask, no --yes
    error = capsys.readouterr().err
    assert "cannot be undone" in error and "16 of 32" in error and "--yes" in error
    with pytest.raises(Exception, match="still blind"):
        unblinded_grades(folder)


def test_several_raters_agree_guess_and_disagree(tmp_path, capsys):
    file = outputs(tmp_path / "outs.jsonl", prompts=4)
    run("grade", file, "--raters", 2, "--export", tmp_path / "pages")
    folder = TrialFolder(tmp_path / "runs" / "outs")

    def judge(rater, text):
        if text == "answer 0 0 of 0":  # the two disagree on this one alone: an even vote
            return {"Anna": "good", "Ben": "bad"}[rater]
        return "good" if text.startswith("answer 1") else "bad"

    grade_all(folder, judge, raters=("Anna", "Ben"))
    session = GradingSession(folder)
    owner = {i: members[0][2] for i, members in json.loads(folder.key.read_text())["items"].items()}
    for n, item in enumerate(sorted(session.items)[:9]):
        session.record({"uid": f"g-{n:08}", "kind": "guess", "item_id": item, "value": owner[item]}, rater="Anna")
    session.close()
    capsys.readouterr()
    assert run("unblind", folder.root, "--yes") == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines() if "finetrial report" not in line)
    assert "base" in text and "0/7" in text and "8/8" in text
    assert "Raters agree on 94 % of 16 texts" in text  # 15 of 16
    assert "Guesses which arm wrote what: 9 of 9 right" in text


def test_references_that_are_not_there_cannot_be_mixed_in_and_leave_nothing_behind(tmp_path, capsys):
    file = outputs(tmp_path / "outs.jsonl")
    assert run("grade", file, "--references", "--export", tmp_path / "p.html") == 2
    assert "no references to mix in. Leave out --references" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert run("grade", file, "--export", tmp_path / "p.html") == 0


def test_references_and_repeats_can_be_mixed_in(tmp_path):
    file = outputs(tmp_path / "outs.jsonl", prompts=10, reference="the reference")
    assert run("grade", file, "--references", "--repeats", "5%", "--export", tmp_path / "p.html") == 0
    folder = TrialFolder(tmp_path / "runs" / "outs")
    session = GradingSession(folder)
    assert len(session.items) == 50
    plan = session.plan(session.book.join("Anna"), mode="single")
    assert (
        sum(cell.occurrence == 2 for block in plan.blocks for cell in block.cells) == 2
    )  # 5 % of 50, halves to even
    session.close()
    grade_all(folder, lambda rater, text: "good" if text == "the reference" else "bad")
    run("unblind", folder.root, "--yes")
    by_arm = {}
    for grade in unblinded_grades(folder):
        by_arm.setdefault(grade.arm, set()).add(grade.value)
    assert by_arm == {"references": {"good"}, "base": {"bad"}, "my-model": {"bad"}}


def test_side_by_side_choices_rank_the_arms(tmp_path, capsys):
    file = outputs(tmp_path / "outs.jsonl", arms=("a", "b", "c"))
    run("grade", file, "--pairs", "--export", tmp_path / "p.html")
    folder = TrialFolder(tmp_path / "runs" / "outs")
    session = GradingSession(folder)
    session.book.join("Anna")
    # Arm c (answer 2) wins over b wins over a, but every fifth choice falls the other way.
    for n, pair in enumerate(session.pairs.values()):
        first, second = (session.items[i].text for i in (pair.first, pair.second))
        value = "first" if (first[:8] > second[:8]) != (n % 5 == 0) else "second"
        event = {"uid": f"p-{n:08}", "kind": "grade", "mode": "pairs", "item_id": pair.pair_id}
        session.record({**event, "value": value, "left": "first"}, rater="Anna")
    session.close()
    capsys.readouterr()
    result = answer(capsys, "unblind", folder.root, "--yes")["results"]
    strengths = {arm: s["value"] for arm, s in result["facts"]["strengths"]["strengths"].items()}
    assert result["facts"]["choices"] == 48 and strengths["a"] < strengths["b"] < strengths["c"]
    wins = [p for p in unblinded_pairs(folder) if {p.arm_a, p.arm_b} == {"a", "c"}]
    assert len(wins) == 16 and sum(p.winner == "b" for p in wins) > 8


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("{", "line 1 is not JSON"),
        ("[1]", "line 1 is not an object"),
        ('{"prompt": "p", "text": "t"}', "no arm"),
        ('{"prompt": "p", "arm": "a"}', "no text"),
        ('{"arm": "a", "text": "t"}', "no prompt"),
        ('{"prompt": "p", "arm": "///", "text": "t"}', "no name"),
        ("", "holds no outputs"),
    ],
)
def test_a_wrong_line_of_outputs_is_named(tmp_path, capsys, rows, message):
    path = tmp_path / "outs.jsonl"
    path.write_text(rows)
    assert run("grade", path, "--no-open") == 2
    assert message in capsys.readouterr().err


def test_odd_outputs_are_read_as_they_are(tmp_path):
    rows = [
        {"prompt": "p\u2028q", "arm": "a/b", "text": ""},
        {"prompt": "p\u2028q", "arm": "a b", "text": "half \ud83d of a character"},
        {"prompt": "p\u2028q", "arm": "a/b", "text": "again", "references": ["r1", "r2"], "group": 7},
    ]
    path = tmp_path / "outs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:2]) + json.dumps(rows[2], ensure_ascii=False))
    found = read_outputs(path)
    assert found.arms == ("a-b", "a-b-2") and found.samples[0].text == ""
    assert found.samples[1].text == "half \ufffd of a character"
    assert [s.id for s in found.samples] == ["a-b/prompt-1/0", "a-b-2/prompt-1/0", "a-b/prompt-1/1"]
    assert found.samples[2].references == ("r1", "r2") and found.samples[2].group == "7"


def test_a_csv_of_outputs(tmp_path):
    path = tmp_path / "outs.csv"
    path.write_text('prompt,arm,text,reference\n"one, two",a,"line\nbreak",r\n"one, two",a,,\n')
    first, second = read_outputs(path).samples
    assert (first.prompt, first.text, first.references) == ("one, two", "line\nbreak", ("r",))
    assert (second.text, second.references, second.index) == ("", (), 1)


def test_an_option_of_files_is_refused_for_trials(tmp_path, capsys):
    file = outputs(tmp_path / "outs.jsonl")
    run("grade", file, "--export", tmp_path / "p.html")
    capsys.readouterr()
    assert run("grade", tmp_path / "runs" / "outs", "--criterion", "x") == 2
    assert "trial file" in capsys.readouterr().err


def test_a_remote_shell_is_offered_the_bundle(tmp_path):
    """The real command in a process of its own, as over ssh; stopped by Ctrl-C once it has spoken."""
    file = outputs(tmp_path / "outs.jsonl", prompts=1)
    program = f"import sys; from finetrial.cli.main import dispatch; sys.exit(dispatch(['grade', {str(file)!r}]))"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/bin", "SSH_CONNECTION": "1 2 3 4"},
    )
    first = process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    assert "http://127.0.0.1:" in first and process.returncode == 0
    assert "remote shell" in errors and "--export page.html" in errors and "ssh -L" in errors
    assert "Traceback" not in errors and "Stopped" in rest


def test_torch_is_never_loaded(tmp_path):
    file = outputs(tmp_path / "outs.jsonl", prompts=1, reference="r")
    grades = tmp_path / "grades.csv"
    graded = json.loads(file.read_text().splitlines()[0])
    grades.write_text(f"prompt,text,rater,value\n{graded['prompt']},{graded['text']},Anna,good\n")
    program = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from finetrial.cli.main import dispatch\n"
        f"assert dispatch(['grade', {str(file)!r}, '--export', {str(tmp_path / 'p.html')!r}]) == 0\n"
        f"assert dispatch(['grade', {str(file)!r}, '--import', {str(grades)!r}]) == 0\n"
        f"assert dispatch(['unblind', {str(tmp_path / 'runs' / 'outs')!r}, '--yes']) == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_file_of_outputs_is_scored_as_any_trial_and_only_once(tmp_path, capsys):
    file = outputs(tmp_path / "outs.jsonl", reference="answer 1")
    run("grade", file, "--export", tmp_path / "page.html")
    folder = TrialFolder(tmp_path / "runs" / "outs")
    assert folder.judging.exists() and folder.diagnostics.exists()
    assert "score" in json.loads(folder.manifest.read_text())["steps"]
    before = folder.scores.stat().st_mtime_ns
    run("grade", file, "--export", tmp_path / "page.html")
    assert folder.scores.stat().st_mtime_ns == before
    assert "32 different texts for 8 prompts" in capsys.readouterr().err
    found = answer(capsys, "score", folder.root)
    assert found["recommendation"]["cost_order"] == [] and "not known here" in found["recommendation"]["text"]


def test_outputs_without_references_are_judged_by_people_alone(tmp_path, capsys):
    file = outputs(tmp_path / "outs.jsonl")
    run("grade", file, "--export", tmp_path / "page.html")
    folder = TrialFolder(tmp_path / "runs" / "outs")
    assert folder.scores.read_text() == ""
    grade_all(folder, lambda rater, text: "good" if text.startswith("answer 1") else "bad")
    capsys.readouterr()
    assert run("unblind", folder.root, "--yes") == 0 and run("report", folder.root) == 0
    results = json.loads((folder.report / "results.json").read_text())
    assert results["recommendation"]["arm"] == "my-model"
    assert "FLOPs" not in results["recommendation"]["text"]
