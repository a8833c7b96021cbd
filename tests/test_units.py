"""Quantities are read as a person means them, and nonsense is refused with the text that was given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetrial.errors import UserError
from finetrial.units import (
    format_bytes,
    format_count,
    format_seconds,
    format_share,
    listing,
    parse_bytes,
    parse_count,
    parse_share,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("67B", 67e9),
        ("4.1T", 4.1e12),
        ("1e24", 1e24),
        ("3.03E24", 3.03e24),
        ("124 M", 124e6),
        ("1_000", 1000),
        ("5k", 5e3),
    ],
)
def test_counts(text, value):
    assert parse_count(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("36MiB", 36 * 2**20), ("24GB", 24 * 10**9), ("1048576", 2**20), ("1.5 KiB", 1536), ("80gib", 80 * 2**30)],
)
def test_bytes(text, value):
    assert parse_bytes(text) == value


@pytest.mark.parametrize("text", ["", "abc", "-5", "0", "nan", "inf", "1e999", "5 parsecs", "1.2.3", "--", "6 7B"])
def test_what_is_not_a_count_is_refused_and_quoted(text):
    with pytest.raises(UserError) as caught:
        parse_count(text, what="params")
    assert repr(text) in str(caught.value) and "params" in str(caught.value)


def test_bytes_refuse_a_count_unit_that_bytes_do_not_have():
    with pytest.raises(UserError, match="unknown unit"):
        parse_bytes("5 Mib/s".replace("/s", "x"))


def test_shares():
    assert parse_share("1%") == 0.01 and parse_share("0.01") == 0.01
    for bad in ("101%", "-1%", "2", "x"):
        with pytest.raises(UserError):
            parse_share(bad)


@given(st.floats(min_value=1, max_value=9e14))
def test_a_shown_count_reads_back_within_its_digits(value):
    assert parse_count(format_count(value)) == pytest.approx(value, rel=1e-3)


def test_shown_quantities():
    assert format_count(67e9) == "67B"
    assert format_count(174_604_259_328) == "174.6B"
    assert format_count(3.03271664e24) == "3.033e+24"
    assert format_bytes(37_748_736) == "36 MiB"
    assert format_bytes(3.5e11, binary=False) == "350 GB"
    assert format_bytes(3.5e11) == "326 GiB"
    assert format_seconds(0.42) == "0.42 s"
    assert format_seconds(185) == "3 min 05 s"
    assert format_seconds(7620) == "2 h 07 min"
    assert format_share(0.00129) == "0.129 %"


def test_a_long_list_names_a_few_and_counts_the_others():
    names = ["a", "b", "c", "d", "e"]
    assert listing(names) == "a, b, c, d and e"
    assert listing(names, most=3) == "a, b, c and 2 more"
    assert listing(names[:4], most=3) == "a, b, c and d", "one more takes no more room than its count"
    assert listing(["a"], most=3) == "a"
