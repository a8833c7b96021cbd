"""Results without spread, without pairs or without an answer are said in words that are true."""

from __future__ import annotations

import re

import pytest

from finetrial.api.outputs import score
from finetrial.stats.comparison import compare_on_new_prompts, compare_on_these_prompts, compare_retrained
from finetrial.stats.power import observed_spread
from finetrial.stats.sample_size import ASSUMED, sample_size


def of_values(a, b, **columns):
    rows = [
        {"prompt": f"q{place}", "arm": arm, "text": f"{arm}{place}", "v": value, **columns}
        for place, pair in enumerate(zip(a, b, strict=True))
        for arm, value in zip("ab", pair, strict=True)
    ]
    return score(rows, values=["v"])


def said(result):
    return " ".join(str(result).split())


def of_texts(text, n=8, *, primary="rouge1"):
    rows = [
        {"prompt": f"q{place}", "arm": arm, "text": text(arm, place), "reference": "yes it is"}
        for place in range(n)
        for arm in "ab"
    ]
    return score(rows, primary=primary, metrics=[primary])


# 0.5 - 0.4, 0.55 - 0.45 and so on differ in their last digits: eight times 0.1
SAME_GAP = of_values([0.5 + 0.05 * i for i in range(8)], [0.4 + 0.05 * i for i in range(8)])


@pytest.mark.parametrize(
    ("result", "difference"),
    [(SAME_GAP, 0.1), (of_values([0.5] * 8, [0.3] * 8), 0.2), (of_values([0.2] * 8, [0.2] * 8), 0.0)],
)
def test_arms_that_differ_by_the_same_everywhere_show_no_spread_and_detect_nothing_in_particular(
    result, difference
):
    (pair,) = result.findings.pairs
    assert pair.difference == pytest.approx(difference) and pair.low is None
    assert pair.reason == "all 8 differences are equal: the data say nothing of the spread between prompts"
    (power,) = result.findings.power
    assert power.detectable is None and power.prompts_needed is None
    text = said(result)
    assert "true difference of" not in text and "what difference they can show is not known" in text
    assert "by the signs of differences, which needs no interval" in text  # the p has a reason beside it
    assert (pair.p == 2 / 2**8) if difference else (pair.p == 1.0)


def test_a_step_of_rounding_is_a_tie_on_every_question():
    a, b = [0.1 + 0.2] * 6, [0.3] * 6
    assert a != b
    new = compare_on_new_prompts(a, b)
    assert (new.wins, new.losses, new.ties, new.p) == (0, 0, 6, 1.0)
    these = compare_on_these_prompts([[0.1 + 0.2, 0.3]] * 6, [[0.3, 0.3]] * 6)
    assert these.low is None and "all score the same" in these.reason
    again = compare_retrained([a, b], [b, b], a_is_trained=True, b_is_trained=True)
    assert again.low is None and "neither prompts nor runs vary" in again.reason


def test_an_arm_of_one_score_has_no_interval_of_its_own_and_the_difference_has_one():
    result = of_values([0.5] * 8, [0.4 - 0.01 * i for i in range(8)])
    rows = result.findings.intervals["v"]
    assert rows["a"].low is None and rows["b"].low is not None
    (pair,) = result.findings.pairs
    assert pair.low is not None and pair.p == 2 / 2**8
    assert "no interval of a: all 8 values are equal" in said(result)
    assert "by the signs of differences, which needs no interval" in said(result)


def test_arms_that_answered_no_common_prompt_are_not_compared_and_that_is_the_reason():
    rows = [
        {"prompt": f"q{i}{arm}", "arm": arm, "text": f"{i}", "reference": "yes"} for i in range(8) for arm in "ab"
    ]
    text = said(score(rows))
    assert "Cannot tell which arm is better by ROUGE-1: no prompt has a value of both arms." in text
    assert "there is no value" not in text and "by the signs" not in text


def test_one_prompt_is_one_prompt():
    text = said(of_texts(lambda arm, place: "yes it is", 1))
    assert "they score the same on the one prompt (p = 1)" in text and "every one of 1" not in text
    assert "with 1 prompt there is nothing to test" in said(of_values([0.5], [0.4]))
    grouped = of_values([0.1, 0.5], [0.4, 0.7], group="one")
    assert "fewer than two groups have samples of both arms" in said(grouped)


def test_grades_that_say_nobody_could_tell_are_not_missing_grades():
    rows = [
        {"prompt": f"q{i}", "arm": arm, "text": f"{i}", "grade": "can't tell"} for i in range(4) for arm in "ab"
    ]
    assert score(rows).verdict == "Cannot tell: grades decide, and all 8 say that nobody could tell."


@pytest.mark.parametrize("primary", ["macro_f1", "rouge1", "exact"])
def test_arms_that_are_all_right_or_all_wrong_score_the_same(primary):
    for text, value in (("yes it is", "1.000"), ("no", "0.000")):
        verdict = of_texts(lambda arm, place, text=text: text, primary=primary).verdict
        same = "they score the same on every one of 8 prompts (p = 1)"
        whole = f"they have the same mean, {value}, on 8 prompts (p = 1)"
        assert (whole if primary == "macro_f1" else same) in verdict
        assert "largest difference" not in verdict


def test_means_that_are_equal_by_chance_are_called_equal():
    result = of_values([0.1, 0.3, 0.2, 0.4, 0.1, 0.3], [0.3, 0.1, 0.4, 0.2, 0.3, 0.1])
    assert re.search(r"they have the same mean, 0\.233, on 6 prompts \(p = 1\)", result.verdict)


def test_whole_arm_metrics_name_their_own_test_where_there_is_no_interval():
    text = said(of_texts(lambda arm, place: "yes it is" if arm == "a" else "no", primary="macro_f1"))
    assert "by swapping the two arms' texts, which needs no interval" in text


def test_a_pilot_without_variance_does_not_plan_a_trial():
    alike = observed_spread([[0.5]] * 6, [[0.3]] * 6)
    found = sample_size(arms=2, per_prompt=1, pilot=alike)
    assumed = sample_size(arms=2, per_prompt=1)
    assert found.needed == assumed.needed and found.needed.prompts > 50
    assert found.assumption == f"{ASSUMED}, for 6 prompts of the pilot show no variance"


def test_a_metric_that_is_the_same_everywhere_is_named():
    assert (
        "ROUGE-1: 1 for every sample, which separates no arms." in of_texts(lambda arm, place: "yes it is").warnings
    )
