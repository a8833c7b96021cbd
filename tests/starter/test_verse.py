"""Has every line of verse ten syllables, as its lexicon counts them, and does it scan?"""

from __future__ import annotations

from random import Random

import pytest

from finetrial.starter.verse import Prosody, line_stress, load_prosody, scans, schemes, write_passage
from finetrial.starter.wording import pick


@pytest.fixture(scope="module")
def prosody() -> Prosody:
    return load_prosody()


@pytest.fixture(scope="module")
def passages(prosody: Prosody) -> list[tuple[str, ...]]:
    rng, plan = Random(2), schemes(prosody)["train"]
    return [write_passage(prosody, pick(rng, plan), rng=rng, split="train") for _ in range(800)]


def test_every_line_has_ten_syllables_and_scans(prosody: Prosody, passages: list[tuple[str, ...]]):
    lines = [line for passage in passages for line in passage]
    assert len(lines) == 4000
    for line in lines:
        patterns = line_stress(line, stress=prosody.stress)
        assert sum(len(pattern) for pattern in patterns) == 10, line
        assert scans(patterns), line


def test_the_lexicon_counts_syllables_as_a_dictionary_does(prosody: Prosody):
    # Counted by hand after the Oxford English Dictionary's pronunciations.
    for word, syllables in {
        "melancholy": 4, "remembrance": 3, "nightingale": 3, "sovereign": 2, "kingdom": 2, "churchyard": 2,
        "constancy": 3, "wretched": 2, "despair": 2, "knight": 1, "breathe": 1, "mysterious": 4, "heaven": 2,
    }.items():  # fmt: skip
        assert len(prosody.stress[word]) == syllables, word


@pytest.mark.parametrize(
    ("patterns", "answer"),
    [
        (["-", "0", "10"] + ["-"] * 6, False),  # "the" at the second syllable, where the verse is strong
        (["0", "10", "10", "01", "0", "10"], False),  # "01" would be stressed at the seventh syllable
        (["-", "1", "1", "0", "10", "10", "10"], False),  # a stress at the third syllable
        (["0", "10", "10", "10", "0", "1"], False),  # nine syllables
        (["0", "10", "10", "10", "10", "1"], True),  # the weary soldier
        (["10", "0", "10", "10", "10", "1"], True),  # the first foot turned about
    ],
)
def test_a_line_scans_only_with_its_stresses_where_the_verse_is_strong(patterns: list[str], answer: bool):
    assert scans(patterns) is answer


def test_a_passage_is_five_lines_in_two_sentences(passages: list[tuple[str, ...]]):
    assert len(passages) == 800
    for passage in passages:
        assert len(passage) == 5
        assert passage[-1][-1] in ".?"
        assert sum(line[-1] in ".?" for line in passage) == 2
        assert all(line[0].isupper() for line in passage)


def test_no_passage_uses_a_word_class_twice_for_the_same_word(passages: list[tuple[str, ...]]):
    # The person of a passage comes back; everything else is new.
    repeated = [
        passage
        for passage in passages
        for word in ("moon", "crown", "banner", "harvest", "tempest")
        if sum(line.lower().split().count(word) for line in passage) > 1
    ]
    assert repeated == []


def test_the_splits_share_no_scheme(prosody: Prosody):
    plan = schemes(prosody)
    every = [scheme for split in ("train", "validation", "heldout") for scheme in plan[split]]
    assert len(every) == len(set(every))
    assert len(plan["heldout"]) > 50


def test_no_pronoun_stands_before_its_person(passages: list[tuple[str, ...]]):
    seen = 0
    for passage in passages:
        if passage[0].startswith(("Yet have", "So let", "And still")):  # nobody is named in these lines
            assert not {"him", "his"} & set(passage[1].lower().split()), passage
            seen += 1
    assert seen > 10


def test_pronouns_follow_the_person(passages: list[tuple[str, ...]]):
    women, men = {"queen", "widow", "maiden"}, {"king", "knight", "prince", "soldier", "captain", "friar"}
    seen = 0
    for passage in passages:
        words = " ".join(passage).lower().replace(",", " ").replace(".", " ").split()
        if women & set(words) and not men & set(words) and "herself" not in words:
            assert not {"his", "him"} & set(words), passage
            seen += 1
    assert seen > 20
