"""An arm that scores no more than other prompts' references is not shown to do the task."""

from __future__ import annotations

import pytest
from evidence_material import concluded, from_values, sample, steps

from finetrial.evidence.conclude import AnalysisSettings, conclude
from finetrial.evidence.cost import CostOrder
from finetrial.evidence.findings import Interval
from finetrial.evidence.floor import (
    FEWEST_PROMPTS,
    MOST_ANSWERS,
    OtherReferences,
    compare_with_floor,
    score_other_references,
)
from finetrial.store.records import Sample
from finetrial.trial.schema import Judging

ORDER = CostOrder(("base", "lora"), "tuning plus 1,000 requests, in FLOPs")


def referenced(*references: tuple[str, ...] | str, groups: tuple[str, ...] | None = None) -> list[Sample]:
    """One sample of one arm for each prompt; its text counts for nothing."""
    return [
        sample(
            "a",
            f"p{i}",
            text="whatever it says",
            references=(row,) if isinstance(row, str) else row,
            group=groups[i] if groups else None,
        )
        for i, row in enumerate(references)
    ]


def test_the_floor_of_labels_is_how_often_another_prompts_label_is_right():
    # Five prompts: yes, yes, yes, no, no. A yes meets 2 of 4 others with yes, a no 1 of 4 with no:
    # (3 x 2/4 + 2 x 1/4) / 5 = 0.4. Each prompt's own label is right: 1.
    found = score_other_references(referenced("yes", "yes", "yes", "no", "no"), judging=Judging(primary="exact"))
    assert (found.value, found.own, found.n_prompts, found.n_answers) == (pytest.approx(0.4), 1.0, 5, 20)


def test_the_floor_by_rouge_1_is_worked_by_hand():
    # Four prompts with "the dog X" and distinct X, one with "fog": among the four every pair shares 2 words of 3,
    # F = 2/3; with fog nothing. So (4 x (3 x 2/3 + 0) / 4 + 0) / 5 = 0.4.
    texts = ("the dog ran", "the dog sat", "the dog ate", "the dog hid", "fog")
    found = score_other_references(referenced(*texts), judging=Judging(primary="rouge1"))
    assert found.value == pytest.approx(0.4) and found.own == 1.0


def test_every_reference_of_a_prompt_is_an_answer_and_the_rule_for_several_holds():
    # p0 has two references. Of the answers to it, (cow, pig, fox, hen), the first fits one of the two, and the best
    # counts: 1/4. p1 (cow) gets cow and owl of p0 and three others: 1/5. The others get nothing that fits.
    found = score_other_references(
        referenced(("cow", "owl"), "cow", "pig", "fox", "hen"), judging=Judging(primary="exact")
    )
    assert found.value == pytest.approx((1 / 4 + 1 / 5) / 5)
    assert found.n_answers == 4 + 4 * 5


def test_the_references_of_the_same_group_are_no_answers_and_a_group_counts_once():
    # Groups A (p0, p1: yes, yes) and B to E (no each). Within A the yes would be right; from elsewhere it never is.
    # A: 0. Each no meets 3 of 5 others: .6. Units: (0 + 4 x .6) / 5.
    labels = ("yes", "yes", "no", "no", "no", "no")
    found = score_other_references(
        referenced(*labels, groups=("A", "A", "B", "C", "D", "E")), judging=Judging(primary="exact")
    )
    assert found.value == pytest.approx(4 * 0.6 / 5)


def test_with_few_prompts_or_scores_from_elsewhere_the_floor_is_undefined_with_its_reason():
    few = score_other_references(referenced(*["x"] * (FEWEST_PROMPTS - 1)), judging=Judging(primary="exact"))
    assert few.value is None and few.reason == "fewer than 5 prompts have references"
    none = score_other_references(referenced(*[()] * 9), judging=Judging(primary="rouge1"))
    assert none.value is None and none.n_prompts == 0


def test_a_metric_of_ones_own_is_asked_too_and_its_failure_leaves_the_floor_undefined(tmp_path):
    (tmp_path / "own.py").write_text(
        "def same(text, references):\n    return float(text in references)\n"
        "def fails(text, references):\n    raise ValueError('no')\n"
    )
    rows = referenced("a", "a", "a", "b", "b")
    found = score_other_references(rows, judging=Judging(primary="own.py:same", metrics=()), base=tmp_path)
    assert found.value == pytest.approx(0.4)
    failed = score_other_references(rows, judging=Judging(primary="own.py:fails", metrics=()), base=tmp_path)
    assert failed.value is None and "own.py:fails failed" in failed.reason


def test_many_prompts_are_answered_by_a_seeded_subset_that_the_order_of_samples_does_not_change():
    # 400 prompts, labels a and b by turns: a share of 199/399 of all other references is right.
    rows = referenced(*("ab"[i % 2] for i in range(400)))
    found = score_other_references(rows, judging=Judging(primary="exact"), seed=3)
    assert found.n_answers == 400 * 5 == MOST_ANSWERS
    assert found.value == pytest.approx(199 / 399, abs=0.04)
    assert score_other_references(rows[::-1], judging=Judging(primary="exact"), seed=3) == found
    assert score_other_references(rows, judging=Judging(primary="exact"), seed=4).value != found.value


def test_an_arm_is_above_where_its_whole_interval_lies_more_than_the_margin_above():
    other = OtherReferences(0.4, 1.0, 9, 72)
    intervals = {
        "clear": Interval(0.43, 0.6, 0.5),
        "reaches": Interval(0.42, 0.6, 0.5),  # begins at the margin, not above it
        "flat above": Interval(None, None, 0.5),
        "flat below": Interval(None, None, 0.41),
        "unscored": Interval(None, None, None),
    }
    found = compare_with_floor(other, intervals=intervals, margin=0.02, sign=1.0)
    assert (found.above, found.at) == (("clear", "flat above"), ("reaches", "flat below"))
    # where less is better: other prompts' references score 2.0, a prompt's own 0
    less = compare_with_floor(
        OtherReferences(2.0, 0.0, 9, 72),
        intervals={"good": Interval(0.5, 1.9, 1.0), "bad": Interval(0.5, 2.5, 1.0)},
        margin=0.02,
        sign=-1.0,
    )
    assert (less.above, less.at) == (("good",), ("bad",))


def test_a_metric_that_gives_other_references_as_much_as_a_prompts_own_has_no_floor():
    # valid JSON never looks at the prompt: no arm could be shown to do better than another prompt's reference
    rows = referenced(*['{"a": 1}'] * 6)
    other = score_other_references(rows, judging=Judging(primary="json"))
    assert (other.value, other.own) == (1.0, 1.0)
    found = compare_with_floor(other, intervals={"a": Interval(0.8, 1.0, 0.9)}, margin=0.02, sign=1.0)
    assert found.value is None and found.at == () and "prompt's own" in found.reason


def at_floor(base: float, lora: float, *, other: float | None = 0.4, n: int = 10):
    gains = [0.004 * ((i * 7) % 5 - 2) for i in range(n)]
    values = {"base": steps(base, *gains), "lora": steps(lora, *gains[::-1])}
    found = None if other is None else OtherReferences(other, 1.0, n, n * (n - 1))
    return concluded(values, order=ORDER, margin=0.02, other_references=found)


def test_where_all_arms_are_at_the_floor_none_is_recommended_and_the_first_warning_says_so():
    found = at_floor(0.38, 0.40)
    assert found.floor.at == ("base", "lora") and found.floor.above == ()
    assert (found.recommendation.arm, found.recommendation.outcome) == (None, "floor")
    assert found.recommendation.text == (
        "No arm does this task, and none is recommended: other prompts' references given as answers score 0.400 "
        "ROUGE-1, and no arm's 95 % interval lies more than 0.020 above that (lora's comes nearest and begins at "
        "0.396)."
    )
    warning = found.verdict_warnings[0]
    assert (warning.kind, warning.arms) == ("at_floor", ("base", "lora"))
    assert warning.text == (
        "No arm does this task, as far as 10 prompts show: none's 95 % interval lies more than 0.020 above 0.400, "
        "the ROUGE-1 of other prompts' references given as answers (base 0.380 and lora 0.400)."
    )
    # without the floor the same values recommend an arm
    assert at_floor(0.39, 0.40, other=None).recommendation.arm == "base"


def test_a_cheaper_arm_at_the_floor_is_not_taken_though_it_is_within_the_margin():
    found = at_floor(0.418, 0.43)
    assert found.floor.at == ("base",) and found.floor.above == ("lora",)
    assert found.recommendation.arm != "base"
    assert not [w for w in found.verdict_warnings if w.kind == "at_floor"]
    assert at_floor(0.418, 0.43, other=0.1).recommendation.arm == "base"


def test_people_s_grades_have_no_floor():
    samples, scores = from_values({"a": steps(0.3, 0.1, 0.2), "b": steps(0.3, 0.2, 0.1)})
    assert conclude(samples, scores, setting=AnalysisSettings(primary="rouge1")).floor is None
