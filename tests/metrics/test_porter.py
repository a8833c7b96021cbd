"""The stemmer gives NLTK's stems, on which published ROUGE rests."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer

from finetrial.metrics.porter import porter_stem

REFERENCE = PorterStemmer()
DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
SUFFIXES = re.findall(
    "[a-z]+",
    """
    ational tional enci anci izer abli bli alli entli eli ousli ization ation ator alism iveness fulness ousness
    aliti iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment
    ent sion tion ou ism ate iti ous ive ize s es ies ed ied eed ing y ll e ingly edly
    """,
)


def test_porter_s_own_examples() -> None:
    # Porter 1980, from the examples beside each rule, chosen where no departure applies.
    examples = {"caresses": "caress", "ponies": "poni", "agreed": "agre", "plastered": "plaster", "hopping": "hop"}
    examples |= {"filing": "file", "relational": "relat", "triplicate": "triplic", "adjustment": "adjust"}
    examples |= {
        "adoption": "adopt",
        "rate": "rate",
        "cease": "ceas",
        "controll": "control",
        "oscillators": "oscil",
    }
    assert {word: porter_stem(word) for word in examples} == examples


@settings(max_examples=1500, deadline=None)
@given(
    st.text("aeiouybcdlstzgnw13", max_size=8), st.sampled_from([*SUFFIXES, ""]), st.sampled_from([*SUFFIXES, ""])
)
def test_equals_nltk_on_words_made_of_suffixes(stem: str, first: str, second: str) -> None:
    word = stem + first + second
    assert porter_stem(word) == REFERENCE.stem(word)


@pytest.mark.real_data
@pytest.mark.skipif(
    not DATA.exists(), reason=f"the shared data are not at {DATA}: real vocabularies were not compared"
)
def test_equals_nltk_on_real_vocabularies() -> None:
    text = " ".join((DATA / name).read_text() for name in ("shakespeare.txt", "scitldr_train.jsonl")).lower()
    vocabulary = sorted(set(re.findall("[a-z0-9]+", text)))
    assert len(vocabulary) > 20_000
    made = [word + suffix for word in random.Random(0).sample(vocabulary, 500) for suffix in SUFFIXES]
    assert [word for word in vocabulary + made if porter_stem(word) != REFERENCE.stem(word)] == []
