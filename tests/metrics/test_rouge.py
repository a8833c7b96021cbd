"""ROUGE equals rouge-score 0.1.2 wherever that can score, and says what it cannot see."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from finetrial.errors import UserError
from finetrial.metrics import ReferenceRule, rouge

ALL = ("rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum")
SCORERS = {stem: rouge_scorer.RougeScorer(list(ALL), use_stemmer=stem) for stem in (False, True)}

# Few words, so that texts share many of them; newlines, digits, punctuation, other scripts and long words among
# them.
WORDS = st.sampled_from(
    [
        *("the", "a", "cat", "cats", "sat", "sitting", "on", "mats", "relational", "ponies", "skies", "42", "3.14"),
        *("it's\n", "\n\n.", "?", "Ünïcode", "straße", "你好", "İ", "K", "—", "ʼ", "yyy"),
    ]
)
TEXTS = st.one_of(st.lists(WORDS, max_size=25).map(" ".join), st.text(max_size=40), st.text("ab \n", max_size=60))


def assert_equal_to_rouge_score(prediction: str, references: list[str], *, stemmer: bool) -> int:
    expected = SCORERS[stemmer].score_multi(references, prediction)
    found = rouge(prediction, references, metrics=ALL, stemmer=stemmer)
    for metric in ALL:
        score = found[metric]
        assert (score.precision, score.recall, score.fmeasure) == pytest.approx(tuple(expected[metric]), abs=1e-9)
    return len(ALL)


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3), st.booleans())
def test_equals_rouge_score_on_any_text(prediction: str, references: list[str], stemmer: bool) -> None:
    assert_equal_to_rouge_score(prediction, references, stemmer=stemmer)


def test_worked_by_hand() -> None:
    # prediction: the cat sat; reference: the cat sat on the mat.
    # 1-grams: 3 of 3 and 3 of 6 -> F = 2 * 1 * .5 / 1.5 = 2/3. 2-grams: 2 of 2 and 2 of 5 -> F = .8 / 1.4 = 4/7.
    found = rouge("The cat sat.", "the cat sat on the mat")
    assert (found.rouge1.precision, found.rouge1.recall) == (1, 0.5)
    assert found.rouge1.fmeasure == pytest.approx(2 / 3)
    assert found.rouge2.fmeasure == pytest.approx(4 / 7)
    assert found.rougeL.fmeasure == pytest.approx(2 / 3)


def test_a_gram_counts_at_most_as_often_as_it_stands_in_the_reference() -> None:
    # Papineni's degenerate candidate: seven times "the" against two of them.
    score = rouge("the the the the the the the", "the cat is on the mat").rouge1
    assert (score.precision, score.recall) == (pytest.approx(2 / 7), pytest.approx(2 / 6))


def test_reference_rules_are_what_their_names_say() -> None:
    # rouge1 prefers the first reference (all words), rouge2 the second (the order).
    prediction, references = "a b c d", ["d c b a", "a b x y z"]
    each = rouge(prediction, references, metrics=("rouge1", "rouge2"))
    assert (each.rouge1.fmeasure, each.rouge2.recall) == (1, 1 / 4)
    by_primary = rouge(
        prediction, references, metrics=("rouge1", "rouge2"), rule=ReferenceRule.BEST_BY_PRIMARY, primary="rouge1"
    )
    assert (by_primary.rouge1.fmeasure, by_primary.rouge2.fmeasure) == (1, 0)
    mean = rouge(prediction, references, metrics=("rouge1", "rouge2"), rule="mean")
    # rouge1: (1 + 2 * (2/4)(2/5)/(2/4 + 2/5)) / 2 = (1 + 4/9) / 2; rouge2: (0 + 2/7) / 2
    assert mean.rouge1.fmeasure == pytest.approx(13 / 18)
    assert mean.rouge2.fmeasure == pytest.approx(1 / 7)
    assert {str(r.signatures["rouge1"]).split("|")[3] for r in (each, by_primary, mean)} == {
        "refs:best_per_metric",
        "refs:best_by_primary:rouge1",
        "refs:mean",
    }


def test_unicode_mode_scores_every_script_and_is_named_in_the_signature() -> None:
    cases = ["привет мир", "你好世界", "नमस्ते दुनिया", "สวัสดีชาวโลก", "مرحبا بالعالم", "γειά σου κόσμε"]
    for text in cases:
        blind = rouge(text, text)
        assert blind.rouge1.fmeasure == 0
        assert any("no tokens" in warning for warning in blind.warnings)
        seeing = rouge(text, text, unicode=True)
        assert seeing.rouge1.fmeasure == seeing.rougeL.fmeasure == 1
        assert "tok:unicode" in str(seeing.signatures["rouge1"])
    assert rouge("你好世界", "你好朋友", unicode=True).rouge1.recall == 0.5  # two of four characters
    assert len(cases) == 6


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec="ascii"), max_size=60), st.text(st.characters(codec="ascii"), max_size=60))
def test_unicode_mode_changes_nothing_on_ascii(prediction: str, reference: str) -> None:
    assert rouge(prediction, reference, unicode=True).scores == rouge(prediction, reference).scores


def test_warns_of_what_makes_a_score_meaningless() -> None:
    def warnings(prediction: str, reference: str, **how: object) -> str:
        return " / ".join(rouge(prediction, reference, **how).warnings)

    assert "prediction has no tokens" in warnings("...", "a")
    assert "reference has no tokens" in warnings("a", "")
    assert "most letters of the reference are not ASCII" in warnings("a b", "привет мир 1")
    assert "not ASCII" not in warnings("a b", "naïve résumé of it", metrics=("rouge1",))
    assert "no newline" in warnings("a b", "a b")
    assert warnings("a\nb", "a b") == ""
    assert warnings("a b", "a b", metrics=("rouge1",)) == ""


def test_bad_input_is_one_clear_error() -> None:
    with pytest.raises(UserError, match="Did you mean 'rougeL'"):
        rouge("a", "a", metrics=("rouge-l", "rougel"))
    with pytest.raises(UserError, match="best_per_metric"):
        rouge("a", "a", rule="best")
    with pytest.raises(UserError, match="one text or more"):
        rouge("a", [])


def test_long_random_texts_keep_rouge_score_s_choice_of_subsequence() -> None:
    # rougeLsum depends on which of several longest subsequences is taken; three letters make many ties.
    rng, compared = random.Random(0), 0
    for _ in range(60):
        prediction, reference = (
            "\n".join(" ".join(rng.choices("xyz", k=rng.randint(0, 20))) for _ in range(4)) for _ in range(2)
        )
        compared += assert_equal_to_rouge_score(prediction, [reference], stemmer=False)
    assert compared == 60 * len(ALL)
