"""Hold a text against its prompt's words and questions: what it misspells, and whether it asks what was asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from finetrial.metrics.passages import Finding, Passage, Span
from finetrial.metrics.porter import porter_stem

# Shorter words are one edit from too many others (lamp and camp). Assumption.
_SHORTEST = 5
_FEWEST_SHARED = 3  # words of a question: "how do I" alone is no question carried over. Assumption


def near_words(text: str | Passage, *, prompt: str | Passage, dictionaries: Collection[Collection[str]]) -> Finding:
    """Words that no dictionary holds, one edit from a word of the prompt: "mange" where it has "manage".

    An edit leaves out, adds, exchanges or swaps letters (Damerau, "A technique for computer detection and
    correction of spelling errors", 1964). Other forms of a word of the prompt are no misspellings. The rate is that
    of words.
    """
    passage, of_prompt = Passage.of(text), Passage.of(prompt).derive(_long_words)
    words = [w for w in passage.words if len(w.token) >= _SHORTEST and w.token.isalpha()]
    if not words or not of_prompt:
        return Finding("near_words", None, (), "text or prompt has no word of five letters")
    index, stems = Passage.of(prompt).derive(_by_deletion), Passage.of(prompt).derive(_stems)
    found = []
    for word in words:
        if any(word.token in known for known in dictionaries) or porter_stem(word.token) in stems:
            continue
        near = next(_one_edit_away(word.token, index), None)
        if near is not None:
            found.append(Span(word.start, word.end, f"{passage.text[word.start : word.end]} for {near}"))
    return Finding("near_words", len(found) / len(words), tuple(found))


def _long_words(passage: Passage) -> frozenset[str]:
    return frozenset(w.token for w in passage.words if len(w.token) >= _SHORTEST - 1 and w.token.isalpha())


def _stems(passage: Passage) -> frozenset[str]:
    return frozenset(porter_stem(token) for token in passage.tokens)


def _deletions(word: str) -> set[str]:
    return {word, *(word[:i] + word[i + 1 :] for i in range(len(word)))}


def _by_deletion(passage: Passage) -> dict[str, tuple[str, ...]]:
    """The prompt's words by what is left of them without one letter: near ones are looked up, not tried."""
    found: dict[str, tuple[str, ...]] = {}
    for word in sorted(passage.derive(_long_words)):
        for left in _deletions(word):
            found[left] = (*found.get(left, ()), word)
    return found


def _one_edit_away(word: str, index: dict[str, tuple[str, ...]]) -> Iterator[str]:
    near = {other for left in _deletions(word) for other in index.get(left, ())}
    return (other for other in sorted(near) if _is_one_edit(word, other))


def _is_one_edit(a: str, b: str) -> bool:
    if len(a) != len(b):
        short, long = sorted((a, b), key=len)
        return len(long) - len(short) == 1 and short in _deletions(long)
    differing = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    if len(differing) == 2:
        i, j = differing
        return j == i + 1 and (a[i], a[j]) == (b[j], b[i])
    return len(differing) == 1


def question_kept(text: str | Passage, *, prompt: str | Passage) -> Finding:
    """Whether a question of the text shares half of its words, or of the prompt's question, with that question.

    The rate is 1 or 0; None where the prompt asks nothing.
    """
    passage = Passage.of(text)
    asked = Passage.of(prompt).derive(_questions)
    if not asked:
        return Finding("question_kept", None, (), "the prompt asks nothing")
    for span, words in passage.derive(_questions):
        for _, other in asked:
            shared = len(words & other)
            if shared >= _FEWEST_SHARED and 2 * shared >= min(len(words), len(other)):
                return Finding("question_kept", 1.0, (span,))
    return Finding("question_kept", 0.0, ())


def _questions(passage: Passage) -> tuple[tuple[Span, frozenset[str]], ...]:
    asked = (s for s in passage.sentences if s.text.rstrip("\"'”’)] ").endswith(("?", "？")))
    return tuple((span, frozenset(map(porter_stem, Passage(span.text).tokens))) for span in asked)
