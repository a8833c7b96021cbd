"""Several trials stand beside each other with their reports' numbers, pair by pair where prompts are the same."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from building import Answer
from whole_trial import TRIAL, Parts, Whole, build_whole, plain_answer

from finetrial.cli.main import dispatch
from finetrial.reporting.packed_trial import pack_trial
from finetrial.reporting.render.html import render_html
from finetrial.reporting.render.markdown import render_markdown
from finetrial.reporting.results import read_results
from finetrial.reporting.several_trials import between_trials, compare_trials, read_trials


def worse(arm: str, prompt_id: str, index: int) -> Answer:
    """As the plain answer, but the fully tuned arm is wrong on one prompt."""
    if arm == "full" and prompt_id == "p1":
        return Answer("it is raining")
    return plain_answer(arm, prompt_id, index)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Whole, Whole]:
    place = tmp_path_factory.mktemp("several")
    other = TRIAL.replace("trial: tickets", "trial: colder").replace("True of the post.", "Short and true.")
    return (
        build_whole(place / "one"),
        build_whole(place / "two", replace(Parts(), trial_text=other, answer=worse)),
    )


def roots(pair: tuple[Whole, Whole]) -> list[Path]:
    return [whole.folder.root for whole in pair]


def test_every_trials_scores_stand_as_in_its_own_report(pair):
    text = render_markdown(compare_trials(read_trials(roots(pair))))
    for whole in pair:
        results = read_results(whole.folder)
        for metric in ("rouge1", "rougeL"):
            for arm, cell in results["metrics"][metric].items():
                (line,) = (row for row in text.splitlines() if row.startswith(f"| {results['trial']}: {arm} | 0."))
                assert f"{cell['mean']:.3f}" in line
        assert results["answer"].split(",")[0].replace("<", "\\<") in text
    assert "tickets: full | 15/15" in text and "colder: full | 12/15" in text


def test_the_same_arm_is_compared_prompt_by_prompt(pair):
    trials = read_trials(roots(pair))
    found = {row.arm: row.found for row in between_trials(trials)}
    assert set(found) == {"base", "full", "lora"}
    one, two = (trial.results["prompt_means"]["full"] for trial in trials)
    assert found["full"].difference == pytest.approx(statistics.fmean(one[p] - two[p] for p in one))
    assert found["full"].difference > 0 and (found["full"].wins, found["full"].ties) == (1, 4)
    assert found["base"].difference == 0 == found["lora"].difference


def test_what_differs_is_told_and_what_is_the_same_once(pair):
    text = render_markdown(compare_trials(read_trials(roots(pair))))
    differs, same = text.split("What differs")[1].split("What is the same")
    assert "tickets: True of the post." in differs and "colder: Short and true." in differs
    assert "- Tuning: 1 epoch" in same and "Tuning" not in differs


def test_trials_of_one_name_are_told_apart_and_bundles_do(pair, tmp_path):
    first = roots(pair)[0]
    pack_trial(pair[0].folder, tmp_path / "packed.zip")
    names = [trial.name for trial in read_trials([first, tmp_path / "packed.zip"])]
    assert names == ["tickets (one)", "tickets (packed)"]
    assert [trial.name for trial in read_trials([first, first])] == ["1. tickets", "2. tickets"]


def test_a_metric_that_was_computed_otherwise_compares_nothing_pairwise(pair):
    one, two = read_trials(roots(pair))
    other = {**two.results, "signatures": {**two.results["signatures"], "rouge1": "rouge1|stem:porter"}}
    document = compare_trials([one, replace(two, results=other)])
    page = render_html(document)
    assert "ROUGE-1 was computed in 2 ways: its scores do not compare." in page
    assert "nothing can be compared prompt by prompt" in page


def test_the_command_prints_writes_every_form_and_refuses_what_is_of_one_trial(pair, tmp_path, capsys):
    paths = list(map(str, roots(pair)))
    assert dispatch(["report", *paths, "--out", str(tmp_path / "out"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [block for block in said["sections"]["between"] if block.get("table") == "between"]
    assert {Path(name).name for name in said["files"]} == {path.name for path in (tmp_path / "out").iterdir()}
    assert dispatch(["report", *paths]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    assert dispatch(["report", *paths, "--open"]) == 2
    assert dispatch(["report", paths[0], str(tmp_path)]) == 2
