"""Compressed files and preference data are read as what they are."""

import gzip
import json

import pytest
from trials import trial_with, write_jsonl

from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.evidence.outputs_file import read_outputs_file
from finetrial.trial.data import read_splits
from finetrial.trial.own_prompts import read_own_prompts

PAIRS = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(12)]
LINES = "".join(json.dumps(row) + "\n" for row in PAIRS)


def read(base, **data):
    splits = read_splits(trial_with(base, **{"validation": 1, "heldout": 1, **data}))
    return {(e.prompt, e.references) for part in splits.by_name.values() for e in part}


def zstd(path, content):
    pyarrow = pytest.importorskip("pyarrow")
    with pyarrow.CompressedOutputStream(str(path), "zstd") as stream:
        stream.write(content)


def test_compressed_files_are_read_by_the_name_within(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(LINES[:200].encode()) + gzip.compress(LINES[200:].encode()))
    zstd(tmp_path / "b.jsonl.zst", LINES.encode())
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(json.dumps(PAIRS).encode()))
    text = "prompt,completion\n" + "".join(f"question {n},answer {n}\n" for n in range(12))
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(text.encode()))
    expected = {(row["prompt"], (row["completion"],)) for row in PAIRS}
    for name in ("a.jsonl.gz", "b.jsonl.zst", "c.json.gz", "d.csv.gz"):
        assert read(tmp_path, source=name) == expected, name
    assert len(read(tmp_path, source="a.jsonl.gz[:6]")) == 6


def test_a_folder_of_compressed_splits_is_known_by_their_names(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "train.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))
    (folder / "test.jsonl.gz").write_bytes(gzip.compress(LINES.replace("question", "other").encode()))
    splits = read_splits(trial_with(tmp_path, source="rows", validation=2))
    assert [len(s) for s in (splits.train, splits.validation, splits.heldout)] == [10, 2, 12]


OUTPUTS = [
    {"prompt": f"q{n}", "arm": arm, "text": f"{arm} says {n}", "reference": f"good says {n}"}
    for n in range(8)
    for arm in ("good", "bad")
]


def test_outputs_grades_and_tables_of_runs_may_be_compressed(tmp_path, capsys):
    lines = "".join(json.dumps(row) + "\n" for row in OUTPUTS)
    (tmp_path / "outputs.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    zstd(tmp_path / "same.jsonl.zst", lines.encode())
    said = []
    for name in ("outputs.jsonl.gz", "same.jsonl.zst"):
        assert dispatch(["score", str(tmp_path / name), "--json"]) == 0
        said.append(json.loads(capsys.readouterr().out))
    assert said[0]["verdict"] == said[1]["verdict"] and said[0]["verdict"]

    assert dispatch(["grade", str(tmp_path / "outputs.jsonl.gz"), "--export", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "runs" / "outputs" / "items.jsonl").exists()
    grades = "rater,value,prompt,text\nAnna,good,q0,good says 0\n"
    (tmp_path / "grades.csv.gz").write_bytes(gzip.compress(grades.encode()))
    folder = str(tmp_path / "runs" / "outputs")
    assert dispatch(["grade", folder, "--import", str(tmp_path / "grades.csv.gz")]) == 0
    capsys.readouterr()

    prompts = "".join(json.dumps({"prompt": row["prompt"]}) + "\n" for row in OUTPUTS[:4])
    (tmp_path / "mine.jsonl.gz").write_bytes(gzip.compress(prompts.encode()))
    (tmp_path / "rows.jsonl").write_text(LINES)
    loaded = trial_with(tmp_path, source="rows.jsonl")
    assert [e.prompt for e in read_own_prompts(tmp_path / "mine.jsonl.gz", data=loaded.trial.data)] == ["q0", "q1"]


def test_a_compressed_log_of_another_tool_is_known(tmp_path, capsys):
    """AlpacaEval's file: a list of objects with instruction, output and generator."""
    listed = [{"instruction": r["prompt"], "output": r["text"], "generator": r["arm"]} for r in OUTPUTS]
    (tmp_path / "log.json.gz").write_bytes(gzip.compress(json.dumps(listed).encode()))
    found = read_outputs_file(tmp_path / "log.json.gz")
    assert found.arms == ("good", "bad") and len(found.samples) == 16


def test_a_file_that_is_not_compressed_as_it_says_is_named(tmp_path):
    for name in ("a.jsonl.gz", "a.jsonl.zst"):
        (tmp_path / name).write_text(LINES)
        with pytest.raises(UserError, match=f"{name} cannot be unpacked"):
            read(tmp_path, source=name)
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(UserError, match="is of a kind that is not read"):
        read(tmp_path, source="./a.tar.gz")


def turn(role, text):
    return {"role": role, "content": text}


@pytest.mark.parametrize(
    ("row", "format"),
    [
        (lambda n: {"prompt": f"q{n}", "chosen": f"good {n}", "rejected": "bad"}, "prompt_completion"),
        (lambda n: {"chosen": [turn("user", f"q{n}"), turn("assistant", f"good {n}")], "rejected": []}, "messages"),
        (
            lambda n: {
                "prompt": [turn("user", f"q{n}")],
                "chosen": [turn("assistant", f"good {n}")],
                "rejected": [turn("assistant", "bad")],
            },
            "messages",
        ),
        (
            lambda n: {
                "conversations": [{"from": "human", "value": f"q{n}"}],
                "chosen": {"from": "gpt", "value": f"good {n}"},
                "rejected": {"from": "gpt", "value": "bad"},
            },
            "messages",
        ),
        (lambda n: {"prompt": [turn("user", f"q{n}")], "completion": [turn("assistant", f"good {n}")]}, "messages"),
    ],
)
def test_of_preferences_the_chosen_answers_are_the_completions(tmp_path, capsys, row, format):
    write_jsonl(tmp_path / "rows.jsonl", [row(n) for n in range(12)])
    out = tmp_path / "t.yaml"
    assert dispatch(["init", "--data", str(tmp_path / "rows.jsonl"), "--model", "starter", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert ("the rejected ones are not used" in said) == ("rejected" in row(0))
    assert f": {format}, 12 rows" in said
    from finetrial.trial.trial_file import load_trial

    splits = read_splits(load_trial(out))
    found = {(e.prompt, e.references) for part in splits.by_name.values() for e in part}
    assert found == {(f"q{n}", (f"good {n}",)) for n in range(12)}
