"""Prompts of one's own, that have no right answer: a trial that people judge holds them out all the same."""

import io
import json
import os
import pty
import subprocess
import sys

import pytest
from tiny_trials import TRIAL, Lines, make_base
from trials import SHARED

from finetrial.api.trial import Trial
from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.evidence.outputs_file import read_outputs_file
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Item, Measured, Sample, Score, read_object, read_rows
from finetrial.trial.data import read_splits
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial

# Five lines that no text goes on from: written here
VERSE = [
    "The tide went out and left the boats to lean,",
    "I kept your letter folded in the clock,",
    "No bird would cross the field the fire had been,",
    "My father whistled when he turned the lock,",
    "And all that year the orchard would not green,",
]
OWN = (
    TRIAL.replace("source: rows.jsonl", "source: {train: rows.jsonl, heldout: verse.jsonl}")
    .replace("  heldout: 10\n", "")
    .replace("prompts: 6", "prompts: 5")
    .replace("judging: {grade_prompts: 2}", "judging: {primary: grade, grade_prompts: 5}")
)


def prepared(base, *, rows=None):
    make_base(base)
    rows = [{"prompt": line} for line in VERSE] if rows is None else rows
    (base / "verse.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (base / "tiny.yaml").write_text(OWN)
    return base / "tiny.yaml"


@pytest.fixture(scope="module")
def judged_by_people(tmp_path_factory):
    path = prepared(tmp_path_factory.mktemp("own"))
    folder = TrialFolder(path.parent / "run")
    return folder, run_trial(TrialContext(load_trial(path), folder, listener=Lines()))


def test_prompts_without_a_completion_are_sampled_by_every_arm_and_set_aside_for_people(judged_by_people):
    folder, done = judged_by_people
    assert done.failures == {}
    for arm in ("base", "prompted", "full", "lora"):
        samples = list(read_rows(folder.samples(arm), Sample))
        assert len(samples) == 10 and {s.source for s in samples} == set(VERSE)
        assert {s.references for s in samples} == {()}
        assert read_object(folder.measured(arm), Measured).heldout_loss is None, "there is nothing to measure it on"
    # two samples a prompt, five prompts, four arms: 40 texts, fewer where an arm said the same twice
    assert len({i.prompt for i in read_rows(folder.items, Item)}) == 5


def test_a_metric_that_compares_with_a_completion_is_not_asked_and_never_zero(judged_by_people):
    folder, done = judged_by_people
    scores = list(read_rows(folder.scores, Score))
    assert len(scores) == 40 * 3 and {s.value for s in scores} == {None}
    assert "not asked" in done.report.terminal
    assert "Not asked: ROUGE-1, ROUGE-2 and ROUGE-L, for no prompt has a completion" in done.report.html.read_text()
    (warning,) = [text for text in done.findings.warnings if "not asked" in text]
    assert warning.startswith("ROUGE-1, ROUGE-2 and ROUGE-L are not asked of 40 of 40 samples")
    assert not any("have no ROUGE" in text for text in done.findings.warnings)


def test_check_says_how_many_rows_have_no_completion(tmp_path, capsys):
    path = prepared(tmp_path)
    assert dispatch(["check", str(path)]) == 0
    assert "5 of 5 held-out rows have no completion" in " ".join(capsys.readouterr().out.split())
    rows = [{"prompt": line, "completion": "and so on" if place < 2 else ""} for place, line in enumerate(VERSE)]
    splits = read_splits(load_trial(prepared(tmp_path, rows=rows)))
    assert [e.references for e in splits.heldout] == [("and so on",)] * 2 + [()] * 3
    assert any(note.startswith("3 of 5 held-out rows") for note in splits.notes)


def test_a_metric_that_decides_and_compares_refuses_them_and_names_what_would_not(tmp_path):
    path = prepared(tmp_path)
    with pytest.raises(UserError, match=r"5 of 5 rows, such as verse.jsonl:1.*primary: grade") as refused:
        read_splits(load_trial(path, overrides=["judging.primary=rouge1"]))
    assert "judging.primary: rouge1 compares with one" in refused.value.what
    # valid JSON can be judged without knowing the right answer
    assert len(read_splits(load_trial(path, overrides=["judging.primary=json"])).heldout) == 5


def test_a_training_row_without_a_completion_is_refused_as_ever(tmp_path):
    path = prepared(tmp_path)
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "The cat sat."}) + "\n")
    with pytest.raises(UserError, match=r"rows.jsonl:81 has no column 'completion'"):
        read_splits(load_trial(path))


def test_a_chat_that_ends_with_the_users_turn_is_a_prompt(tmp_path):
    make_base(tmp_path)
    chat = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day."}]
    asked = {"role": "user", "content": VERSE[0]}
    train = [{"messages": [{"role": "user", "content": f"Hello {n}"}, chat[1]]} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in train))
    held = [{"messages": [asked]}, {"messages": [*chat, asked]}]
    (tmp_path / "verse.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
    (tmp_path / "tiny.yaml").write_text(OWN.replace('template: "{prompt}\\nTL;DR:"', "format: messages"))
    first, second = read_splits(load_trial(tmp_path / "tiny.yaml")).heldout
    assert first.prompt == VERSE[0] and first.references == () and len(first.prompt_turns) == 1
    assert [turn.content for turn in second.prompt_turns] == ["Hello", "Good day.", VERSE[0]]


def test_running_text_takes_rows_with_a_column_prompt_as_they_are(tmp_path):
    make_base(tmp_path)
    (tmp_path / "plays.txt").write_text("\n".join(f"line {n} of the play" for n in range(100)))
    (tmp_path / "verse.jsonl").write_text("".join(json.dumps({"prompt": line}) + "\n" for line in VERSE))
    text = OWN.replace("rows.jsonl", "plays.txt").replace('template: "{prompt}\\nTL;DR:"', "format: text")
    (tmp_path / "tiny.yaml").write_text(text)
    splits = read_splits(load_trial(tmp_path / "tiny.yaml"))
    assert [e.prompt for e in splits.heldout] == VERSE and all(not e.references for e in splits.heldout)
    assert splits.train[0].references[0].startswith("\nline")


def test_a_list_of_ones_own_prompts_is_answered_by_every_arm_and_written_nowhere_else(judged_by_people, capsys):
    folder, _ = judged_by_people
    before = {p: p.read_bytes() for p in folder.root.rglob("*") if p.is_file()}
    (folder.root.parent / "asked.txt").write_text("The bee sang to the pond.\n\nThe elk ran to the hill.\n")
    written = folder.root.parent / "answers.jsonl"
    command = ["sample", str(folder.root), "--prompts", str(folder.root.parent / "asked.txt")]
    assert dispatch([*command, "--to", str(written), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    arms = ["base", "prompted", "full", "lora"]
    assert [row["arm"] for row in found["answers"]] == [arm for arm in arms for _ in range(4)]
    assert [row["index"] for row in found["answers"][:4]] == [0, 1, 0, 1] and found["failures"] == {}
    assert {p: p.read_bytes() for p in folder.root.rglob("*") if p.is_file()} == before
    # what was written is a file of outputs: people can grade it blind
    assert len(read_outputs_file(written).samples) == 16
    assert [json.loads(line)["text"] for line in written.open()] == [row["text"] for row in found["answers"]]
    assert dispatch([*command, "--to", str(written)]) == 2, "a file that is there is not written over"


def test_a_prompt_is_answered_alike_in_a_list_and_typed(judged_by_people, monkeypatch, capsys):
    folder, _ = judged_by_people
    lines = ["The bee sang to the pond.", "The elk ran to the hill."]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    assert dispatch(["sample", str(folder.root), "--prompts", "-", "--arm", "lora", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["answers"]
    typed = answer_typed(folder, lines)
    for row in listed:
        assert f"lora: {' '.join(row['text'].split())}".strip() in " ".join(typed.split())
    assert len(listed) == 4 and typed.count("lora:") == 4


def answer_typed(folder, lines):
    """What a terminal shows to somebody who types these lines, one after the other, and then Ctrl-D."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "finetrial.cli.main", "sample", str(folder.root), "--prompts", "-"]
    process = subprocess.Popen([*command, "--arm", "lora"], stdin=follower, stdout=subprocess.PIPE, text=True)
    os.close(follower)
    for line in lines:
        os.write(leader, f"{line}\n".encode())
    os.write(leader, b"\x04")
    shown, _ = process.communicate(timeout=120)
    os.close(leader)
    assert process.returncode == 0
    return shown


def test_a_prompt_that_people_are_still_to_grade_is_not_answered_by_name(judged_by_people, capsys):
    folder, _ = judged_by_people
    asked = folder.root.parent / "held.txt"
    asked.write_text(VERSE[2] + "\n")
    assert dispatch(["sample", str(folder.root), "--prompts", str(asked)]) == 2
    assert "still to be graded blind" in capsys.readouterr().err


def test_what_cannot_be_asked_is_refused(judged_by_people, tmp_path, capsys):
    folder, _ = judged_by_people
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "rows.jsonl").write_text('{"title": "a", "body": "b"}\n')
    cases = [
        (["--prompts", str(tmp_path / "empty.txt")], "holds no prompts"),
        (["--prompts", str(tmp_path / "rows.jsonl")], "no column that is known as prompt"),
        (["--prompts", str(tmp_path / "none.txt")], "there is no data file"),
        (["--to", str(tmp_path / "x.jsonl")], "--to belongs to --prompts"),
        (["--prompts", str(tmp_path / "rows.jsonl"), "--to", str(tmp_path / "x.csv")], "ends in .jsonl"),
        (["--prompts", str(tmp_path / "rows.jsonl"), "--set", "arms.late={method: full}"], "no column"),
    ]
    for options, said in cases:
        assert dispatch(["sample", str(folder.root), *options]) == 2
        assert said in capsys.readouterr().err


def test_lines_of_verse_from_a_published_report_are_asked_of_the_starter(tmp_path, capsys):
    if not (SHARED / "published_samples.jsonl").exists():
        pytest.skip(f"NOT TESTED: {SHARED} is not here")
    rows = [json.loads(line) for line in (SHARED / "published_samples.jsonl").open(encoding="utf-8")]
    verse = dict.fromkeys(row["prompt"] for row in rows if row["trial"] == "verse")
    (tmp_path / "verse.txt").write_text("\n".join(verse) + "\n", encoding="utf-8")
    (tmp_path / "t.yaml").write_text(
        f"trial: t\nmodel: starter\ndata: {{source: '{SHARED / 'shakespeare.txt'}[:2000]', format: text}}\n"
        "arms: {base: , prompted: {shots: 2}}\nsampling: {max_new_tokens: 12, per_prompt: 2, prompts: 5}\n"
    )
    command = ["sample", str(tmp_path / "t.yaml"), "--prompts", str(tmp_path / "verse.txt"), "--json"]
    assert dispatch(command) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert len(verse) >= 1 and {row["prompt"] for row in answers} == set(verse)
    assert len(answers) == 4 * len(verse) and all(row["tokens"] >= 1 for row in answers)
    assert not (tmp_path / "runs").exists()


def test_python_asks_as_the_command_line_does(judged_by_people):
    folder, _ = judged_by_people
    rows = Trial.load(folder.root).answer(["The bee sang to the pond."], arms=["base"], progress=False)
    rows = rows.to_dict("records") if hasattr(rows, "to_dict") else rows
    assert [(row["arm"], row["index"]) for row in rows] == [("base", 0), ("base", 1)]
    with pytest.raises(UserError, match="arm late is not tuned yet"):
        Trial.load(folder.root, overrides={"arms.late": {"method": "full"}}).answer(["A line."], progress=False)
