"""Short answers are scored as their definitions say."""

from __future__ import annotations

import pytest

from finetrial.errors import UserError
from finetrial.metrics import exact_match, length_ratio, token_f1, valid_json


def test_exact_match_ignores_case_articles_and_punctuation() -> None:
    assert exact_match("The  Gull!", ["a gull", "sea"]).value == 1
    assert exact_match("The Gull!", "the gull", normalise=False).value == 0
    assert exact_match(" gull\n", "gull", normalise=False).value == 1
    assert "tok:squad" in str(exact_match("a", "a").signature)


def test_token_f1_by_hand() -> None:
    # "cat sat" against "cat sat on mat" (articles gone): precision 1, recall 1/2 -> 2/3; the best reference counts.
    assert token_f1("the cat sat", ["dog", "the cat sat on the mat"]).value == pytest.approx(2 / 3)
    assert token_f1("the", "a").value == 1  # neither has words
    assert token_f1("the", "cat").value == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(
            ('{"a": [1, null]}', 1),
            (" 3 ", 1),
            ('"x"', 1),
            ("{'a': 1}", 0),
            ('{"a": 1} done', 0),
            ("", 0),
            ("NaN", 0),
        ),
        *(("[1,]", 0), ("```json\n{}\n```", 0), ("[" * 100_000, 0)),
    ],
)
def test_valid_json_is_the_whole_text_or_nothing(text: str, value: int) -> None:
    assert valid_json(text).value == value


def test_length_ratio_against_the_mean_reference() -> None:
    assert length_ratio("one two three", ["a b", "c d e f"]).value == 1
    assert length_ratio("", "a b").value == 0
    assert length_ratio("a", "...").value is None
    assert length_ratio("a", "...").reason == "the references have no words"


def test_a_score_against_nothing_is_an_error() -> None:
    for score in (exact_match, token_f1):
        with pytest.raises(UserError, match="one text or more"):
            score("a", [])
