"""Anyone's file of outputs is read as samples, grades and values; what is wrong is named with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetrial.errors import UserError
from finetrial.evidence.file_findings import ScoringOptions, file_findings
from finetrial.evidence.outputs_file import read_outputs_file


def jsonl(path: Path, *rows: dict) -> Path:
    file = path / "outputs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def csv(path: Path, text: str) -> Path:
    file = path / "outputs.csv"
    file.write_text(text, encoding="utf-8")
    return file


def row(prompt="p", arm="a", text="t", **more):
    return {"prompt": prompt, "arm": arm, "text": text, **more}


def test_a_file_whose_arms_are_all_at_the_floor_recommends_none(tmp_path):
    # Two labels by turns; base always says yes and lora no: each is right on five of ten prompts, and Clopper and
    # Pearson's interval of that begins at .19.
    rows = [
        row(prompt=f"p{i}", arm=arm, text=said, reference="yes" if i % 2 else "no")
        for i in range(10)
        for arm, said in (("base", "yes"), ("lora", "no"))
    ]
    found = file_findings(jsonl(tmp_path, *rows), asked=ScoringOptions(primary="exact"))
    assert found.floor.value == pytest.approx(4 / 9)  # of nine others four have the same label
    assert found.recommendation.outcome == "floor" and found.recommendation.arm is None
    assert found.verdict_warnings[0].kind == "at_floor"
    few = file_findings(jsonl(tmp_path, *rows[:8]), asked=ScoringOptions(primary="exact"))
    assert few.floor.value is None and few.floor.reason == "fewer than 5 prompts have references"
    assert [w.kind for w in few.verdict_warnings] == []


def test_a_column_of_numbers_has_no_floor(tmp_path):
    rows = [row(prompt=f"p{i}", arm=arm, reference="x", acc=i) for i in range(9) for arm in "ab"]
    assert file_findings(jsonl(tmp_path, *rows), asked=ScoringOptions(values=("acc",))).floor is None


def test_rows_of_one_prompt_and_arm_are_its_samples(tmp_path):
    found = read_outputs_file(jsonl(tmp_path, row(text="x"), row(text="y"), row(arm="b"), row(prompt="q")))
    assert [s.id for s in found.samples] == ["a/prompt-1/0", "a/prompt-1/1", "b/prompt-1/0", "a/prompt-2/0"]
    assert found.arms == ("a", "b")


def test_rows_that_differ_in_rater_alone_are_one_sample(tmp_path):
    graded = [row(text="x", grade=g, rater=r) for r, g in (("ann", "good"), ("bob", 0), ("cyd", "unsure"))]
    found = read_outputs_file(jsonl(tmp_path, *graded, row(text="y", grade="bad", rater="ann")))
    assert [s.text for s in found.samples] == ["x", "y"]
    assert [(g.sample_id, g.rater, g.value) for g in found.grades] == [
        ("a/prompt-1/0", "ann", "good"),
        ("a/prompt-1/0", "bob", "bad"),
        ("a/prompt-1/0", "cyd", "unsure"),
        ("a/prompt-1/1", "ann", "bad"),
    ]


def test_grades_beyond_0_and_1_make_a_scale(tmp_path):
    rows = [row(text=str(g), grade=g) for g in (1, 5, 0)]
    assert [g.value for g in read_outputs_file(jsonl(tmp_path, *rows)).grades] == [1.0, 5.0, 0.0]


def test_csv_and_jsonl_say_the_same(tmp_path):
    text = 'prompt,arm,text,reference\np,a,"said, ""so""\nand on","[""one"", ""two""]"\np,b,,one\n'
    found = read_outputs_file(csv(tmp_path, text))
    same = [row(text='said, "so"\nand on', references=["one", "two"]), row(arm="b", text="", reference="one")]
    assert found == read_outputs_file(jsonl(tmp_path, *same))
    assert [s.references for s in found.samples] == [("one", "two"), ("one",)]


def test_a_reference_that_only_begins_like_a_list_is_a_text(tmp_path):
    found = read_outputs_file(csv(tmp_path, "prompt,arm,text,reference\np,a,t,[deleted]\n"))
    assert found.samples[0].references == ("[deleted]",)


def test_the_source_joins_prompts_that_were_shown_in_other_templates(tmp_path):
    rows = [row("Q: why? A:", source="why?"), row("why?\nTL;DR:", arm="b", source="why?")]
    assert {s.prompt_id for s in read_outputs_file(jsonl(tmp_path, *rows)).samples} == {"prompt-1"}


def test_training_runs_are_read(tmp_path):
    found = read_outputs_file(jsonl(tmp_path, row(run=0), row(run=1), row(arm="b")))
    assert found.runs == {"a/prompt-1/0": "0", "a/prompt-1/1": "1"}


@pytest.mark.parametrize(
    ("text", "values", "said"),
    [
        ("prompt,text\np,t\n", (), "outputs.csv, line 2 has no arm; got columns prompt, text"),
        ("prompt,arm,text\np,a,t\np,a,t,x\n", (), "line 3 has more cells than the header; got 4; expected 3"),
        ("prompt,arm,text,text\np,a,t,u\n", (), "line 1: the column 'text' stands twice"),
        ("prompt,arm,text,grade\np,a,t,fine\n", (), "line 2: not a grade; got 'fine'"),
        ("prompt,arm,n\np,a,1\np,b,x\n", ("n",), "line 3: n is not a number; got 'x'"),
        ("prompt,arm,acc\np,a,1\n", ("act",), "unknown column .* 'act'; expected one of acc, arm, prompt"),
        ("prompt,arm,text\n", (), "holds no outputs"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, values, said):
    with pytest.raises(UserError, match=said):
        read_outputs_file(csv(tmp_path, text), values=values)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b'{"prompt": "p"\n', "line 1 is not JSON"), (b"[1]\n", "line 1 is not an object"), (b"\xff", "not UTF-8")],
)
def test_a_file_that_is_no_json_lines_is_named(tmp_path, content, said):
    (tmp_path / "bad.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_outputs_file(tmp_path / "bad.jsonl")


def test_values_from_elsewhere_are_analysed_like_scores(tmp_path):
    lines = [f"p{i},{arm},{0.5 + i / 100 + (0.1 if arm == 'b' else 0)}" for i in range(8) for arm in "ab"]
    file = csv(tmp_path, "prompt,arm,acc\n" + "\n".join(lines) + "\n")
    found = file_findings(file, asked=ScoringOptions(values=("acc",)))
    (pair,) = found.pairs
    assert (pair.metric, pair.p) == ("acc", 2 / 2**8) and pair.difference == pytest.approx(-0.1)
    assert found.signatures == {"acc": "column acc"} and found.diagnostics == ()
    # nobody named a margin in the unit of acc
    assert found.recommendation is None
    asked = ScoringOptions(values=("acc",), margin=0.02, costs=("a", "b"))
    assert file_findings(file, asked=asked).recommendation.arm == "b"
    assert file_findings(file, asked=ScoringOptions(values=("acc",), lower_is_better=("acc",))).verdict.startswith(
        "a is better"
    )


def test_a_table_of_values_that_stands_twice_is_counted_once(tmp_path):
    lines = [f"p{i},{arm},{(i * 7 % 5) / 5 + (0.1 if arm == 'b' else 0)}" for i in range(8) for arm in "ab"]
    once = file_findings(
        csv(tmp_path, "prompt,arm,acc\n" + "\n".join(lines) + "\n"), asked=ScoringOptions(values=("acc",))
    )
    twice = file_findings(
        csv(tmp_path, "prompt,arm,acc\n" + "\n".join(lines + lines) + "\n"), asked=ScoringOptions(values=("acc",))
    )
    assert twice.intervals == once.intervals and twice.pairs == once.pairs
    assert len([w for w in twice.warnings if "stands 2 times" in w]) == 1


def test_samples_that_another_column_tells_apart_are_no_copies(tmp_path):
    lines = [f"p{i},{arm},{seed},{(i + (arm == 'b')) % 2}" for seed in (1, 2) for i in range(8) for arm in "ab"]
    path = csv(tmp_path, "prompt,arm,seed,right\n" + "\n".join(lines) + "\n")
    found = file_findings(path, asked=ScoringOptions(values=("right",)))
    assert not [w for w in found.warnings if "stands" in w] and {p.question for p in found.pairs} == {
        "new",
        "these",
    }


def test_labels_and_json_of_a_file_are_read_as_json_spells_them(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [
        {"prompt": "p", "arm": "a", "text": {"b": 1, "a": True}, "reference": {"a": True, "b": 1}},
        {"prompt": "q", "arm": "a", "text": "true", "reference": True},
        {"prompt": "r", "arm": "a", "text": 3, "references": [3, 4]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_outputs_file(path)
    assert [s.text for s in found.samples] == ['{"a": true, "b": 1}', "true", "3"]
    assert all(s.text == s.references[0] for s in found.samples)


def test_shuffled_rows_give_the_same_findings(tmp_path):
    rows = [
        row(
            f"p{i}",
            arm,
            f"w{i} w{k} {arm}",
            reference=f"w{i} w0 w1",
            grade="good" if (i + k) % 3 else "bad",
            rater=r,
        )
        for i in range(7)
        for k in range(2)
        for arm in "ab"
        for r in "xy"
    ]
    asked = ScoringOptions(primary="rouge1")
    first = file_findings(jsonl(tmp_path, *rows), asked=asked)
    rows.sort(key=lambda r: (r["arm"], r["text"][::-1]), reverse=True)
    rows.sort(key=lambda r: r["arm"])  # the arms keep their order, which is that of the first rows
    mixed = file_findings(jsonl(tmp_path, *rows), asked=asked)
    for part in ("verdict", "recommendation", "intervals", "pairs", "good", "agreement", "power", "warnings"):
        assert getattr(mixed, part) == getattr(first, part), part
    concordances = [
        {metric: (r.concordance, r.area_under_curve) for metric, r in f.metric_vs_people.items()}
        for f in (first, mixed)
    ]
    assert concordances[0] == concordances[1] and set(concordances[0]) == {"rouge1", "rouge2", "rougeL"}


def test_the_arms_own_names_order_their_costs_where_they_are_methods(tmp_path):
    rows = [
        row(f"p{i}", arm, f"w{i}", reference=f"w{i} {arm}") for i in range(3) for arm in ("full", "lora", "base")
    ]
    assert file_findings(jsonl(tmp_path, *rows), asked=ScoringOptions()).recommendation.cost_order == (
        "base",
        "lora",
        "full",
    )


def test_a_prompt_that_is_a_chat_keeps_its_turns(tmp_path):
    turns = [
        {"role": "user", "content": "Hello"},
        {"from": "gpt", "value": "Yes?"},
        {"role": "user", "content": "Why?"},
    ]
    path = tmp_path / "outs.jsonl"
    rows = [
        {"prompt": turns, "arm": "a", "text": "x"},
        {"messages": turns, "arm": "b", "text": "y"},
        {"prompt": [{"role": "user", "content": "One turn"}], "arm": "a", "text": "z"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second, single = read_outputs_file(path).samples
    assert first.prompt == second.prompt == "user: Hello\nassistant: Yes?\nuser: Why?"
    assert first.turns == second.turns == (("user", "Hello"), ("assistant", "Yes?"), ("user", "Why?"))
    assert (single.prompt, single.turns) == ("One turn", None)
    path.write_text(json.dumps({"prompt": [{"role": "user"}], "arm": "a", "text": "x"}))
    with pytest.raises(UserError, match="line 1, turn 1"):
        read_outputs_file(path)


def test_a_function_of_ones_own_reads_the_files_own_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("def hit(text, references, row):\n    return float(row['limit']) >= len(text)\n")
    path = csv(tmp_path, "prompt,arm,text,limit\np,a,four,4\np,b,four,3\nq,a,x,1\nq,b,x,0\n")
    found = file_findings(path, asked=ScoringOptions(primary="own.py:hit", metrics=("own.py:hit",)))
    assert {arm: row.mean for arm, row in found.intervals["own.py:hit"].items()} == {"a": 1.0, "b": 0.0}
