"""Exact match, F1, JSON, length and the user's own function score beside ROUGE, each with its signature."""

from __future__ import annotations

from pathlib import Path

import pytest
from evidence_material import sample

from finetrial.errors import UserError
from finetrial.evidence.sample_scores import arm_means, score_samples
from finetrial.store.records import Score
from finetrial.trial.schema import Judging


def values(metric: str, *rows, base: Path = Path(), **judging) -> list[float | None]:
    found = score_samples(rows, judging=Judging(primary="rouge1", metrics=(metric,), **judging), base=base)
    return [score.value for score in found if score.metric == metric]


def test_exact_match_and_f1_take_the_best_reference_or_the_mean():
    row = sample("a", "p", text="The cat sat.", references=("a cat sat", "dogs run far away"))
    assert values("exact", row) == [0.0] and values("exact", sample("a", "p", text="x", references=("y", "x"))) == [
        1
    ]
    assert values("exact_squad", row) == [1.0] and values("exact_squad", row, references="mean") == [0.5]
    # "cat sat" against "dogs run far away" shares nothing
    assert values("f1", row) == [1.0] and values("f1", row, references="mean") == [0.5]


def test_json_needs_no_reference_and_the_others_are_undefined_without_one():
    rows = [sample("a", "p", text='{"a": [1, 2]}'), sample("a", "q", text="{a: 1}")]
    assert values("json", *rows) == [1.0, 0.0]
    for metric in ("exact", "f1", "length_ratio", "rouge2"):
        assert values(metric, *rows) == [None, None]


def test_the_length_ratio_is_words_over_the_references_mean():
    row = sample("a", "p", text="one two three", references=("one two", "one two three four"))
    assert values("length_ratio", row) == [1.0]


def test_the_length_ratio_cannot_decide():
    with pytest.raises(UserError, match="length_ratio cannot decide"):
        score_samples([], judging=Judging(primary="length_ratio"))


def test_scores_stand_in_the_order_of_the_judging_and_name_how_they_were_computed():
    rows = [sample("a", "p", text="x", references=("x",))]
    found = score_samples(rows, judging=Judging(primary="f1", metrics=("json", "rougeL", "f1")))
    assert [s.metric for s in found] == ["json", "rougeL", "f1"]
    assert [s.signature.split("|")[1:4] for s in found] == [
        ["tok:none", "stem:none", "refs:none"],
        ["tok:ascii", "stem:none", "refs:best_by_primary:rougeL"],
        ["tok:squad", "stem:none", "refs:best_per_metric"],
    ]


OWN = "def share(text, references):\n    return None if not text else text.count('a') / len(text)\n"


def own(tmp_path: Path, code: str) -> Path:
    (tmp_path / "rubric.py").write_text(code, encoding="utf-8")
    return tmp_path


def test_the_users_own_function_scores_and_its_file_is_named_by_its_hash(tmp_path):
    rows = [sample("a", "p", text="abab"), sample("a", "q", text="")]
    base = own(tmp_path, OWN)
    assert values("rubric.py:share", *rows, base=base) == [0.5, None]
    judging = Judging(primary="rubric.py:share", metrics=())
    first = score_samples(rows, judging=judging, base=base)[0].signature
    own(tmp_path, OWN + "# changed\n")
    again = score_samples(rows, judging=judging, base=base)[0].signature
    assert first.startswith("rubric.py:share|sha256:") and first != again


@pytest.mark.parametrize(
    ("code", "metric", "said"),
    [
        (OWN, "rubric.py:shore", "Did you mean 'share'"),
        (OWN, "other.py:share", "there is no file"),
        (OWN, "rubric.py", "needs its function"),
        ("1 +", "rubric.py:share", "cannot be run; got SyntaxError"),
        (
            "def share(text, references):\n    return 1 / 0\n",
            "rubric.py:share",
            "failed on the sample a/p/0; got Zero",
        ),
        (
            "def share(text, references):\n    return 'x'\n",
            "rubric.py:share",
            "returned no number for the sample a/p/0",
        ),
        (
            "def share(text, references):\n    return float('inf')\n",
            "rubric.py:share",
            "is infinite for the sample",
        ),
    ],
)
def test_a_function_that_fails_is_named_with_its_sample(tmp_path, code, metric, said):
    with pytest.raises(UserError, match=said):
        values(metric, sample("a", "p", text="t"), base=own(tmp_path, code))


def test_an_arms_mean_weighs_groups_alike():
    # Group g has prompts of means .2 and .4 (mean .3), the prompt r alone .9: (.3 + .9) / 2.
    rows = [sample("a", "p", group="g"), sample("a", "q", group="g"), sample("a", "r")]
    scores = [Score(r.id, "m", v, "m") for r, v in zip(rows, (0.2, 0.4, 0.9), strict=True)]
    assert arm_means(rows, scores)["m"]["a"].mean == pytest.approx(0.6)
