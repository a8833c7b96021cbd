"""Every mistake of a file is named at once, not only the first."""

import json

import pytest
from trials import trial_with, write_jsonl

from finetrial.cli.main import dispatch
from finetrial.errors import UserError, UserErrors
from finetrial.trial.data import read_splits
from finetrial.trial.trial_file import parse_trial

WRONG = """\
trial: t
model: gpt2
modle: x
data:
  source: {trian: a.jsonl}
  max_tokens: -3
  overlap: eror
  heldout: 3
  heldout: 4
arms:
  base: {}
  lora: {method: lora, rank: 0, learning_rate: fast, shots: 0}
  full: {method: full, rank: 3, epochs: -1}
  odd: {method: loraa}
training: {optimiser: adam}
judging: {margin: -1}
"""
PLACES = [
    "line 9: the key 'data.heldout' stands twice",
    "line 3: unknown key 'modle'",
    "line 5: unknown key 'data.source.trian'",
    "line 6: data.max_tokens",
    "line 7: data.overlap",
    "line 12: arms.lora.rank",
    "line 12: arms.lora.learning_rate",
    "line 12: arms.lora.shots",
    "line 13: arms.full.rank",
    "line 13: arms.full.epochs",
    "line 14: arms.odd.method",
    "line 15: unknown key 'training.optimiser'",
    "line 16: judging.margin",
    "an override has no value",
]


def test_a_trial_file_with_fourteen_mistakes_is_told_of_each_once():
    with pytest.raises(UserErrors) as caught:
        parse_trial(WRONG, origin="t.yaml", overrides=["nothing"])
    said = [str(error) for error in caught.value.errors]
    assert len(said) == len(PLACES) == 14
    for place in PLACES:
        assert sum(place in line for line in said) == 1, place
    assert str(caught.value).startswith("14 mistakes:\n  1. ") and str(caught.value).count("\n") == 14


def test_both_outputs_of_the_command_line_list_them(tmp_path, capsys):
    (tmp_path / "t.yaml").write_text(WRONG)
    assert dispatch(["check", str(tmp_path / "t.yaml")]) == 2
    assert capsys.readouterr().err.count("\n  ") == 13
    assert dispatch(["check", str(tmp_path / "t.yaml"), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["what"] == "13 mistakes" and len(error["mistakes"]) == 13
    assert all(set(mistake) == {"what", "got", "expected", "fix"} for mistake in error["mistakes"])


def test_the_faulty_rows_of_all_files_are_named_and_rows_without_text_are_counted(tmp_path):
    rows = [{"prompt": f"p{i}", "completion": f"c{i}"} for i in range(30)]
    write_jsonl(tmp_path / "a.jsonl", [*rows, {"prompt": ["x"], "completion": "y"}, {"prompt": "p"}])
    blank = [{"prompt": "", "completion": "c"}, {"prompt": "a", "completion": " "}]
    write_jsonl(tmp_path / "b.jsonl", [{"prompt": f"h{i}", "completion": f"c{i}"} for i in range(5)] + blank)
    source = {"train": "a.jsonl", "heldout": "b.jsonl"}
    with pytest.raises(UserErrors) as caught:
        read_splits(trial_with(tmp_path, source=source))
    said = str(caught.value)
    assert "a.jsonl:31: the prompt in column 'prompt' is not text" in said and "a.jsonl:32 has no column" in said
    assert "2 of 7 rows of b.jsonl have an empty prompt or completion; got b.jsonl:6" in said
    assert "`empty: drop`" in said and said.startswith("3 mistakes")


def test_rows_without_text_are_left_out_when_asked_and_their_number_is_said(tmp_path):
    rows = [{"prompt": f"p{i}", "completion": f"c{i}" if i % 10 else ""} for i in range(40)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    splits = read_splits(trial_with(tmp_path, source="a.jsonl", empty="drop"))
    assert sum(map(len, splits.by_name.values())) == 36
    (note,) = splits.notes
    assert (
        note.startswith("dropped 4 of 40 rows of a.jsonl")
        and "a.jsonl:1, a.jsonl:11, a.jsonl:21 and 1 more" in note
    )


def test_the_turns_that_nothing_answers_are_said_to_be_left_out(tmp_path):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    more = {"role": "user", "content": "thanks"}
    rows = [
        {"messages": [{"role": "user", "content": f"q{i}"}, turns[1], *([more] if i < 2 else [])]}
        for i in range(30)
    ]
    write_jsonl(tmp_path / "a.jsonl", rows)
    (note,) = read_splits(trial_with(tmp_path, source="a.jsonl", format="messages")).notes
    assert "in 2 of 30 chats of a.jsonl: a.jsonl:1, a.jsonl:2" in note


def test_a_million_mistakes_are_counted_and_not_all_kept(tmp_path):
    (tmp_path / "a.jsonl").write_text("oops\n" * 5000)
    with pytest.raises(UserErrors) as caught:
        read_splits(trial_with(tmp_path, source="a.jsonl"))
    assert caught.value.what == "5,000 mistakes" and len(caught.value.errors) == 200
    assert str(caught.value).endswith("lines 2, 3, 4, 5 and 195 more.\n  and 4,800 more")


def test_one_mistake_of_many_rows_is_named_once_with_its_lines():
    rows = [UserError(f"a.csv:{n} is too long", got=f"{60 + n}", expected="at most 64") for n in range(5, 12)]
    other = UserError("arms.lora: rank is above the width")
    assert str(UserErrors([*rows, other], more=30)) == (
        "38 mistakes:"
        "\n  1. a.csv:5 is too long; got 65; expected at most 64. The same in lines 6, 7, 8, 9 and 2 more."
        "\n  2. arms.lora: rank is above the width"
        "\n  and 30 more"
    )
    assert len(UserErrors(rows).as_dict()["mistakes"]) == 7
