"""People's grades and a metric stand beside each other, and a recommendation that the grades contradict is none."""

from __future__ import annotations

import pytest
from evidence_material import from_values

from finetrial.evidence.conclude import AnalysisSettings, conclude
from finetrial.evidence.cost import stated_order
from finetrial.evidence.findings import Findings, Floor
from finetrial.evidence.score_table import RatedSample

COSTS = stated_order(("base", "full"), arms=("base", "full"))


def graded(
    *, prompts: int, scores: dict[str, float], good: dict[str, int], per_prompt: int = 3, **setting: object
) -> Findings:
    """Each arm scores the same everywhere, and the first so many of its answers were called good."""
    values = {arm: {f"p{n}": [score] * per_prompt for n in range(prompts)} for arm, score in scores.items()}
    samples, given = from_values(values)
    of_arm = {arm: [s for s in samples if s.arm == arm] for arm in scores}
    grades = [
        RatedSample(one.id, "Anna", "good" if place < good[arm] else "bad")
        for arm, rows in of_arm.items()
        for place, one in enumerate(rows)
    ]
    settings = {"primary": "rouge1", "metrics": ("rouge1",), "order": COSTS, **setting}
    return conclude(samples, given, setting=AnalysisSettings(**settings), grades=grades)


def test_fifteen_good_answers_against_one_take_back_what_a_metric_that_sees_nothing_recommends():
    found = graded(prompts=5, scores={"base": 0.0, "full": 0.0}, good={"base": 1, "full": 15})
    said = found.recommendation
    assert said is not None and (said.arm, said.outcome, said.against) == (None, "contradicted", "full")
    assert "Take base" not in said.text
    assert "15 of 15 answers of full were called good, 1 of 15 of base" in said.text
    assert "on these very prompts" in said.text  # five prompts can show nothing of new ones


def test_on_enough_prompts_the_grades_contradict_on_new_prompts():
    found = graded(prompts=15, per_prompt=1, scores={"base": 0.3, "full": 0.3}, good={"base": 1, "full": 15})
    assert found.recommendation is not None and found.recommendation.outcome == "contradicted"
    assert "on new prompts" in found.recommendation.text


@pytest.mark.parametrize("good", [{"base": 15, "full": 1}, {"base": 7, "full": 8}])
def test_grades_that_agree_or_say_nothing_leave_the_recommendation_as_it_is(good):
    found = graded(prompts=5, scores={"base": 0.0, "full": 0.0}, good=good)
    assert found.recommendation is not None and found.recommendation.arm == "base"


def test_what_no_arm_does_by_the_metric_and_people_call_good_is_said_to_be_contradicted():
    floor = Floor(0.5, 0.02, (), ("base", "full"), 5, 20)
    found = graded(prompts=5, scores={"base": 0.1, "full": 0.1}, good={"base": 1, "full": 15}, floor=floor)
    assert found.recommendation is not None and found.recommendation.outcome == "floor"
    assert "The grades contradict this: of full 15 of 15 were called good" in found.recommendation.text


@pytest.mark.parametrize("primary, beside", [("rouge1", "grade"), ("grade", "rouge1")])
@pytest.mark.parametrize("named", ["rouge1", "grade", None])
def test_the_second_verdict_says_whether_it_was_named_beforehand(primary, beside, named):
    given = {"scores": {"base": 0.1, "full": 0.4}, "good": {"base": 0, "full": 8}}
    found = graded(prompts=8, per_prompt=1, **given, primary=primary, named=named).beside
    assert found is not None and (found.metric, found.named) == (beside, named == beside)
    assert found.text.startswith("Named beforehand: " if named == beside else "Not named beforehand: ")


def test_the_agreement_of_the_two_is_said_pair_by_pair():
    same = graded(prompts=8, per_prompt=1, scores={"base": 0.1, "full": 0.4}, good={"base": 0, "full": 8}).beside
    assert same is not None and same.agreement.startswith("Both show that full is better than base.")
    against = graded(prompts=8, per_prompt=1, scores={"base": 0.4, "full": 0.1}, good={"base": 0, "full": 8}).beside
    assert against is not None and against.agreement.startswith(
        "The two contradict each other: by ROUGE-1 base is better than full, and by the grades it is the other way"
    )
    alone = graded(prompts=8, per_prompt=1, scores={"base": 0.4, "full": 0.1}, good={"base": 4, "full": 4}).beside
    assert alone is not None and (
        "That base is better than full is shown by ROUGE-1 alone, not by the grades." in alone.agreement
    )
    neither = graded(prompts=5, scores={"base": 0.0, "full": 0.0}, good={"base": 1, "full": 15}).beside
    assert neither is not None and neither.agreement.startswith(
        "Neither tells the arms apart; by ROUGE-1 base and full share the best mean, by the grades full has"
    )


def test_without_grades_nothing_stands_beside():
    samples, scores = from_values({"base": {"p": [0.1]}, "full": {"p": [0.2]}})
    assert conclude(samples, scores, setting=AnalysisSettings(primary="rouge1")).beside is None


def test_grades_on_a_scale_of_numbers_are_not_held_between_nought_and_one():
    samples, scores = from_values({"base": {f"p{n}": [0.1] for n in range(6)}})
    grades = [RatedSample(one.id, "Anna", 3 + n % 3) for n, one in enumerate(samples)]
    found = conclude(samples, scores, setting=AnalysisSettings(primary="grade"), grades=grades)
    row = found.intervals["grade"]["base"]
    assert row.mean == 4 and row.low is not None and row.high is not None and 1 < row.low < 4 < row.high
