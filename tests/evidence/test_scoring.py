"""Scores are ROUGE's, and an arm's mean weighs every prompt alike."""

from __future__ import annotations

import math

import pytest
from rouge_score import rouge_scorer

from finetrial.errors import UserError
from finetrial.evidence.sample_scores import arm_means, prompt_means, score_samples
from finetrial.store.records import Sample, Score
from finetrial.trial.schema import Judging


def sample(arm: str, prompt_id: str, index: int, *, text: str = "", references: tuple[str, ...] = ()) -> Sample:
    return Sample(
        id=f"{arm}/{prompt_id}/{index}",
        prompt_id=prompt_id,
        group=None,
        arm=arm,
        index=index,
        prompt="p",
        text=text,
        token_ids=None,
        references=references,
        end_reason=None,
        logprob=None,
        tokens=None,
        seconds=None,
        seed=None,
    )


def score(of: Sample, value: float | None, *, metric: str = "rouge1") -> Score:
    return Score(sample_id=of.id, metric=metric, value=value, signature="s")


def test_every_metric_of_every_sample_is_rouge_scores_f_measure():
    rows = [
        sample("a", "1", 0, text="the cat sat on the mat", references=("a cat sat on a mat",)),
        sample("a", "2", 0, text="", references=("nothing",)),
        sample("b", "1", 0, text="cats sitting on mats", references=("a cat sat on a mat",)),
    ]
    reference = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    expected = {
        (row.id, metric): found.fmeasure
        for row in rows
        for metric, found in reference.score(row.references[0], row.text).items()
    }
    scores = score_samples(rows, judging=Judging(stemmer=True))
    assert len(scores) == 9
    assert {(s.sample_id, s.metric): s.value for s in scores} == pytest.approx(expected, abs=1e-9)
    assert all("stem:porter" in s.signature for s in scores)


@pytest.mark.parametrize(
    ("rule", "rouge1", "rouge2", "named"),
    [
        # text "a b c d"; references "b a d c" (R1 4/4, R2 0 of 3) and "a b x y" (R1 2/4, R2 1 of 3).
        ("best_primary", 1.0, 0.0, "refs:best_by_primary:rouge1"),
        ("best", 1.0, 1 / 3, "refs:best_per_metric"),
        ("mean", 0.75, 1 / 6, "refs:mean"),
    ],
)
def test_the_rule_for_several_references_decides_and_is_named(rule, rouge1, rouge2, named):
    row = sample("a", "1", 0, text="a b c d", references=("b a d c", "a b x y"))
    scores = score_samples([row], judging=Judging(references=rule, metrics=("rouge1", "rouge2")))
    assert [s.value for s in scores] == pytest.approx([rouge1, rouge2])
    assert all(named in s.signature for s in scores)


def test_a_sample_without_references_is_undefined_and_not_zero():
    scores = score_samples([sample("a", "1", 0, text="words")], judging=Judging())
    assert [s.value for s in scores] == [None, None, None]
    assert arm_means([sample("a", "1", 0)], scores)["rouge1"]["a"].mean is None


def test_the_primary_is_computed_although_it_was_not_listed_and_grades_are_not():
    rows = [sample("a", "1", 0, text="x", references=("x",))]
    named = [s.metric for s in score_samples(rows, judging=Judging(primary="rougeL", metrics=("rouge1",)))]
    assert named == ["rougeL", "rouge1"]
    graded = [s.metric for s in score_samples(rows, judging=Judging(primary="grade", metrics=("rouge1",)))]
    assert graded == ["rouge1"]


def test_an_unknown_metric_names_what_exists():
    with pytest.raises(UserError, match="Did you mean 'rouge1'"):
        score_samples([], judging=Judging(metrics=("rouge_1",), primary="rouge1"))


def test_an_arms_mean_is_the_mean_of_its_prompts_means():
    # Prompt 1 has three samples (mean 0.2), prompt 2 one (0.8): mean of prompts 0.5, of samples 0.35.
    rows = [sample("a", "1", i) for i in range(3)] + [sample("a", "2", 0)]
    scores = [score(row, value) for row, value in zip(rows, [0.1, 0.2, 0.3, 0.8], strict=True)]
    found = arm_means(rows, scores)["rouge1"]["a"]
    assert found.mean == pytest.approx(0.5)
    assert (found.n_samples, found.n_prompts) == (4, 2)
    assert prompt_means(rows, scores)["rouge1"]["a"] == pytest.approx({"1": 0.2, "2": 0.8})


def test_where_every_prompt_has_as_many_samples_it_is_the_plain_mean():
    rows = [sample("a", str(p), i) for p in range(4) for i in range(3)]
    values = [((7 * n) % 12) / 12 for n in range(12)]
    found = arm_means(rows, [score(r, v) for r, v in zip(rows, values, strict=True)])["rouge1"]["a"]
    assert found.mean == pytest.approx(math.fsum(values) / 12)


def test_undefined_values_count_nowhere_and_every_arm_is_named():
    rows = [sample("a", "1", 0), sample("a", "1", 1), sample("b", "1", 0)]
    found = arm_means(rows, [score(rows[0], 0.4), score(rows[1], None), score(rows[2], math.nan)])["rouge1"]
    assert (found["a"].mean, found["a"].n_samples, found["a"].n_prompts) == (0.4, 1, 1)
    assert (found["b"].mean, found["b"].n_samples, found["b"].n_prompts) == (None, 0, 0)


def test_a_score_without_its_sample_is_refused():
    with pytest.raises(UserError, match="belongs to no sample"):
        arm_means([sample("a", "1", 0)], [score(sample("b", "1", 0), 0.5)])
