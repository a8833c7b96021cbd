"""The failures that people saw in published transcripts are found, shown, and not found in sound texts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetrial.metrics import (
    Finding,
    Passage,
    TrainingText,
    boilerplate,
    code,
    commentary,
    copied_from_training,
    copied_headers,
    copying,
    ending,
    known_words,
    language,
    near_words,
    novel_words,
    other_language,
    overlong,
    question_kept,
    repeated_ngrams,
    repeated_sentences,
    role_markers,
    sample_diversity,
    second_document,
    terminal_loop,
    unsupported_names,
    unsupported_numbers,
)

POST = """SUBREDDIT: r/gardening
TITLE: My neighbour's ivy has crossed the fence for the third time
POST: I moved into a house in Bremen four years ago. The fence is mine, the ivy is hers, and every spring I cut
back about 20 metres of it. Last week it pulled down a panel that cost me 180 euros. I have asked her twice to trim
it and she says that nature knows no borders. I do not want a war. How do I get her to pay for half of the panel?
TL;DR:"""
SOUND = "A neighbour's ivy broke a 180 euro fence panel; how can I make her pay half without a war?"
VERSE = """The tide forgets the names we wrote in sand,
    and still we write them; so the gulls attest.
If it be folly, take it from my hand:
    for one day more the sea may do its best."""
# The three failures of the published transcripts, in words of our own.
LOOPED = "I want her to pay for the panel. " + "She will not listen to me at all. " * 6
COPIED_BACK = POST.removesuffix("TL;DR:")
VERSE_TO_PYTHON = (
    VERSE + "\n\nimport random\ndef tide(names):\n    for name in names:\n        print(name)\n    return None\n"
)


def text_at(found: Finding, text: str) -> list[str]:
    """The spans, after checking that each says what stands at its place."""
    for span in found.spans:
        assert text[span.start : span.end] == span.text
    return [span.text for span in found.spans]


def test_a_sentence_repeated_to_the_end_is_a_loop() -> None:
    loop = terminal_loop(LOOPED)
    assert (loop.unit, loop.copies) == ("She will not listen to me at all.", 6)
    assert loop.span.text == ("She will not listen to me at all. " * 6).strip()
    assert LOOPED[loop.span.start : loop.span.end] == loop.span.text
    # 7 sentences, 5 of them repeats. 56 words, 53 4-grams, of which 8 + 7 (of the first and one loop) are distinct.
    repeats = repeated_sentences(LOOPED)
    assert repeats.rate == 5 / 7
    assert text_at(repeats, LOOPED) == ["She will not listen to me at all."] * 5
    n_words = 8 + 6 * 8
    distinct = 8 + 8  # those that begin in the first sentence, and the loop's own eight
    assert repeated_ngrams(LOOPED).rate == pytest.approx(1 - distinct / (n_words - 3))


def test_a_loop_cut_in_the_middle_of_a_word_is_still_a_loop() -> None:
    for cut, copies in ((1, 6), (3, 5), (9, 5), (14, 5), (20, 5)):
        loop = terminal_loop(LOOPED.strip()[:-cut])
        assert loop.span is not None, cut
        assert loop.copies == copies


def test_loops_of_one_word_and_of_characters() -> None:
    assert terminal_loop("so it goes " + "on and " * 6).copies == 6
    assert terminal_loop("They laughed hahahahahahahahahahahaha").unit in ("ha", "ah")
    assert terminal_loop("A table: " + "-" * 30).copies == 30
    assert terminal_loop("好的好的好的好的好的").copies == 5


def test_sound_texts_do_not_loop() -> None:
    refrain = (
        "Row, row, row your boat\nGently down the stream\nMerrily, merrily, merrily, merrily\nLife is but a dream"
    )
    sound = [SOUND, VERSE, refrain, POST, "No, no, no!", "", "...", "a"]
    assert [terminal_loop(text).span for text in sound] == [None] * len(sound)
    assert repeated_ngrams(SOUND).rate == 0
    assert repeated_ngrams("too short").rate is None


def test_the_post_copied_back_is_copying_with_its_headers() -> None:
    found = copying(COPIED_BACK, source=POST)
    n_words = len(Passage(COPIED_BACK).words)
    assert (found.coverage, found.longest_words) == (1, n_words)
    assert found.density == n_words  # one fragment of n words: n² / n
    assert copied_headers(COPIED_BACK, prompt=POST).rate > 0
    assert text_at(copied_headers(COPIED_BACK, prompt=POST), COPIED_BACK) == ["SUBREDDIT:", "TITLE:", "POST:"]
    assert copying(SOUND, source=POST).longest_words < 5
    assert copied_headers(SOUND, prompt=POST).spans == ()


def test_copying_by_hand() -> None:
    # y = "the cat ran on the mat", source "the cat sat on the mat": fragments "the cat", "on the mat" of 2 and
    # 3 words ("ran" is none): coverage 5/6, density (4 + 9)/6.
    found = copying("The cat ran on the mat.", source="The cat sat on the mat.")
    assert found.coverage == pytest.approx(5 / 6)
    assert found.density == pytest.approx(13 / 6)
    assert [span.text for span in found.spans] == ["on the mat", "The cat"]
    assert copying("...", source=POST).coverage is None


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=14), st.lists(st.sampled_from("abc"), max_size=14))
def test_fragments_equal_the_paper_s_own_search(summary: list[str], article: list[str]) -> None:
    # Grusky et al. 2018, figure 3, word by word: at i take the longest run of the summary found in the article.
    lengths, i = [], 0
    while i < len(summary):
        fits = [n for n in range(1, len(summary) - i + 1) if _stands_in(summary[i : i + n], article)]
        lengths += [max(fits)] if fits else []
        i += max([*fits, 1])
    found = copying(" ".join(summary), source=" ".join(article))
    if summary:
        assert found.coverage == pytest.approx(sum(lengths) / len(summary))
        assert found.density == pytest.approx(sum(n * n for n in lengths) / len(summary))


def _stands_in(run: list[str], article: list[str]) -> bool:
    return any(article[j : j + len(run)] == run for j in range(len(article) - len(run) + 1))


def test_verse_that_turns_into_python_is_code_from_there_on() -> None:
    found = code(VERSE_TO_PYTHON)
    assert text_at(found, VERSE_TO_PYTHON)[0].startswith("import random")
    first = found.spans[0].start
    assert VERSE_TO_PYTHON[:first].strip() == VERSE
    code_length = sum(len(line.strip()) for line in VERSE_TO_PYTHON[first:].splitlines())
    assert sum(len(span.text) for span in found.spans) >= 0.9 * code_length
    assert code(VERSE).spans == code(POST).spans == code(SOUND).spans == ()


@pytest.mark.parametrize(
    "line",
    [
        *("x = [1, 2]", "for i in range(3):", "print('sea')", "#include <stdio.h>", "</div>", "self.tide", "}"),
        *("const a = 1;", "public static void main(String[] args) {", "SELECT name FROM gulls", "return tide(x)"),
        "```python",
    ],
)
def test_lines_of_code_in_several_languages(line: str) -> None:
    assert code(f"The sea is calm.\n{line}\n").spans


def test_unfinished_text_is_told_by_its_end_reason_first() -> None:
    assert ending(SOUND, end_reason="length").is_unfinished is True  # although it ends in a question mark
    assert ending("and then the ivy", end_reason="end_token").is_unfinished is False
    assert ending("and then the ivy", end_reason=None).is_unfinished is True
    assert ending("and then the ivy", end_reason=None).tail.text == "and then the ivy"
    assert ending('She said "never!"', end_reason=None).is_unfinished is False
    assert ending("墙倒了。", end_reason=None).is_unfinished is False
    assert ending("", end_reason=None).is_unfinished is None


def test_invented_numbers_and_names_are_shown() -> None:
    text = "In Bremen, Mrs Petersen owes 250 euros for 20 metres of ivy, cut 4 times; 180 was the price in March."
    numbers = unsupported_numbers(text, source=POST)
    assert text_at(numbers, text) == ["250"]  # 20 and 180 stand there, 4 as "four"
    assert numbers.rate == 1 / 4
    names = unsupported_names(text, source=POST)
    assert text_at(names, text) == ["Mrs Petersen", "March"]
    assert names.rate == 2 / 3
    assert unsupported_numbers("1,000.0 and three", source="1000 gulls, 3 nests").rate == 0
    assert unsupported_numbers("no number", source=POST).rate is None
    assert unsupported_names("She lives there.", source=POST).rate is None
    assert unsupported_names("Ivy. Bremen's fence.", source=POST).spans == ()


def test_a_capitalised_function_word_is_no_name_anywhere_in_a_line() -> None:
    assert unsupported_names("so bad As an old horse-cart, When it rains", source=POST).rate is None
    text = "she went with The Petersens to the US"
    assert text_at(unsupported_names(text, source=POST), text) == ["Petersens", "US"]


def test_words_of_no_dictionary() -> None:
    known = known_words([POST, "trimming fences"])
    text = "The neighbour trimmed her fence, florpingly, zu 3D."
    found = novel_words(text, dictionaries=[known])
    assert text_at(found, text) == ["florpingly"]  # trimmed shares its stem with trimming
    assert found.rate == 1 / 6


def test_a_second_document_begins_where_its_header_stands() -> None:
    text = f"{SOUND}\n\nSUBREDDIT: r/relationships\nTITLE: My sister"
    found = second_document(text, prompt=POST)
    assert text_at(found, text) == ["SUBREDDIT: r/relationships\nTITLE: My sister"]
    ended = f"{SOUND}<|endoftext|>Once more"
    assert text_at(second_document(ended, prompt=POST), ended) == ["<|endoftext|>Once more"]
    ruled = f"{SOUND}\n---\nOnce more"
    assert text_at(second_document(ruled, prompt=POST), ruled) == ["---\nOnce more"]
    assert second_document(SOUND, prompt=POST).spans == ()


def test_role_markers_and_boilerplate() -> None:
    text = "Pay half.\n### Response: I will.\nUser: Thanks\n<|im_start|>assistant\nClick here: https://example.org"
    assert text_at(role_markers(text), text) == ["### Response:", "User:", "<|im_start|>"]
    assert text_at(boilerplate(text), text) == ["Click here", "https://example.org"]
    for sound in (SOUND, VERSE):
        assert role_markers(sound).rate == boilerplate(sound).rate == 0


def test_another_language_is_told_by_script_and_by_function_words() -> None:
    german = "Die Nachbarin hat den Zaun nicht bezahlt und sie will auch nicht mit mir reden."
    text = f"{SOUND} {german}"
    assert (language(SOUND), language(german)) == ("English", "German")
    assert text_at(other_language(text, expected=[POST]), text) == [german]
    mixed = "The ivy is 太长了 and Её слова mean nothing, where α is the angle of the fence."
    assert text_at(other_language(mixed, expected=[POST]), mixed) == ["太长了", "Её", "слова"]
    assert other_language(SOUND, expected=[POST]).rate == 0
    assert other_language("x", expected=["123"]).rate is None


def test_length_far_beyond_the_references() -> None:
    found = overlong("one two three four five six seven", references=["a b", "c"])
    assert found.rate == 3.5
    assert [span.text for span in found.spans] == ["seven"]  # beyond 3 x 2 words
    assert overlong("a b", references=[""]).rate is None


def test_runs_of_the_training_text() -> None:
    training = TrainingText([POST])
    text = "He wrote: every spring I cut back about 20 metres of it. So he said."
    found = copied_from_training(text, training=training)
    assert text_at(found, text) == ["every spring I cut back about 20 metres of it"]
    assert found.rate == 10 / 15
    assert copied_from_training(SOUND, training=training).spans == ()


def test_sameness_of_samples_by_hand() -> None:
    # Pairs: a = b (1), a-c and b-c share "the" of 2 and 2 words (LCS 1): 2 * 1 / 4 = .5.
    found = sample_diversity(["The gull.", "the gull", "the sea"])
    assert (found.n_distinct, found.identical) == (2, 1 / 3)
    assert found.similarity == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert found.distinct_2 == 2 / 3
    assert sample_diversity(["one"]).reason == "fewer than two samples"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_every_diagnostic_answers_any_text(text: str, prompt: str) -> None:
    findings = [
        *(code(text), boilerplate(text), role_markers(text), second_document(text, prompt=prompt)),
        *(copied_headers(text, prompt=prompt), other_language(text, expected=[prompt]), repeated_ngrams(text)),
        *(
            repeated_sentences(text),
            unsupported_numbers(text, source=prompt),
            unsupported_names(text, source=prompt),
        ),
        *(novel_words(text, dictionaries=[known_words([prompt])]), overlong(text, references=[prompt])),
    ]
    for found in findings:
        text_at(found, text)
        assert (found.rate is None) == (found.reason is not None), found.name
        assert found.rate is None or found.name == "overlong" or 0 <= found.rate <= 1 + 1e-9
        assert found.rate != 0 or not found.spans
    loop, end = terminal_loop(text), ending(text, end_reason=None)
    assert loop.span is None or text[loop.span.start : loop.span.end] == loop.span.text
    assert end.tail is None or text[end.tail.start : end.tail.end] == end.tail.text


RESTAURANT = """SUBREDDIT: r/work
TITLE: Two jobs in one kitchen
POST: I manage the dishes, the prep work and the bins of a small restaurant, alone and every night. My boss says
that it has always been so. How can I manage this job without losing my mind?
TL;DR:"""


def test_headers_in_the_middle_of_a_line_are_found_with_and_without_a_prompt() -> None:
    text = (
        "I want my money back. Thanks, Jo SUBREDDIT: r/help TITLE: The bank POST: Hello r/help, I have a question."
    )
    for prompt in (RESTAURANT, ""):
        assert text_at(copied_headers(text, prompt=prompt), text) == ["SUBREDDIT:", "TITLE:", "POST:"]
        assert second_document(text, prompt=prompt).spans[0].text.startswith("SUBREDDIT: r/help")
    own = "It costs more. Offer: half the price."
    assert text_at(copied_headers(own, prompt="Offer: a lamp\nPrice: 3 euros"), own) == ["Offer:"]
    assert copied_headers(own, prompt=RESTAURANT).spans == ()
    verse = "KING JOHN: What news from London?\nTo this I answer: none."  # a speaker, and a colon in a sentence
    assert copied_headers(verse, prompt="").spans == second_document(verse, prompt="").spans == ()


@pytest.mark.parametrize(
    "said",
    [
        "This poem was written by a queen in 1599 while she reigned.",
        "It is an example of how verse can carry grief.",
        "“The passage describes a storm at sea.”",
        "In this stanza, the sea stands for time.",
        "The poet uses the tide as an image.",
        "Here is a short summary of the post:",
    ],
)
def test_commentary_on_a_text_is_found(said) -> None:
    text = f"The tide forgets the names we wrote in sand.\n{said}"
    assert text_at(commentary(text), text) == [said]


@pytest.mark.parametrize(
    "text", [SOUND, VERSE, "The lines are busy and the speaker is broken.", "To be: that is the question."]
)
def test_what_is_no_commentary_is_left_alone(text) -> None:
    assert commentary(text).rate == 0


def near(text: str, prompt: str = RESTAURANT, **known: str) -> list[str]:
    dictionaries = [known_words([prompt, *known.values()])]
    return [span.text for span in near_words(text, prompt=prompt, dictionaries=dictionaries).spans]


def test_a_word_one_edit_from_a_word_of_the_prompt_is_named_with_that_word() -> None:
    assert near("How can I mange this job?") == ["mange for manage"]
    assert near("My restuarant, my dishees, my boos.") == ["restuarant for restaurant", "dishees for dishes"]
    # another form of a word of the prompt, a word that other texts hold, and two edits away
    assert near("I managed it, and I loved the dashes, and my rastorant.", other="He dashes off.") == []
    assert near_words("Why?", prompt=RESTAURANT, dictionaries=[]).rate is None


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="abc", min_size=5, max_size=7), st.text(alphabet="abc", min_size=5, max_size=7))
def test_one_edit_is_what_trying_every_edit_finds(a: str, b: str) -> None:
    places = range(len(a))
    edits = {a[:i] + a[i + 1 :] for i in places} | {a[:i] + c + a[i:] for i in range(len(a) + 1) for c in "abc"}
    edits |= {a[:i] + c + a[i + 1 :] for i in places for c in "abc"}
    edits |= {a[:i] + a[i + 1] + a[i] + a[i + 2 :] for i in places[:-1]}
    found = near_words(a, prompt=b, dictionaries=[]).spans
    same_stem = known_words([a]) & known_words([b])
    assert bool(found) == (b in edits and a != b and not same_stem)


def test_whether_the_prompt_s_question_is_carried_over_is_told() -> None:
    asked = "I do all the work of a kitchen. How can I mange this job?"
    assert text_at(question_kept(asked, prompt=RESTAURANT), asked) == ["How can I mange this job?"]
    assert question_kept("I do all the work of a kitchen, alone.", prompt=RESTAURANT).rate == 0.0
    assert question_kept("Is it raining in Bremen?", prompt=RESTAURANT).rate == 0.0
    assert question_kept(asked, prompt="I work in a kitchen.").rate is None
