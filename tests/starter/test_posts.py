"""Do the posts read, agree with themselves and with their summaries, and stay on their side of the split?"""

from __future__ import annotations

import re
from random import Random

import pytest

from finetrial.starter.material import Material, load_material
from finetrial.starter.plots import SPLITS, plots_of, split_pairings
from finetrial.starter.posts import Post, PostWriter
from finetrial.starter.wording import Memory, draw, parse, pick, shuffled, wordings


@pytest.fixture(scope="module")
def material() -> Material:
    return load_material()


@pytest.fixture(scope="module")
def posts(material: Material) -> list[Post]:
    writer, rng = PostWriter(material), Random(5)
    plots = plots_of(material, split_pairings(material)["train"])
    return [writer.write(pick(rng, plots), rng=rng, split="train") for _ in range(600)]


def test_a_template_has_as_many_wordings_as_its_choices_multiply_to():
    template = parse("a (b|c (d|e)|) <x> (f|g)")
    # (b, c d, c e, nothing) times (f, g)
    assert wordings(template) == 8
    rng = Random(0)
    drawn = {draw(template, rng=rng, fill=lambda slot: slot.upper()) for _ in range(500)}
    assert drawn == {f"a {middle} X {last}" for middle in ("b", "c d", "c e", "") for last in "fg"}


@pytest.mark.parametrize("text", ["(a|b", "a|b) c", "<slot"])
def test_a_template_that_does_not_close_is_refused(text: str):
    with pytest.raises(ValueError):
        parse(text)


def test_a_memory_lets_an_equal_choice_fall_as_before():
    known: dict = {}
    told, gist = parse("a sick (child|wife|cat)", known=known), parse("<who> has a (child|wife|cat)", known=known)
    for seed in range(20):
        memory, rng = Memory(), Random(seed)
        memory.open = True
        first = draw(told, rng=rng, fill=str, memory=memory)
        memory.open = False
        again = draw(gist, rng=rng, fill=str, memory=memory)
        assert first.split()[-1] == again.split()[-1]


def test_shuffling_keeps_the_items_and_gives_the_published_order_of_the_generator():
    # By hand from Random(1).random(): .134, .847, .764 -> swap 3 with 0, 2 with 2, 1 with 1
    assert shuffled(Random(1), ["a", "b", "c", "d"]) == ["d", "b", "c", "a"]


def test_the_splits_share_no_pairing_and_cover_every_one(material: Material):
    pairings = split_pairings(material)
    every = [pairing for split in SPLITS for pairing in pairings[split]]
    assert len(every) == len(set(every))
    assert len(every) == sum(len(family.situations) * len(family.complications) for family in material.families)
    assert len(pairings["heldout"]) == 3 * len(material.families)


def test_every_situation_and_complication_that_is_tested_was_met_in_training(material: Material):
    pairings = split_pairings(material)
    trained_situations = {(family, situation) for family, situation, _ in pairings["train"]}
    trained_complications = {(family, complication) for family, _, complication in pairings["train"]}
    assert len(pairings["heldout"]) > 0
    for family, situation, complication in pairings["heldout"]:
        assert (family, situation) in trained_situations
        assert (family, complication) in trained_complications


def test_there_are_hundreds_of_situations_to_tell(material: Material):
    assert sum(len(family.situations) * len(family.complications) for family in material.families) >= 500


def test_posts_have_60_to_150_words_and_summaries_one_sentence(posts: list[Post]):
    assert len(posts) == 600
    for post in posts:
        assert 60 <= len(post.text.split()) <= 150
        assert 5 <= len(post.summary.split()) <= 60
        assert not re.search(r"[.?!] [A-Za-z]", post.summary), post.summary
        assert "\n" not in post.summary + post.title


def test_nothing_of_the_machinery_shows(posts: list[Post]):
    for post in posts:
        text = f"{post.title}\n{post.text}\n{post.summary}"
        assert not re.search(r"[<>|]|  | [,.?!]|,,|,\.|\.\.\?|\bNone\b", text), text


# What a reader would trip over. Each is a mistake an earlier version of the material made.
STUMBLES = [
    r"\b(he|she) (are|were|have|do|don't|aren't|haven't)\b(?! (his|her))",
    r"\b(they) (is|was|has|does|doesn't)\b",
    r"(?<!with )\b(my parents|my in-laws|my neighbors) (is|was|has|does|keeps|wants|doesn't)\b",
    r"\ba [aei]\w+\b",
    r"\b(\w+) \1\b",
    r"\bway it's\b",
    r"\b[Ww]ould you (say|do) what I\b",
    r"\bbring up it\b",
]


@pytest.mark.parametrize("stumble", STUMBLES)
def test_no_sentence_stumbles(posts: list[Post], stumble: str):
    allowed = re.compile(r"(that that|her her|had had|I know, I know|is is|what what|and a and)", re.I)
    found = [
        match.group(0)
        for post in posts
        for match in re.finditer(stumble, f"{post.title}\n{post.text}\n{post.summary}")
        if not allowed.search(match.group(0))
    ]
    assert found == []


def test_the_base_never_meets_the_word_tldr(posts: list[Post]):
    assert all("tl;dr" not in post.document().lower() for post in posts)
    assert all(post.prompt().endswith("\nTL;DR:") for post in posts)


def test_sums_and_towns_in_a_summary_stand_in_its_post(posts: list[Post]):
    seen = 0
    for post in posts:
        for fact in re.findall(r"\$?\d[\d,]*\d{2}\b", post.summary):
            assert fact in post.text, (fact, post.text)
            seen += 1
    assert seen > 20


def test_a_summary_takes_most_of_its_words_from_its_post_and_some_from_elsewhere(posts: list[Post]):
    def words(text: str) -> set[str]:
        return set(re.findall(r"[a-z']+", text.lower()))

    shares = [len(words(post.summary) & words(post.text)) / len(words(post.summary)) for post in posts]
    mean = sum(shares) / len(shares)
    assert 0.6 < mean < 0.95
    assert sum(post.summary.lower().rstrip(".?") in post.text.lower() for post in posts) == 0


def test_writers_differ(posts: list[Post]):
    lower = sum(post.text == post.text.lower() for post in posts)
    paragraphs = sum("\n\n" in post.text for post in posts)
    assert 0.06 < lower / len(posts) < 0.20
    assert 0.25 < paragraphs / len(posts) < 0.75
    assert len({post.text for post in posts}) == len(posts)
