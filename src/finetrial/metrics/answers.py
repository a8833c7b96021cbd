"""Score short answers: exact match, strict or as SQuAD compares, token F1, valid JSON, and length."""

from __future__ import annotations

import json
import re
import statistics
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetrial.errors import UserError
from finetrial.metrics.metric import Direction, Output, ReferenceRule, SampleMetric, Settings, each
from finetrial.metrics.signature import Signature
from finetrial.metrics.tokens import is_unspaced, unicode_tokens

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True)
class AnswerScore:
    """A score with how it was computed. None where undefined, with the reason."""

    value: float | None
    signature: Signature
    reason: str | None = None


def same_spelling(text: str) -> str:
    """The text without outer white space, its characters composed (NFC): what `exact` compares. An accent that is
    one character and one that is two are the same."""
    return unicodedata.normalize("NFC", text).strip()


def _without_punctuation(text: str, *, unicode: bool) -> str:
    """The text without ASCII's punctuation, or with `unicode` without that of any script, the Japanese full stop
    too."""
    kept = text.translate(_PUNCTUATION)
    if not unicode or kept.isascii():
        return kept
    return "".join(c for c in kept if not unicodedata.category(c).startswith("P"))


def normalised_answer(text: str, *, unicode: bool = False) -> str:
    """Lower case without punctuation, articles and extra spaces: SQuAD's rule (Rajpurkar et al. 2016, section
    6.1). `unicode` takes off every script's punctuation, as MLQA does (Lewis et al. 2020, section 5).

    A text of which that leaves nothing, such as "A" or "?", is kept in lower case: only an empty text is empty.
    """
    kept = " ".join(_ARTICLES.sub(" ", _without_punctuation(text.lower(), unicode=unicode)).split())
    return kept or " ".join(same_spelling(text).lower().split())


def _best(prediction: str, references: str | Sequence[str], score: Callable[[str, str], float]) -> float:
    references = [references] if isinstance(references, str) else list(references)
    if not references:
        raise UserError("a score against references needs one", got="none", expected="one text or more")
    return max(score(prediction, reference) for reference in references)


def exact_match(prediction: str, references: str | Sequence[str]) -> AnswerScore:
    """1 where the prediction equals a reference, Unicode's two ways of writing a character and outer white space
    aside; else 0."""
    value = _best(prediction, references, lambda a, b: float(same_spelling(a) == same_spelling(b)))
    return AnswerScore(value, Signature("exact_match", tokenizer="nfc", reference_rule="best_per_metric"))


def _squad(name: str, *, unicode: bool) -> Signature:
    tokenizer = "squad-unicode" if unicode else "squad"
    return Signature(name, tokenizer=tokenizer, reference_rule="best_per_metric")


def squad_match(prediction: str, references: str | Sequence[str], *, unicode: bool = False) -> AnswerScore:
    """1 where the prediction equals a reference as SQuAD compares: case, punctuation and articles aside; else 0.

    That makes -5 equal to 5 and {"a": 15} to {"a": 1.5}: for prose, not for numbers or code.
    """
    same = lambda a, b: float(normalised_answer(a, unicode=unicode) == normalised_answer(b, unicode=unicode))
    return AnswerScore(_best(prediction, references, same), _squad("exact_match", unicode=unicode))


def token_f1(prediction: str, references: str | Sequence[str], *, unicode: bool = False) -> AnswerScore:
    """Harmonic mean of precision and recall of normalised words, best reference: SQuAD's F1 (Rajpurkar et al.
    2016).

    Words end at spaces; with `unicode` each character of a script without spaces is one, too. 1 where both texts
    are empty, 0 where one is. A text of articles or punctuation alone keeps them as words.
    """
    value = _best(prediction, references, lambda a, b: _f1(a, b, unicode=unicode))
    return AnswerScore(value, _squad("token_f1", unicode=unicode))


def _words(text: str, *, unicode: bool) -> list[str]:
    normalised = normalised_answer(text, unicode=unicode)
    return (unicode_tokens(normalised) if unicode else []) or normalised.split()


def _f1(prediction: str, reference: str, *, unicode: bool) -> float:
    mine, theirs = _words(prediction, unicode=unicode), _words(reference, unicode=unicode)
    if not mine or not theirs:
        return float(mine == theirs)
    shared = sum((Counter(mine) & Counter(theirs)).values())
    return 2 * shared / (len(mine) + len(theirs))


def read_json(text: str) -> Any:
    """The one JSON value that the whole text is (RFC 8259: no NaN, no Infinity, nothing before or after).

    Raises ValueError where it is none, or is nested too deep to be read.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def valid_json(prediction: str) -> AnswerScore:
    """1 where the whole text is one JSON value, else 0."""
    value = 1.0
    try:
        read_json(prediction)
    except ValueError:
        value = 0.0
    return AnswerScore(value, Signature("valid_json"))


def length_ratio(prediction: str, references: str | Sequence[str]) -> AnswerScore:
    """Words of the prediction over the mean number of words of the references; undefined where those have none."""
    references = [references] if isinstance(references, str) else list(references)
    signature = Signature("length_ratio", tokenizer="unicode", reference_rule="mean")
    expected = sum(len(unicode_tokens(reference)) for reference in references) / max(1, len(references))
    if expected == 0:
        return AnswerScore(None, signature, "the references have no words")
    return AnswerScore(len(unicode_tokens(prediction)) / expected, signature)


def _unspaced(outputs: Sequence[Output], settings: Settings) -> str | None:
    """Where words end at spaces, the references that have none to end at."""
    references = {text for output in outputs for text in output.references}
    whole = sum(map(is_unspaced, references))
    if settings.unicode or not whole:
        return None
    return (
        f"Token F1 takes words to end at spaces, and {whole} of {len(references)} references are in scripts that "
        "write none: each counts as one word. `unicode: true` under judging (--unicode) counts their characters."
    )


def _against_references(
    score: Callable[[str, Sequence[str], bool], AnswerScore],
    *,
    name: str,
    title: str,
    about: str,
    unseen: Callable[[Sequence[Output], Settings], str | None] | None = None,
) -> SampleMetric:
    """A metric that takes the best reference, or the mean over them where that is the rule.

    Which reference the primary prefers is ROUGE's to know: these take their own best there too, as their signature
    says.
    """

    def value(output: Output, settings: Settings) -> float | None:
        if not output.references:
            return None
        if settings.references is ReferenceRule.MEAN:
            each_value = (score(output.text, [one], settings.unicode).value for one in output.references)
            return statistics.fmean(value or 0.0 for value in each_value)
        return score(output.text, output.references, settings.unicode).value

    def sign(settings: Settings) -> str:
        signature = score("", [""], settings.unicode).signature
        if settings.references is ReferenceRule.MEAN:
            signature = replace(signature, reference_rule=str(ReferenceRule.MEAN))
        return str(signature)

    return SampleMetric(
        name=name,
        title=title,
        about=about,
        bounds=(0.0, 1.0),
        needs_references=True,
        compute=each(value),
        sign=sign,
        unseen=unseen,
    )


ANSWERS = (
    _against_references(
        lambda text, references, unicode: exact_match(text, references),
        name="exact",
        title="Exact match",
        about="equal to a reference; Unicode spelling and outer white space aside",
    ),
    _against_references(
        lambda text, references, unicode: squad_match(text, references, unicode=unicode),
        name="exact_squad",
        title="Exact match (SQuAD)",
        about="equal to a reference; case, punctuation and articles aside, as SQuAD compares",
    ),
    _against_references(
        lambda text, references, unicode: token_f1(text, references, unicode=unicode),
        name="f1",
        title="Token F1",
        about="shared words, as SQuAD counts them",
        unseen=_unspaced,
    ),
    SampleMetric(
        name="json",
        title="Valid JSON",
        about="the whole text is one JSON value",
        bounds=(0.0, 1.0),
        compute=each(lambda output, settings: valid_json(output.text).value),
        sign=lambda settings: str(valid_json("").signature),
    ),
    SampleMetric(
        name="length_ratio",
        title="Length ratio",
        about="words over the references' mean words; describes, and cannot decide",
        direction=Direction.NEITHER,
        needs_references=True,
        compute=each(lambda output, settings: length_ratio(output.text, output.references).value),
        sign=lambda settings: str(length_ratio("", [""]).signature),
    ),
)
