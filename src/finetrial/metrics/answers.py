"""Score short answers: exact match, token F1, valid JSON, and length against the references."""

from __future__ import annotations

import json
import re
import statistics
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from finetrial.errors import UserError
from finetrial.metrics.metric import Direction, Output, ReferenceRule, SampleMetric, Settings, each
from finetrial.metrics.signature import Signature
from finetrial.metrics.tokens import unicode_tokens

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True)
class AnswerScore:
    """A score with how it was computed. None where undefined, with the reason."""

    value: float | None
    signature: Signature
    reason: str | None = None


def normalised_answer(text: str) -> str:
    """Lower case without punctuation, articles and extra spaces: SQuAD's rule (Rajpurkar et al. 2016, section
    6.1)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _best(prediction: str, references: str | Sequence[str], score: Callable[[str, str], float]) -> float:
    references = [references] if isinstance(references, str) else list(references)
    if not references:
        raise UserError("a score against references needs one", got="none", expected="one text or more")
    return max(score(prediction, reference) for reference in references)


def exact_match(prediction: str, references: str | Sequence[str], *, normalise: bool = True) -> AnswerScore:
    """1 where the prediction equals a reference, else 0; `normalise` compares as SQuAD does, otherwise only
    stripped."""
    clean = normalised_answer if normalise else str.strip
    value = _best(prediction, references, lambda mine, theirs: float(clean(mine) == clean(theirs)))
    tokenizer = "squad" if normalise else "stripped"
    return AnswerScore(value, Signature("exact_match", tokenizer=tokenizer, reference_rule="best_per_metric"))


def token_f1(prediction: str, references: str | Sequence[str]) -> AnswerScore:
    """Harmonic mean of precision and recall of normalised words, best reference: SQuAD's F1 (Rajpurkar et al.
    2016).

    Where a side has no words: 1 if neither has, else 0, as in SQuAD 2.0.
    """
    value = _best(prediction, references, _f1)
    return AnswerScore(value, Signature("token_f1", tokenizer="squad", reference_rule="best_per_metric"))


def _f1(prediction: str, reference: str) -> float:
    mine, theirs = normalised_answer(prediction).split(), normalised_answer(reference).split()
    if not mine or not theirs:
        return float(mine == theirs)
    shared = sum((Counter(mine) & Counter(theirs)).values())
    return 2 * shared / (len(mine) + len(theirs))


def valid_json(prediction: str) -> AnswerScore:
    """1 where the whole text is one JSON value (RFC 8259: no NaN, no Infinity, nothing before or after), else 0."""
    value = 1.0
    try:
        json.loads(prediction, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        value = 0.0
    return AnswerScore(value, Signature("valid_json"))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def length_ratio(prediction: str, references: str | Sequence[str]) -> AnswerScore:
    """Words of the prediction over the mean number of words of the references; undefined where those have none."""
    references = [references] if isinstance(references, str) else list(references)
    signature = Signature("length_ratio", tokenizer="unicode", reference_rule="mean")
    expected = sum(len(unicode_tokens(reference)) for reference in references) / max(1, len(references))
    if expected == 0:
        return AnswerScore(None, signature, "the references have no words")
    return AnswerScore(len(unicode_tokens(prediction)) / expected, signature)


def _against_references(
    score: Callable[[str, Sequence[str]], AnswerScore], *, name: str, title: str
) -> SampleMetric:
    """A metric that takes the best reference, or the mean over them where that is the rule.

    Which reference the primary prefers is ROUGE's to know: these take their own best there too, as their signature
    says.
    """

    def value(output: Output, settings: Settings) -> float | None:
        if not output.references:
            return None
        if settings.references is ReferenceRule.MEAN:
            return statistics.fmean(score(output.text, [one]).value or 0.0 for one in output.references)
        return score(output.text, output.references).value

    def sign(settings: Settings) -> str:
        signature = score("", [""]).signature
        if settings.references is ReferenceRule.MEAN:
            signature = replace(signature, reference_rule=str(ReferenceRule.MEAN))
        return str(signature)

    return SampleMetric(
        name=name, title=title, bounds=(0.0, 1.0), needs_references=True, compute=each(value), sign=sign
    )


ANSWERS = (
    _against_references(exact_match, name="exact", title="Exact match"),
    _against_references(token_f1, name="f1", title="Token F1"),
    SampleMetric(
        name="json",
        title="Valid JSON",
        bounds=(0.0, 1.0),
        compute=each(lambda output, settings: valid_json(output.text).value),
        sign=lambda settings: str(valid_json("").signature),
    ),
    SampleMetric(
        name="length_ratio",
        title="Length ratio",
        direction=Direction.NEITHER,
        needs_references=True,
        compute=each(lambda output, settings: length_ratio(output.text, output.references).value),
        sign=lambda settings: str(length_ratio("", [""]).signature),
    ),
)
