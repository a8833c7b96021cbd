"""Stops count behind the first character of an answer, and are found token by token as in the whole text."""

import itertools
import random

import pytest
from tiny_tokenizers import byte_level, space_adding

from finetrial.sampling.stops import StopWatch, answer_of, first_stop


@pytest.mark.parametrize(
    ("text", "stops", "answer"),
    [
        ("Paris\nQ:", ("\n",), "Paris"),
        ("\nParis\nQ:", ("\n",), "Paris"),  # a model that begins with a line break yields its first line
        (" \n\n Paris is\nQ:", ("\n",), " Paris is"),
        ("one\ntwo\n\nthree", ("\n\n",), "one\ntwo"),
        ("\n\none\n\ntwo", ("\n\n",), "one"),
        ("a END b", ("\n", "END"), "a "),  # the earliest of several
        ("END b\nc", ("END", "\n"), "END b"),  # nothing stands before the first END
        ("\n\n---\n\nParis\n\n---\n\n", ("\n\n---\n\n",), "---\n\nParis"),  # nor before this separator
        ("Paris", ("\n",), None),
        ("\n\n  ", ("\n",), None),
        ("", ("\n",), None),
    ],
)  # fmt: skip
def test_a_stop_counts_behind_the_first_character_that_is_not_white_space(text, stops, answer):
    place = first_stop(text, stops=stops)
    assert (None if place is None else answer_of(text[:place])) == answer


def test_an_answer_keeps_the_indentation_of_its_first_line():
    assert (
        answer_of("\n  \n    return x") == "    return x"
        and answer_of("  x\ny") == "  x\ny"
        and answer_of("\n") == ""
    )


def tokens_until_stop(ids, tokenizer, *, stops):
    """How many tokens the watch takes, None where it never says so, and how many tokens it decoded on the way."""
    decoded = []

    def decode(part):
        decoded.append(len(part))
        return tokenizer.decode(part, skip_special_tokens=True)

    watch = StopWatch(decode, stops=stops)
    for count in range(1, len(ids) + 1):
        if watch.completes_stop(ids[:count]):
            return count, decoded
    return None, decoded


def by_whole_text(ids, tokenizer, *, stops):
    """The same from the whole text of every beginning, the slow way."""
    for count in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:count], skip_special_tokens=True)
        if not text.endswith("\ufffd") and first_stop(text, stops=stops) is not None:
            return count
    return None


STOPS = (("\n",), ("\n\n",), ("dog", "\n\n---\n\n"), ("é",), ("日本", "cat"), (" the lazy",), ("jumps over",))


@pytest.mark.parametrize("make", [byte_level, space_adding])
def test_the_watch_finds_what_the_whole_text_shows_and_at_the_same_token(make):
    tokenizer, draw = make(), random.Random(3)
    pieces = [
        "the lazy dog",
        "\n",
        " ",
        "jumps over",
        "é",
        "日本",
        "cat",
        "---",
        "\n\n",
        "x日",
        "the",
        "<|endoftext|>",
        "<s>",
    ]
    found = 0
    for _, stops in itertools.product(range(60), STOPS):
        text = "".join(draw.choice(pieces) for _ in range(draw.randrange(1, 12)))
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        expected = by_whole_text(ids, tokenizer, stops=stops)
        assert tokens_until_stop(ids, tokenizer, stops=stops)[0] == expected, (text, stops)
        found += expected is not None
    assert 60 < found < 360, "both outcomes must have been seen, of 420 texts"


def test_a_long_answer_costs_no_more_a_token_than_a_short_one():
    tokenizer = byte_level()
    ids = tokenizer("the lazy dog and the cat " * 200, add_special_tokens=False)["input_ids"]
    assert len(ids) > 800
    count, decoded = tokens_until_stop(ids, tokenizer, stops=("\n",))
    assert count is None and max(decoded) <= 3 and sum(decoded) < 5 * len(ids)
