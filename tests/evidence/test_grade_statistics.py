"""Good of n, agreement, and whether a metric agrees with people."""

from __future__ import annotations

import pytest
from evidence_material import from_values, sample

from finetrial.evidence.conclude import AnalysisSettings, conclude
from finetrial.evidence.grade_statistics import good_of_each_arm, metric_vs_people, rater_agreement
from finetrial.evidence.score_table import RatedSample
from finetrial.metrics.metric_table import metric_named


def rated(grades: dict[str, dict[str, str | float]]) -> list[RatedSample]:
    """sample id -> rater -> grade"""
    return [RatedSample(s, rater, value) for s, row in grades.items() for rater, value in row.items()]


SAMPLES = [sample(arm, f"p{i}", k) for arm in ("a", "b") for i in range(2) for k in range(2)]


def test_good_of_n_counts_samples_by_the_majority_of_their_raters():
    grades = rated(
        {
            "a/p0/0": {"x": "good", "y": "good", "z": "bad"},  # good
            "a/p0/1": {"x": "good", "y": "bad"},  # an even vote counts nowhere
            "a/p1/0": {"x": "unsure", "y": "bad"},  # bad
            "a/p1/1": {"x": "unsure"},
            "b/p0/0": {"x": "bad"},
        }
    )
    found = good_of_each_arm(SAMPLES, grades)
    assert (found["a"].good, found["a"].of) == (1, 2)
    assert (found["b"].good, found["b"].of, found["b"].low) == (0, 1, 0.0)


def test_an_arm_that_nobody_graded_has_no_good_of_n():
    assert set(good_of_each_arm(SAMPLES, rated({"a/p0/0": {"x": "good"}}))) == {"a"}


def test_equal_texts_make_no_interval_narrower():
    one = [sample("a", f"p{i}", k, text=f"text {i} {k}") for i in range(3) for k in range(3)]
    same = [sample("a", f"p{i}", k, text=f"text {i}") for i in range(3) for k in range(3)]
    grades = rated({f"a/p{i}/{k}": {"x": "good" if k else "bad"} for i in range(3) for k in range(3)})
    wide, narrow = (good_of_each_arm(rows, grades)["a"] for rows in (same, one))
    assert (wide.good, wide.of) == (narrow.good, narrow.of) == (6, 9)
    assert wide.high - wide.low > narrow.high - narrow.low


def test_grades_on_a_scale_have_no_good_of_n_and_an_ordinal_alpha():
    grades = rated({"a/p0/0": {"x": 4, "y": 5}, "a/p0/1": {"x": 1, "y": 1}, "b/p0/0": {"x": 3, "y": 2}})
    assert good_of_each_arm(SAMPLES, grades) == {}
    assert rater_agreement(SAMPLES, grades).level == "ordinal"


def test_agreement_is_over_texts_and_equal_texts_are_one():
    rows = [
        sample("a", "p0", 0, text="same"),
        sample("b", "p0", 0, text="same"),
        sample("a", "p1", 0, text="other"),
    ]
    grades = rated({r.id: {"x": "good", "y": "good" if r.text == "same" else "bad"} for r in rows})
    found = rater_agreement(rows, grades)
    assert (found.raw.n_items, found.raw.value) == (2, 0.5)
    assert [(k.first, k.second) for k in found.cohen_kappa] == [("x", "y")]


def test_one_rater_agrees_with_nobody_and_no_grades_give_nothing():
    found = rater_agreement(SAMPLES, rated({"a/p0/0": {"x": "good"}}))
    assert found.raw.value is None and found.raw.reason == "no item was judged by two raters"
    assert rater_agreement(SAMPLES, []) is None


def judged_values():
    values = {"a": {f"p{i}": [0.1, 0.2] for i in range(6)}, "b": {f"p{i}": [0.3, 0.4] for i in range(6)}}
    return from_values(values)


def test_a_metric_that_ranks_as_people_do_is_concordant_and_one_turned_round_is_not():
    samples, scores = judged_values()
    grades = [RatedSample(s.id, "x", "good" if s.arm == "b" else "bad") for s in samples]
    up = metric_vs_people(samples, scores, grades, metric=metric_named("rouge1"), seed=0)
    down = metric_vs_people(
        samples, scores, grades, metric=metric_named("rouge1", lower_is_better=["rouge1"]), seed=0
    )
    assert (up.concordance.value, down.concordance.value) == (1.0, 0.0)
    assert (up.ranking.best_by_score, up.ranking.best_by_grade) == (("b",), ("b",))
    # each of 6 prompts has 2 good and 2 bad samples: 4 pairs
    assert up.concordance.n_pairs == 24


def test_where_people_and_metric_name_other_arms_the_recommendation_says_so():
    samples, scores = judged_values()
    grades = [RatedSample(s.id, "x", "good" if s.arm == "a" else "bad") for s in samples]
    setting = AnalysisSettings(primary="rouge1", margin=0.02)
    found = conclude(samples, scores, setting=setting, grades=grades)
    assert found.recommendation.outcome == "contradicted" and found.recommendation.against == "a"
    assert found.good["a"].good == 12 and found.good["b"].good == 0
    few = [RatedSample(s.id, "x", "good" if s.id in ("a/p0/0", "a/p1/0") else "bad") for s in samples]
    weakly = conclude(samples, scores, setting=setting, grades=few).recommendation
    assert weakly.outcome == "costs_unknown" or weakly.arm == "b"
    assert "although the grades name a best and not b" in weakly.text
    agreeing = [RatedSample(s.id, "x", "good" if s.arm == "b" else "bad") for s in samples]
    assert "although" not in conclude(samples, scores, setting=setting, grades=agreeing).recommendation.text


def test_grades_can_decide():
    samples, scores = judged_values()
    grades = [RatedSample(s.id, "x", "good" if s.arm == "a" else "bad") for s in samples]
    found = conclude(samples, scores, setting=AnalysisSettings(primary="grade"), grades=grades)
    assert found.verdict.startswith("a is better than b by 1.000")
    rows = {(p.metric, p.question): p.p_holm for p in found.pairs}
    assert rows["grade", "new"] == pytest.approx(2 / 2**6) and rows["rouge1", "new"] is None


def test_a_rater_who_graded_a_sample_twice_counts_once_and_is_named():
    samples, scores = judged_values()
    grades = [RatedSample("a/p0/0", "x", "good"), RatedSample("a/p0/0", "x", "bad")]
    found = conclude(samples, scores, setting=AnalysisSettings(primary="rouge1"), grades=grades)
    assert found.good["a"].good == 1
    assert "1 samples were graded more than once by one rater; the first grade counts." in found.warnings
