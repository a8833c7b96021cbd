"""Short answers are scored as their definitions say."""

from __future__ import annotations

import pytest

from finetrial.errors import UserError
from finetrial.metrics import exact_match, json_fields, length_ratio, squad_match, token_f1, valid_json
from finetrial.metrics.metric import Output, ReferenceRule, Settings
from finetrial.metrics.metric_table import computed_metric


def test_exact_match_forgives_unicode_and_outer_white_space_alone() -> None:
    assert exact_match(" gull\n", "gull").value == 1
    assert exact_match("cafe\u0301", "caf\u00e9").value == 1  # an accent of its own, and a letter with one
    for mine, theirs in (("The Gull", "the gull"), ("gull.", "gull"), ("", "A"), ("-5", "5"), ("a  b", "a b")):
        assert exact_match(mine, theirs).value == 0
    assert exact_match('{"a": 15}', '{"a": 1.5}').value == 0
    assert exact_match(" ", "").value == 1
    assert exact_match("x", "x").signature != squad_match("x", "x").signature


def test_squads_match_ignores_case_articles_and_punctuation_and_never_takes_something_for_nothing() -> None:
    assert squad_match("The  Gull!", ["a gull", "sea"]).value == 1
    assert squad_match("-5", "5").value == 1  # why it is not `exact`
    assert squad_match("a", "A").value == 1 and squad_match("?", "?").value == 1
    for nothing in ("A", "the", "?", "a the!"):
        assert squad_match("", nothing).value == squad_match(nothing, " ").value == 0
    assert squad_match("", "\n").value == 1
    assert "tok:squad" in str(squad_match("a", "a").signature)


@pytest.mark.parametrize(
    ("text", "reference", "value"),
    [
        ('{"b": "x", "a": 1.0}', '{"a": 1, "b": " x "}', 1),
        ('{"a": 1}', '{"a": 1, "b": 2}', 1 / 2),  # a field is missing
        ('{"a": 1, "b": 2}', '{"a": 1}', 1 / 2),  # a field is invented
        ('{"a": true, "b": [1, 2]}', '{"a": 1, "b": [1, 3]}', 1 / 3),  # true is not 1; of the list one item
        ('{"a": {"b": null}, "c": []}', '{"a": {"b": null}, "c": {}}', 1 / 2),  # an empty list is no empty object
        ('{"a": 15}', '{"a": 1.5}', 0),
        ('["x"]', '{"0": "x"}', 0),  # a place in a list is no key
        ("3", "3.0", 1),
        ("```json\n{}\n```", "{}", 0),
        ("", "{}", 0),
        ("{}", "no json", None),
    ],
)
def test_json_fields_is_the_share_of_the_fields_of_either_that_match(text, reference, value) -> None:
    assert json_fields(text, reference).value == (None if value is None else pytest.approx(value))


def test_json_fields_takes_the_best_reference_or_their_mean_and_no_depth_breaks_it() -> None:
    both = ['{"a": 1}', '{"a": 1, "b": 2}']
    assert json_fields('{"a": 1}', both).value == 1
    assert json_fields('{"a": 1}', both, rule=ReferenceRule.MEAN).value == pytest.approx(3 / 4)
    assert json_fields("[" * 100_000, "[]").value == 0
    deep = "[" * 900 + "1" + "]" * 900
    assert json_fields(deep, deep).value == 1


def test_a_pattern_is_found_or_holds_what_it_holds_in_a_reference() -> None:
    def value(pattern: str, text: str, *references: str) -> float | None:
        metric = computed_metric(f"regex:{pattern}")
        return metric.compute([Output(text, references)], Settings())[0]

    assert [value(r"^\d+$", text) for text in ("17", "17 cows")] == [1, 0]
    # the number at the end counts, not those of the reasoning; of the reference likewise
    number = r"(-?\d+)"
    assert value(number, "5 and 12 make 17", "3 + 14 = 17") == 1
    assert value(number, "17 less 22 is -5", "5") == 0
    assert value(number, "none", "5") == 0 and value(number, "5") is None
    assert value(r"Answer: (\w+)", "Because. Answer: yes", "yes") == 1  # a reference without it counts whole
    assert computed_metric(rf"regex:{number}").needs_references and not computed_metric("regex:x").needs_references


def test_a_pattern_that_is_none_and_one_that_is_missing_are_named() -> None:
    with pytest.raises(UserError, match=r"the pattern of the metric regex:\(a is not understood"):
        computed_metric("regex:(a")
    for name in ("regex", "regex:"):
        with pytest.raises(UserError, match="needs its pattern"):
            computed_metric(name)


def test_token_f1_by_hand() -> None:
    # "cat sat" against "cat sat on mat" (articles gone): precision 1, recall 1/2 -> 2/3; the best reference counts.
    assert token_f1("the cat sat", ["dog", "the cat sat on the mat"]).value == pytest.approx(2 / 3)
    assert token_f1("", " ").value == 1  # neither has words
    assert token_f1("the", "a").value == token_f1("", "a").value == 0  # only an empty text is empty
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
    for score in (exact_match, squad_match, token_f1):
        with pytest.raises(UserError, match="one text or more"):
            score("a", [])
