"""Find generation artifacts: code, boilerplate, role markers, a second document, another language.

Code, boilerplate, role markers, a second document, another language, or a length far beyond the references.
Each rate is the share of the text's characters inside what was found (the length: how many times the longest
reference). The patterns are ours, written down below; show each rate beside the references' own, since a task
may want code.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from finetrial.metrics.passages import Finding, Passage, Span

# A line that is code: definitions, imports, statements with a colon and brackets or operators, assignments, calls
# alone on a line, braces alone, tags, comments of scripts. Among 40,000 lines of Shakespeare they find none.
_CODE_LINE = re.compile(
    r"""^[ \t]*(?:
      (?:async\s+)?def\s+\w+\s*\(.*                              # def f(
    | class\s+\w+\s*(?:\([^)]*\))?\s*:\s*                         # class A(B):
    | from\s+[\w.]+\s+import\s+[\w*].*                            # from a import b
    | import\s+[\w.]+(?:\s+as\s+\w+)?(?:\s*,\s*[\w.]+)*\s*;?      # import a as b
    | (?:if|elif|for|while|with|except)\b[^.?!]*[=\[\]()<>_][^?!]*:\s*   # for i in x[3]:
    | (?:else|try|finally)\s*:\s*
    | (?:return|yield|raise|assert|del)\b\s*[\w.]*[\[({=_].*      # return f(x)
    | [A-Za-z_][\w.\[\]'"]*\s*(?:[-+*/|&]|//|\*\*)?=(?!=)\s*\S.*  # x = 1
    | [A-Za-z_][\w.]*\([^)]*\)+\s*[;:{]?\s*                       # print(x)
    | (?:public|private|protected|static|function|fn|func|void)\s+[\w<>\[\]]+.*[({].*
    | (?:var|let|const|int|float|double|string|bool)\s+\w+\s*=.*
    | [{}\[\]()]+[;,]?\s*
    | \#(?:include|define|ifdef|!/).*
    | <(?:/?[a-z][a-z0-9]*(?:\s+[\w-]+=[^>]*)?|!--|\?php|!DOCTYPE)[^>]*>?.*
    | (?:SELECT\s.+\sFROM|INSERT\s+INTO|CREATE\s+TABLE)\s.*
    | >>>\s.*
    | ```.*
    | @\w+(?:\.\w+)*(?:\([^)]*\))?\s*
    )$""",
    re.VERBOSE,
)
# What is code wherever it stands in a line.
_CODE_INLINE = re.compile(
    r"\bdef \w+\([^)\n]*\)\s*(?:->[^:\n]*)?:|\bself\.\w+|\b__\w+__\b|\b(?:console\.log|System\.out\.\w+|print"
    r"|printf|len|range)\([^)\n]*\)|(?<=[\w)\] ])(?:===|!==|&&|\|\||\+=|-=)(?=\s*\w)"
    r"|</(?:div|p|a|span|html|body|script|li|ul|td|tr)>"
)
_BOILERPLATE = re.compile(
    r"all rights reserved|copyright\s+(?:©|\(c\)|\d{4})|©\s*\d{4}|terms (?:of|and) (?:service|use|conditions)"
    r"|privacy policy|cookie(?:s| policy)\b.{0,40}\b(?:use|accept|consent)|subscribe to (?:our|my|the)"
    r"|sign up (?:for|to) (?:our|the)|click here|read more(?:\s*[.…»:]|\s*$)|follow (?:us|me) on|share this"
    r"|(?:like|leave) a comment|this (?:article|post|story) (?:was )?(?:originally )?(?:appeared|published)"
    r"|as an ai (?:language )?model|https?://\S+|www\.\S+\.\S+|\[deleted\]|\[removed\]"
    r"|^[ \t]*edit[ \t]*\d*[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
_ROLE_MARKER = re.compile(
    r"<\|(?!endoftext)[a-z_]+\|>|\[/?INST\]|<</?SYS>>|</?(?:user|assistant|system)>|<(?:start|end)_of_turn>"
    r"|^[ \t]*(?:\#{1,4}[ \t]*)?(?:user|human|assistant|system|instruction|response|input|output|question"
    r"|answer|q|a)[ \t]*:|^[ \t]*\#{1,4}[ \t]*(?:instruction|response|input|output)\b",
    re.IGNORECASE | re.MULTILINE,
)
_END_MARKER = re.compile(r"<\|endoftext\|>|</s>|<s>|<eos>|<bos>|<\|end_of_text\|>|<\|begin_of_text\|>")
_SEPARATOR = re.compile(r"^[ \t]*(?:-{3,}|={3,}|\*{3,}|_{3,}|#{3,}|~{3,}|(?:\*[ \t]+){2,}\*)[ \t]*$", re.MULTILINE)
_HEADER = re.compile(r"^[ \t]*([A-Z][\w;/&'-]*(?:[ \t][\w;/&'-]+){0,3})[ \t]*:", re.MULTILINE)

# Headers of a post or a message, in capitals wherever they stand in a line.
_POST_HEADER = re.compile(
    r"(?<![\w/])(?:SUBREDDIT|TITLE|POST|TL;?DR|SUMMARY|BODY|AUTHOR|SUBJECT|DATE|COMMENTS?|REPLY|QUESTION|ANSWER|CONTEXT"
    r"|ABSTRACT|KEYWORDS|SOURCE|TAGS|CATEGORY)[ \t]*:"
)
# A sentence that speaks about a text instead of being one.
_ABOUT_A_TEXT = (
    r"(?:poem|passage|quot(?:e|ation)|excerpt|sonnet|stanza|verse|lines?|text|article|essay|story|summary|speech|play"
    r"|scene|letter|song|paragraph|answer|response|completion|code|function|program)"
)
_COMMENTARY = re.compile(
    rf"""["'“”‘’(\[]*(?:
      (?:this|the|these)\s+(?:above\s+|following\s+)?{_ABOUT_A_TEXT}\s+(?:above\s+)?(?:
        (?:is|are|was|were)\s+(?:originally\s+)?(?:
          written|composed|published|taken|inspired|translated|attributed|about
          | an?\s+(?:example|excerpt|quote|reference|metaphor|poem|sonnet|passage))
        | comes?\s+from | describes? | express(?:es)? | conveys? | explores? | reflects?\s+on | refers?\s+to
        | uses?\s+(?:imagery|metaphors?) | tells?\s+(?:of|the\s+story) | can\s+be\s+(?:read|seen|interpreted))\b
    | it\s+is\s+an?\s+(?:example|excerpt|quote|metaphor|poem|sonnet|passage)\b
    | the\s+(?:author|poet|narrator|speaker|writer)\s+(?:uses|describes|expresses|suggests|compares|conveys)\b
    | in\s+this\s+(?:poem|passage|excerpt|sonnet|stanza|verse|quote|essay|article|story|summary),
    | (?:here|below)\s+(?:is|are)\s+(?:an?|the|my|some)\s+(?:\w+\s+)?
        (?:summary|summaries|answers?|translation|poem|completion|continuation|rewrite|examples?)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)

# Frequent function words that tell apart seven languages in Latin letters.
_FUNCTION_WORDS = {
    "English": "the of and to in is that it for was with as on be at by this are from have not which we our"
    " a i you my she he they but or if can has how what their",
    "German": "der die und das ist nicht mit den von sie ein eine zu auf für dem im sich auch wir ich als dass",
    "French": "le la les des et est une un dans pour que qui pas sur de du nous vous il avec ce au sont",
    "Spanish": "el los las y de que en un una por con para es del se lo la su al como más pero no",
    "Italian": "il che di è per una un non con del della sono la le i si nel alla anche come gli da ma",
    "Portuguese": "o os as que não uma um com para do da em de e se por mais dos das ao como mas foi",
    "Dutch": "het een en van niet dat op te zijn de is voor met die aan er ook als maar wij ik hij naar",
}
_FEWEST_WORDS_FOR_LANGUAGE = 8
_LEAST_FUNCTION_WORD_SHARE = 0.2  # running prose has 30-50 %; assumption
# Beyond three times the longest reference a text answers another question; assumption.
FAR_BEYOND = 3.0


def _finding(name: str, passage: Passage, places: Iterable[tuple[int, int]]) -> Finding:
    n_characters = len(passage.text.strip())
    if n_characters == 0:
        return Finding(name, None, (), "the text is empty")
    spans = passage.merged(places)
    return Finding(name, sum(s.end - s.start for s in spans) / n_characters, spans)


def _matches(pattern: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    """Places of the non-empty matches, without white space around."""
    found = []
    for match in pattern.finditer(text):
        start = match.start() + len(match[0]) - len(match[0].lstrip())
        end = match.start() + len(match[0].rstrip())
        if start < end:
            found.append((start, end))
    return found


def _headers(passage: Passage) -> frozenset[str]:
    return frozenset(match[1].casefold() for match in _HEADER.finditer(passage.text))


def _headers_in_a_line(passage: Passage) -> re.Pattern[str] | None:
    """The prompt's own headers, spelt as there, wherever they stand in a line."""
    names = sorted({match[1] for match in _HEADER.finditer(passage.text)}, key=lambda name: (-len(name), name))
    if not names:
        return None
    return re.compile(rf"(?<![\w/])(?:{'|'.join(map(re.escape, names))})[ \t]*:")


def _header_places(passage: Passage, prompt: Passage) -> list[tuple[int, int]]:
    """Headers of the prompt at a line's start, or spelt as there anywhere; headers of posts by their form."""
    headers, in_a_line = prompt.derive(_headers), prompt.derive(_headers_in_a_line)
    places = [(m.start(1), m.end()) for m in _HEADER.finditer(passage.text) if m[1].casefold() in headers]
    patterns = (_POST_HEADER, in_a_line) if in_a_line is not None else (_POST_HEADER,)
    return places + [m.span() for pattern in patterns for m in pattern.finditer(passage.text)]


def commentary(text: str | Passage) -> Finding:
    """Sentences that speak about a text instead of being one: "This poem was written by", "Here is a summary"."""
    passage = Passage.of(text)
    said = [sentence for sentence in passage.sentences if _COMMENTARY.match(sentence.text)]
    return _finding("commentary", passage, [(sentence.start, sentence.end) for sentence in said])


def code(text: str | Passage) -> Finding:
    """Lines that are code, indented lines that follow one, and code within lines. Lines in a row are one span."""
    passage = Passage.of(text)
    places = _matches(_CODE_INLINE, passage.text)
    block: list[int] = []  # where the lines in a row begin and end
    start = 0
    for line in passage.text.split("\n"):
        bare, end = line.strip(), start + len(line.rstrip())
        if bare and (_CODE_LINE.match(line) or (block and line[0] in " \t")):
            block = [block[0] if block else start + len(line) - len(line.lstrip()), end]
        elif bare and block:
            places.append((block[0], block[1]))
            block = []
        start += len(line) + 1
    return _finding("code", passage, [*places, (block[0], block[1])] if block else places)


def boilerplate(text: str | Passage) -> Finding:
    """What web pages and chat models add: notices, links, calls to subscribe, "as an AI language model"."""
    passage = Passage.of(text)
    return _finding("boilerplate", passage, _matches(_BOILERPLATE, passage.text))


def role_markers(text: str | Passage) -> Finding:
    """Marks of a dialogue or an instruction format: `User:`, `### Response:`, `<|im_start|>`, `[INST]`."""
    passage = Passage.of(text)
    return _finding("role_markers", passage, _matches(_ROLE_MARKER, passage.text))


def second_document(text: str | Passage, *, prompt: str | Passage) -> Finding:
    """From where on another document begins: an end marker, a separator line, or a header of a post.

    A header is a word or a few before a colon (`TITLE:`), see `copied_headers`. What stands before it must hold a
    word, otherwise the text itself begins there. The span runs to the end of the text.
    """
    passage = Passage.of(text)
    starts = [m.start() for pattern in (_END_MARKER, _SEPARATOR) for m in pattern.finditer(passage.text)]
    starts += [start for start, _ in _header_places(passage, Passage.of(prompt))]
    first_word = passage.words[0].start if passage.words else len(passage.text)
    begin = min((start for start in starts if start > first_word), default=None)
    return _finding("second_document", passage, [] if begin is None else [(begin, len(passage.text.rstrip()))])


def copied_headers(text: str | Passage, *, prompt: str | Passage) -> Finding:
    """Headers of a post (`SUBREDDIT:`, `TITLE:`) in the text: the post copied back, not summed up.

    Those of the prompt at the start of a line, spelt as there anywhere in a line; and the usual ones in capitals
    wherever they stand, though the prompt be unknown.
    """
    passage = Passage.of(text)
    return _finding("copied_headers", passage, _header_places(passage, Passage.of(prompt)))


@functools.lru_cache(maxsize=1 << 16)
def _script(letter: str) -> str:
    """Latin, Cyrillic, Cjk ...: the first word of the letter's Unicode name; the kana count as one with Han."""
    first = unicodedata.name(letter, "UNKNOWN").split()[0]
    return "HAN AND KANA" if first in ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA") else first


def _scripts(passage: Passage) -> frozenset[str]:
    return frozenset(_script(c) for c in set(passage.text) if c.isalpha())


@functools.cache
def _function_words() -> dict[str, frozenset[str]]:
    return {language: frozenset(listed.split()) for language, listed in _FUNCTION_WORDS.items()}


def language(text: str | Passage) -> str | None:
    """Which of seven languages a text in Latin letters is written in, by its function words; None where unsure."""
    tokens = Passage.of(text).tokens
    if len(tokens) < _FEWEST_WORDS_FOR_LANGUAGE:
        return None
    counts = {name: sum(token in listed for token in tokens) for name, listed in _function_words().items()}
    (best, most), (_, second) = Counter(counts).most_common(2)
    is_sure = most / len(tokens) >= _LEAST_FUNCTION_WORD_SHARE and most >= 1.5 * second
    return best if is_sure else None


def other_language(text: str | Passage, *, expected: Sequence[str | Passage]) -> Finding:
    """Words in a script, and sentences in a language, that no text of `expected` (prompt, references) is
    written in.

    Single letters of another script are symbols and do not count. Languages are told apart by function words, in
    sentences of eight words or more, and only where the expected texts' own language is plain.
    """
    passage, others = Passage.of(text), [Passage.of(other) for other in expected]
    known_scripts = frozenset[str]().union(*(other.derive(_scripts) for other in others))
    if not known_scripts:
        return Finding("other_language", None, (), "neither prompt nor references hold a letter")
    places = []
    if not passage.derive(_scripts) <= known_scripts:
        for word in passage.words:
            letters = [c for c in passage.text[word.start : word.end] if c.isalpha()]
            foreign = [c for c in letters if _script(c) not in known_scripts]
            if foreign and (len(letters) > 1 or _script(letters[0]) == "HAN AND KANA"):
                places.append((word.start, word.end))
    known_languages = {other.derive(language) for other in others} - {None}
    if known_languages:
        for sentence in passage.sentences:
            found = language(sentence.text)
            if found is not None and found not in known_languages:
                places.append((sentence.start, sentence.end))
    return _finding("other_language", passage, places)


def overlong(text: str | Passage, *, references: Sequence[str | Passage]) -> Finding:
    """How many times as many words as the longest reference; the span is what exceeds three times that length.

    Unlike the other rates this one may exceed 1.
    """
    passage = Passage.of(text)
    longest = max((len(Passage.of(reference).words) for reference in references), default=0)
    if longest == 0:
        return Finding("overlong", None, (), "the references have no words")
    limit = int(FAR_BEYOND * longest)
    beyond: tuple[Span, ...] = ()
    if len(passage.words) > limit:
        beyond = (passage.span(passage.words[limit].start, passage.words[-1].end),)
    return Finding("overlong", len(passage.words) / longest, beyond)
