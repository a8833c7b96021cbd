"""A table of counts, good of n by prompt and arm, is judged without its texts."""

import csv
import json
from pathlib import Path

import pytest

from finetrial.api.grid_text import grid_lines
from finetrial.api.outputs import score
from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.evidence.good_grid import good_grid
from finetrial.evidence.outputs_file import read_outputs_file
from finetrial.evidence.score_table import RatedSample

PUBLISHED = Path(__file__).parents[2] / "examples" / "published"
SHARED = Path(__file__).parents[3] / "shared" / "data" / "published_grades.csv"
HEAD = "prompt,arm,good,of\n"


def scored(path, capsys):
    assert dispatch(["score", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# p of a sign-flip test over five prompts, by hand: of the 32 ways to choose the signs of the differences.
# verse: 2/3, 1, -1/3, 1, 1: sum 10/3. As large or larger: all as seen, and -1/3 turned round. 2 x 2 / 32 = .125.
# tldr full - base: all five positive: 2 x 1 / 32 = .0625. lora - base: 2/3, 0, 1, 2/3, 2/3: the 0 counts twice,
# .125. full - lora: 0, 1, 0, 1/3, 1/3: two zeros, 2 x 4 / 32 = .25. Holm: 3 x .0625, then 2 x .125, then .25.
@pytest.mark.parametrize(
    "name, good, p, holm",
    [
        ("verse", {"base": (4, 15), "full": (14, 15)}, [0.125], [0.125]),
        (
            "tldr",
            {"base": (1, 15), "full": (15, 15), "lora": (10, 15)},
            [0.0625, 0.125, 0.25],
            [0.1875, 0.25, 0.25],
        ),
    ],
)
def test_the_published_tables_support_nothing_after_holm(name, good, p, holm, capsys):
    found = scored(PUBLISHED / f"{name}.csv", capsys)
    assert {arm: (row["good"], row["of"]) for arm, row in found["good"].items()} == good
    new = [pair for pair in found["pairs"] if pair["question"] == "new"]
    assert sorted(pair["p"] for pair in new) == pytest.approx(p)
    assert sorted(pair["p_holm"] for pair in new) == pytest.approx(holm)
    assert found["verdict"].startswith("Cannot tell") and found["recommendation"]["arm"] is None
    assert list(found["metrics"]) == ["grade"], "there is no text to compute anything else from"


def test_the_examples_are_the_published_counts():
    if not SHARED.exists():
        pytest.skip(f"NOT TESTED: {SHARED} is not here")
    with SHARED.open() as file:
        published = [tuple(row.values()) for row in csv.DictReader(file)]
    ours = []
    for name in ("verse", "tldr"):
        with (PUBLISHED / f"{name}.csv").open() as file:
            ours += [(name, *row.values()) for row in csv.DictReader(file)]
    assert ours == published and len(ours) == 25


def test_the_grid_of_good_answers_stands_in_the_terminal_and_in_json(capsys):
    assert dispatch(["score", str(PUBLISHED / "tldr.csv")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["good", "of", "graded", "base", "full", "lora"] in lines
    assert ["4", "0/3", "3/3", "2/3"] in lines and ["all", "1/15", "15/15", "10/15"] in lines
    grid = scored(PUBLISHED / "tldr.csv", capsys)["good_by_prompt"]
    assert len(grid) == 5 and grid[3]["prompt"] == "4"
    counts = {arm: (row["good"], row["of"]) for arm, row in grid[3]["arms"].items()}
    assert counts == {"base": (0, 3), "full": (3, 3), "lora": (2, 3)}


def test_counts_say_what_the_same_grades_say_one_by_one(tmp_path):
    with (PUBLISHED / "tldr.csv").open() as file:
        counts = list(csv.DictReader(file))
    rows = [
        {"prompt": r["prompt"], "arm": r["arm"], "text": f"{r} {i}", "grade": int(i < int(r["good"]))}
        for r in counts
        for i in range(int(r["of"]))
    ]
    one_by_one, counted = score(rows).findings, score(counts).findings
    assert counted.good == one_by_one.good and counted.good_grid == one_by_one.good_grid
    of_grades = [pair for pair in one_by_one.pairs if pair.metric == "grade"]
    assert [pair for pair in counted.pairs if pair.metric == "grade"] == of_grades and len(of_grades) > 3


@pytest.mark.parametrize(
    "rows, said",
    [
        ("1,a,4,3\n", "line 2: invalid counts; got 4 good of 3"),
        ("1,a,0,0\n", "got 0 good of 0"),
        ("1,a,1.5,3\n", "good is not a count; got '1.5'"),
        ("1,a,-1,3\n", "good is not a count"),
        ("1,a,,3\n", "good is not a count; got None"),
        ("1,a,yes,3\n", "good is not a count; got 'yes'"),
        (",a,1,3\n", "line 2 has no prompt"),
        ("1,,1,3\n", "line 2 has no arm"),
        ("1,a,1,3\n1,a,2,3\n", "line 3: prompt '1' and arm 'a' stand twice; got the first time in line 2"),
    ],
)
def test_a_count_that_cannot_be_is_named_with_its_line(tmp_path, rows, said):
    (tmp_path / "counts.csv").write_text(HEAD + rows)
    with pytest.raises(UserError) as refused:
        read_outputs_file(tmp_path / "counts.csv")
    assert said in str(refused.value)


def test_what_needs_texts_refuses_counts_and_names_score(capsys):
    path = str(PUBLISHED / "verse.csv")
    assert dispatch(["grade", path]) == 2
    assert "no texts to grade" in (said := capsys.readouterr().err) and f"finetrial score {path}" in said
    assert dispatch(["score", path, "--metric", "rouge1"]) == 2
    assert "rouge1 cannot be computed" in capsys.readouterr().err


def test_a_grid_too_large_for_a_terminal_says_what_it_leaves_out(tmp_path):
    arms = [f"an-arm-with-a-long-name-{n}" for n in range(9)]
    rows = "".join(f"prompt {p},{arm},{p % 3},3\n" for p in range(30) for arm in arms)
    (tmp_path / "counts.csv").write_text(HEAD + rows)
    lines = grid_lines(score(tmp_path / "counts.csv").findings.good_grid)
    assert max(map(len, lines)) <= 80 and lines[-1] == "  10 more prompts and 4 more arms: --json"
    assert lines[-2].split()[-1] == "30/90"  # ten prompts each of 0, 1 and 2 good of three


def test_an_even_vote_counts_nowhere_and_numbers_of_a_scale_make_no_grid():
    samples = read_outputs_file(PUBLISHED / "verse.csv").samples[:2]
    votes = [("a", "good"), ("b", "bad")]
    grades = [RatedSample(samples[0].id, rater, value) for rater, value in votes]
    grid = good_grid(samples, [*grades, RatedSample(samples[1].id, "a", "good")])
    (row,) = grid.prompts
    assert (row.arms["base"].good, row.arms["base"].of, row.arms["base"].split) == (1, 1, 1)
    doubt = good_grid(samples, [*grades, RatedSample(samples[1].id, "a", "unsure")])
    assert str(doubt.total("base")) == "–"  # nothing of it was called good or bad: no 0 of 0
    assert (doubt.total("base").of, doubt.total("base").split, doubt.total("base").unsure) == (0, 1, 1)
    assert good_grid(samples, [RatedSample(samples[0].id, "a", 4.0)]) is None and good_grid(samples, []) is None
