"""A verdict says what the numbers support: by how much, how sure, or why nobody can tell."""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace

import pytest
from evidence_material import concluded, from_values, pair, sample, steps

from finetrial.evidence.conclude import AnalysisSettings, conclude
from finetrial.evidence.cost import CostOrder
from finetrial.store.records import Score

FLAT = (0.0,) * 8


def test_eight_prompts_won_by_one_arm_make_it_better_with_the_p_of_the_exact_test():
    # 8 differences, all of one sign: the least p of the sign-flip test, 2 / 2^8 = 0.0078, alone in its family.
    gains = (0.1, 0.12, 0.11, 0.09, 0.1, 0.15, 0.1, 0.11)
    found = concluded({"a": steps(0.3, *FLAT), "b": steps(0.3, *gains)})
    row = pair(found, "a", "b")
    assert row.p == row.p_holm == pytest.approx(2 / 2**8)
    assert row.difference == pytest.approx(-sum(gains) / 8)
    assert found.verdict.startswith("b is better than a by 0.110 (95 % interval +0.0")
    assert "p = 0.0078) in ROUGE-1, on 8 prompts" in found.verdict


def test_five_prompts_cannot_reach_05_and_the_verdict_says_how_many_would():
    found = concluded({"a": steps(0.3, *FLAT[:5]), "b": steps(0.3, 0.1, 0.12, 0.11, 0.09, 0.1)})
    assert pair(found, "a", "b").p == 0.0625
    # 2^(1-6) = 0.031 is the first below .05: 6 prompts.
    assert found.verdict == (
        "Cannot tell which arm is better by ROUGE-1: 5 prompts are too few: no result could reach p < .05; about 6 "
        "would be needed."
    )


def test_three_arms_need_seven_prompts_under_holm():
    gains = (0.1, 0.12, 0.11, 0.09, 0.1, 0.13)
    six = {"a": steps(0.3, *FLAT[:6]), "b": steps(0.5, *gains), "c": steps(0.8, *gains[::-1])}
    assert (
        "6 prompts are too few: no result could reach p < .05 after correcting for 3 comparisons; about 7 would be"
        in concluded(six).verdict
    )
    seven = {arm: {**row, "p006": [row["p005"][0] + 0.01]} for arm, row in six.items()}
    assert concluded(seven).verdict.startswith("c is better than b by ")


def test_the_same_arm_twice_gives_p_1_and_cannot_be_told():
    rows = {f"p{i}": [i / 10, i / 20, i / 30] for i in range(9)}
    found = concluded({"once": rows, "again": rows})
    assert [row.p for row in found.pairs] == [1.0, 1.0]
    assert {row.question for row in found.pairs} == {"new", "these"}
    assert found.verdict.startswith(
        "Cannot tell which arm is better by ROUGE-1: they score the same on every one of 9"
    )
    assert found.recommendation.arm is None


def test_the_order_of_samples_changes_nothing():
    rng = random.Random(5)
    values = {arm: {f"p{i}": [rng.random() for _ in range(3)] for i in range(12)} for arm in ("a", "b", "c")}
    samples, scores = from_values(values)
    setting = AnalysisSettings(primary="rouge1", arms=("a", "b", "c"))
    first = conclude(samples, scores, setting=setting)
    for seed in range(3):
        mixed = list(zip(samples, scores, strict=True))
        random.Random(seed).shuffle(mixed)
        again = conclude([s for s, _ in mixed], [s for _, s in mixed], setting=setting)
        assert again == first


def test_a_file_that_was_pasted_twice_changes_no_interval_and_is_named():
    rng = random.Random(6)
    values = {arm: {f"p{i}": [rng.random() for _ in range(3)] for i in range(12)} for arm in ("a", "b")}
    samples, scores = from_values(values)
    copies = [sample(s.arm, s.prompt_id, s.index + 3, text=s.text) for s in samples]
    more = [Score(c.id, s.metric, s.value, s.signature) for c, s in zip(copies, scores, strict=True)]
    contents = {s.id: s.text for s in (*samples, *copies)}
    setting = AnalysisSettings(primary="rouge1", contents=contents)
    once = conclude(samples, scores, setting=setting)
    twice = conclude([*samples, *copies], [*scores, *more], setting=setting)
    assert (twice.intervals, twice.pairs, twice.verdict) == (once.intervals, once.pairs, once.verdict)
    assert len([w for w in twice.warnings if "Every row of the file stands 2 times" in w]) == 1
    assert not [w for w in once.warnings if "times" in w]


def test_an_arm_that_answers_alike_each_time_has_its_samples():
    # b scores .5 in each of three samples of every prompt, a varies: on these prompts b's samples weigh as a's do
    rng = random.Random(7)
    values = {
        "a": {f"p{i}": [0.2 + 0.1 * rng.random() for _ in range(3)] for i in range(4)},
        "b": {f"p{i}": [0.5] * 3 for i in range(4)},
    }
    samples, scores = from_values(values)
    same = [replace(s, text="alike") if s.arm == "b" else s for s in samples]
    found = conclude(
        same, scores, setting=AnalysisSettings(primary="rouge1", contents={s.id: s.text for s in same})
    )
    (these,) = [pair for pair in found.pairs if pair.question == "these"]
    # Every one of b's is above a's: of C(6, 3)^4 = 160,000 shuffles two are as extreme; with one sample of b
    # for three of a's it would be one in 4^4
    assert these.p < 0.001 and not [w for w in found.warnings if "Every row" in w]


@pytest.mark.parametrize("question", ["new", "these", "retrained"])
def test_no_interval_of_shares_or_of_their_differences_passes_its_bounds(question):
    # few prompts, and shares near 0 and 1: Student's t alone would pass 1
    values = {
        "a": {"p1": [1, 1, 0], "p2": [1, 1, 1], "p3": [1, 1, 1]},
        "b": {f"p{i}": [0, 0, 0] for i in (1, 2, 3)},
    }
    values["b"]["p1"] = [0, 1, 0]
    samples, scores = from_values(values)
    runs = {s.id: str(s.index) for s in samples}
    scores = [replace(score, metric="a column") for score in scores]
    found = conclude(samples, scores, setting=AnalysisSettings(primary="a column", runs=runs))
    (pair,) = [p for p in found.pairs if p.question == question]
    assert pair.difference == pytest.approx(7 / 9) and pair.low is not None and pair.high is not None
    assert -1 <= pair.low < pair.difference < pair.high <= 1
    assert all(0 <= row.low <= row.mean <= row.high <= 1 for row in found.intervals["a column"].values())


def test_one_sample_said_twice_is_two_samples():
    values = {"a": {"p1": [0.2, 0.2], "p2": [0.4, 0.6]}, "b": {"p1": [0.1, 0.3], "p2": [0.5, 0.5]}}
    samples, scores = from_values(values)
    samples[1] = sample("a", "p1", 1, text=samples[0].text)  # the arm a says one thing twice, and other things once
    found = conclude(samples, scores, setting=AnalysisSettings(primary="rouge1"))
    assert not [w for w in found.warnings if "stands" in w]
    assert found.intervals["rouge1"]["a"].mean == pytest.approx(0.35)


def test_these_prompts_and_new_prompts_are_two_questions():
    # b is above a in all of 4 samples of 5 prompts. Shuffling within prompts gives that by chance once in
    # C(8, 4)^5 = 1.7e9; of five signs all agree once in 16.
    a = {f"p{i}": [0.5, 0.501, 0.502, 0.503] for i in range(5)}
    b = {prompt: [value + 0.1 for value in row] for prompt, row in a.items()}
    found = concluded({"a": a, "b": b})
    assert pair(found, "a", "b", question="these").p < 0.001
    assert pair(found, "a", "b", question="new").p == 0.0625
    assert found.verdict.startswith("Cannot tell")
    assert "On these very prompts b over a is beyond the noise of sampling" in found.verdict


def test_rows_of_one_group_are_one_unit():
    gains = [0.1, 0.12, 0.11, 0.09, 0.1, 0.15, 0.1, 0.11]
    values = {"a": steps(0.3, *FLAT), "b": steps(0.3, *gains)}
    groups = {f"p{i:03}": f"customer {i // 4}" for i in range(8)}
    found = concluded(values, groups=groups)
    row = pair(found, "a", "b")
    assert (row.n_units, row.p) == (2, 0.5)  # two customers: 2^(1-2)
    assert found.intervals["rouge1"]["b"].n_prompts == 8
    assert "2 groups are too few: no result could reach p < .05" in found.verdict


def test_only_the_primary_is_corrected_and_the_others_are_exploratory():
    samples, scores = from_values({"a": steps(0.3, *FLAT), "b": steps(0.5, *FLAT[:4], 0.1, 0.1, 0.1, 0.1)})
    other = [Score(s.sample_id, "rougeL", s.value, "rougeL") for s in scores]
    found = conclude(
        samples, [*scores, *other], setting=AnalysisSettings(primary="rouge1", metrics=("rougeL", "rouge1"))
    )
    assert pair(found, "a", "b").p_holm is not None
    row = pair(found, "a", "b", metric="rougeL")
    assert row.p == pair(found, "a", "b").p and row.p_holm is None
    assert list(found.intervals) == ["rouge1", "rougeL"]


def test_what_was_changed_with_the_scores_in_view_is_exploratory():
    gains = (0.1, 0.12, 0.11, 0.09, 0.1, 0.15, 0.1, 0.11)
    change = "judging.margin was 0.02 when the first scores were written and is 0.2 now"
    found = concluded({"a": steps(0.3, *FLAT), "b": steps(0.3, *gains)}, exploratory=(change,))
    assert [row.p_holm for row in found.pairs] == [None]
    assert found.verdict.startswith("b is better than a")
    (warning,) = found.verdict_warnings
    assert (warning.kind, warning.text) == ("judging_changed", f"Exploratory: {change}.")


def test_where_less_is_better_the_lower_mean_wins():
    gains = (0.1, 0.12, 0.11, 0.09, 0.1, 0.15, 0.1, 0.11)
    found = concluded({"a": steps(0.3, *FLAT), "b": steps(0.3, *gains)}, lower_is_better=("rouge1",))
    assert found.verdict.startswith("a is better than b by 0.110 (95 % interval +0.0")


def test_repeated_training_is_a_third_question():
    rng = random.Random(2)
    values: dict[str, dict[str, list[float]]] = {"base": {}, "lora": {}}
    for i in range(10):
        hard = rng.uniform(-0.1, 0.1)
        values["base"][f"p{i}"] = [0.3 + hard]
        values["lora"][f"p{i}"] = [0.5 + hard + shift + rng.uniform(-0.02, 0.02) for shift in (0.0, 0.01, -0.01)]
    samples, scores = from_values(values)
    runs = {s.id: f"seed {s.index}" for s in samples if s.arm == "lora"}
    found = conclude(samples, scores, setting=AnalysisSettings(primary="rouge1", runs=runs, trained=("lora",)))
    again = pair(found, "base", "lora", question="retrained")
    assert again.difference == pytest.approx(pair(found, "base", "lora").difference)
    assert again.p < 0.05 and again.high - again.low > 0
    assert "Other training runs would show it too" in found.verdict
    once = conclude(samples, scores, setting=AnalysisSettings(primary="rouge1", trained=("lora",)))
    assert "This holds for these weights only: lora was trained once." in once.verdict
    assert {row.question for row in once.pairs} == {"new", "these"}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
def test_undefined_and_infinite_values_are_answered(bad):
    values = {"a": {"p1": [0.1], "p2": [bad]}, "b": {"p1": [0.2], "p2": [0.3]}}
    found = concluded(values)
    row = found.intervals["rouge1"]["a"]
    if bad is None or math.isnan(bad):
        assert row.mean == 0.1 and "1 of 4 samples have no ROUGE-1." in found.warnings
    else:
        assert row.mean is None and "infinite" in row.reason
        assert any("infinite" in warning for warning in found.warnings)
    assert found.verdict


def test_one_prompt_one_arm_and_nothing_at_all_are_answered():
    one = concluded({"a": {"p1": [0.1, 0.2]}, "b": {"p1": [0.3, 0.4]}})
    assert one.verdict.startswith(
        "Cannot tell which arm is better by ROUGE-1: with 1 prompt there is nothing to test"
    )
    alone = concluded({"a": steps(0.3, 0.1, 0.2, 0.3)})
    assert alone.verdict.endswith("there is no other arm to compare it with.") and alone.recommendation is None
    nothing = concluded({"a": {"p1": [None]}, "b": {"p1": [None]}})
    assert nothing.verdict == "Cannot tell: no sample has a ROUGE-1."
    assert (
        conclude([], [], setting=AnalysisSettings(primary="rouge1")).verdict == "Cannot tell: there are no samples."
    )
    graded = concluded({"a": steps(0.3, 0.1), "b": steps(0.3, 0.2)}, primary="grade")
    assert graded.verdict == "Cannot tell yet: grades decide, and none are open."


NAMES = CostOrder(("base", "lora", "full"), "tuning plus 1,000 requests, in FLOPs")


def ripple(i: int) -> float:
    """A small fixed difference from prompt to prompt."""
    return 0.004 * ((i * 7) % 5 - 2)


def three_arms(n: int, *, lora: float, full: float) -> dict[str, dict[str, list[float]]]:
    return {
        "base": {f"p{i:03}": [0.2 + ripple(i)] for i in range(n)},
        "lora": {f"p{i:03}": [lora + ripple(2 * i + 1)] for i in range(n)},
        "full": {f"p{i:03}": [full + ripple(3 * i + 2)] for i in range(n)},
    }


def test_the_cheapest_arm_within_the_margin_of_the_best_is_recommended():
    found = concluded(three_arms(40, lora=0.495, full=0.5), order=NAMES, margin=0.02).recommendation
    assert found.arm == "lora"
    assert -0.02 < found.bound < -0.005 and found.against == "full"
    assert found.text == (
        "Take lora, the cheapest arm that is shown to be good enough: at worst it is "
        f"{-found.bound:.3f} ROUGE-1 short of full (lower bound of the 95 % interval), and the margin is 0.020. "
        "Cheapest by tuning plus 1,000 requests, in FLOPs."
    )
    assert (found.cost_order, found.cost_basis) == (NAMES.arms, NAMES.basis)


def test_where_every_cheaper_arm_is_worse_the_best_is_recommended():
    found = concluded(three_arms(40, lora=0.45, full=0.5), order=NAMES, margin=0.02).recommendation
    assert found.arm == "full"
    # the deciding bounds stand beside the means: 0.300 and 0.050 lower, and a little more at worst
    assert re.search(
        r"within 0\.020 \(base is 0\.300 lower, at worst 0\.30\d and lora is 0\.050 lower, at worst 0\.05\d\)",
        found.text,
    )


def test_where_it_is_open_what_is_missing_is_said():
    found = concluded(three_arms(5, lora=0.49, full=0.5), order=NAMES, margin=0.012).recommendation
    assert found.arm is None
    assert (
        "no cheaper arm (by tuning plus 1,000 requests, in FLOPs) is shown to be within 0.012 ROUGE-1" in found.text
    )
    assert found.outcome == "open" and found.bound < -0.012
    assert "prompts would settle it" in found.text


def test_the_best_that_is_also_the_cheapest_needs_no_test():
    values = three_arms(6, lora=0.1, full=0.15)
    found = concluded(values, order=NAMES).recommendation
    assert found.arm == "base" and "the others cost more" in found.text


def test_without_an_order_of_costs_nothing_is_recommended_but_who_holds_up_is_said():
    found = concluded(three_arms(40, lora=0.495, full=0.5), margin=0.02).recommendation
    assert found.arm is None and found.outcome == "costs_unknown"
    assert re.match(
        r"lora is within 0\.020 ROUGE-1 of full \(lora at worst 0\.0\d\d short\)\. Which arm is cheapest",
        found.text,
    )


def test_without_an_order_of_costs_quality_alone_decides_where_every_other_arm_is_shown_to_be_worse():
    found = concluded(three_arms(40, lora=0.4, full=0.5), margin=0.02).recommendation
    assert found.arm == "full" and (found.cost_order, found.cost_basis) == ((), None)
    assert found.text.startswith("Take full by quality alone: every other arm is shown to be worse (lora is 0.100")
    assert "cheapest is not known here" in found.text


def test_the_prompts_needed_are_the_published_formula():
    # One sample a prompt: all variance counts as between prompts. The gains .05 + (-.45, -.35, ..., .45) have mean
    # .05 and variance 11/120, so (1.959964 + 0.841621)^2 (11/120) / .05^2 = 287.8.
    gains = [0.05 + (i - 4.5) / 10 for i in range(10)]
    (row,) = concluded({"a": steps(0.0, *[0.0] * 10), "b": steps(0.0, *gains)}).power
    assert (row.prompts_needed, row.n_prompts, row.n_samples) == (288, 10, 1)


@pytest.mark.parametrize("gain", [0.0, 0.1, 0.4])
def test_where_every_prompt_shows_the_same_difference_none_is_said_to_be_detectable(gain):
    # .7 - .3 and the like differ in the last digits: a spread of rounding is none
    (row,) = concluded({"a": steps(0.3, *[0.0] * 8), "b": steps(0.3 + gain, *[0.0] * 8)}).power
    assert row.detectable is None
    assert "the same on each of 8 prompts" in row.reason
    a = {f"p{i}": [i / 10] for i in range(8)}
    (row,) = concluded({"a": a, "b": {prompt: [value + gain] for prompt, (value,) in a.items()}}).power
    assert row.detectable is None


def test_a_detectable_difference_needs_that_many_prompts():
    rng = random.Random(1)
    values = {"a": {}, "b": {}}
    for i in range(50):
        values["a"][f"p{i}"] = [rng.random()]
        values["b"][f"p{i}"] = [rng.random()]
    (row,) = concluded(values).power
    gaps = [values["b"][p][0] - values["a"][p][0] for p in values["a"]]
    middle = sum(gaps) / 50
    variance = sum((g - middle) ** 2 for g in gaps) / 49
    assert row.detectable == pytest.approx(math.sqrt(7.8488797 * variance / 50), rel=1e-6)


def test_the_recommendation_names_the_bound_that_decides_in_every_outcome():
    """Pairs of flat differences: a is the best by 0.3 over c, and by 0.01 over b with a spread."""
    noise = [0.02 * ((i * 7) % 5 - 2) for i in range(len(FLAT))]
    order = CostOrder(("c", "b", "a"), "stored bytes")
    values = {"a": steps(0.5, *noise), "b": steps(0.49, *noise[::-1]), "c": steps(0.2, *FLAT)}
    for given in (order, None):
        found = concluded(values, order=given, margin=0.001)
        low = next(pair for pair in found.pairs if {pair.a, pair.b} == {"a", "b"}).gain_high
        recommended = found.recommendation
        assert recommended.bound == pytest.approx(-low) and recommended.against == "a", recommended.text
        assert f"{-recommended.bound:.3f}" in recommended.text
