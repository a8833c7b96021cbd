"""Compute ROUGE-1 to -9, -L and -Lsum: the wording that a text shares with its references.

Lin, "ROUGE: a package for automatic evaluation of summaries", 2004, as `rouge-score` 0.1.2 computes it, equal
to that package to 1e-9 on everything that it can score. The Unicode tokenizer is ours and is named in the
signature.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from finetrial.errors import UserError, unknown_name
from finetrial.metrics.metric import Output, ReferenceRule, SampleMetric, Settings, each
from finetrial.metrics.porter import porter_stem
from finetrial.metrics.signature import Signature
from finetrial.metrics.subsequence import lcs_indices, lcs_length
from finetrial.metrics.tokens import ascii_tokens, loses_words, non_ascii_share, unicode_tokens

NGRAM_ORDERS = {f"rouge{n}": n for n in range(1, 10)}
VARIANTS = (*NGRAM_ORDERS, "rougeL", "rougeLsum")
DEFAULT_VARIANTS = ("rouge1", "rouge2", "rougeL", "rougeLsum")

# `rouge-score` 0.1.2 stems words of more than three characters only.
_LONGEST_UNSTEMMED = 3


@dataclass(frozen=True)
class RougeScore:
    """Shares from 0 to 1. `fmeasure` is the harmonic mean of precision and recall."""

    precision: float
    recall: float
    fmeasure: float


@dataclass(frozen=True)
class RougeResult:
    """The scores of one prediction by metric name, warnings, and how each was computed."""

    scores: Mapping[str, RougeScore]
    signatures: Mapping[str, Signature]
    warnings: tuple[str, ...]

    def __getitem__(self, metric: str) -> RougeScore:
        if metric not in self.scores:
            raise unknown_name("metric", metric, self.scores)
        return self.scores[metric]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def keys(self) -> Iterator[str]:
        return iter(self.scores)

    @property
    def rouge1(self) -> RougeScore:
        return self["rouge1"]

    @property
    def rouge2(self) -> RougeScore:
        return self["rouge2"]

    @property
    def rougeL(self) -> RougeScore:
        return self["rougeL"]

    @property
    def rougeLsum(self) -> RougeScore:
        return self["rougeLsum"]


_NOTHING_SHARED = RougeScore(0.0, 0.0, 0.0)


def _score(shared: int, n_prediction: int, n_reference: int) -> RougeScore:
    if not shared:
        return _NOTHING_SHARED
    precision, recall = shared / n_prediction, shared / n_reference
    return RougeScore(precision, recall, 2 * precision * recall / (precision + recall))


class _Stems(dict[str, str]):
    """What the stemmer said before: texts repeat their words. It empties itself before it grows without bound."""

    def __missing__(self, token: str) -> str:
        if len(self) >= 1 << 18:
            self.clear()
        stem = porter_stem(token) if len(token) > _LONGEST_UNSTEMMED else token
        self[token] = stem
        return stem


class _Text:
    """One text as ROUGE needs it: its tokens, and its n-grams and sentences on demand."""

    def __init__(self, text: str, cut: Callable[[str], list[str]]) -> None:
        self.text, self._cut = text, cut
        self.tokens = cut(text)
        self._sentences: list[list[str]] | None = None

    def grams(self, n: int) -> Iterator[Hashable]:
        tokens = self.tokens
        return iter(tokens) if n == 1 else zip(*(tokens[i:] for i in range(n)), strict=False)

    def sentences(self) -> list[list[str]]:
        if self._sentences is None:
            self._sentences = [self._cut(line) for line in self.text.split("\n") if line]
        return self._sentences


def _ngram_score(prediction: _Text, reference: _Text, n: int) -> RougeScore:
    short, long = prediction, reference
    if len(short.tokens) > len(long.tokens):
        short, long = long, short
    few = Counter(short.grams(n))
    many = Counter(filter(few.__contains__, long.grams(n)))  # of the longer text only what can match is counted
    shared = sum(min(count, few[gram]) for gram, count in many.items())
    return _score(shared, len(prediction.tokens) - n + 1, len(reference.tokens) - n + 1)


def _lcs_score(prediction: _Text, reference: _Text) -> RougeScore:
    shared = lcs_length(prediction.tokens, reference.tokens)
    return _score(shared, len(prediction.tokens), len(reference.tokens))


def _summary_lcs_score(prediction: _Text, reference: _Text) -> RougeScore:
    """Union of the longest common subsequences of each reference line with every predicted line (Lin 2004, 3.2).

    A token counts at most as often as it stands on either side, as in ROUGE 1.5.5.
    """
    mine, theirs = prediction.sentences(), reference.sentences()
    left_mine = Counter(token for line in mine for token in line)
    left_theirs = Counter(token for line in theirs for token in line)
    shared = 0
    for line in theirs:
        union = set().union(*(lcs_indices(line, other) for other in mine))
        for index in sorted(union):
            token = line[index]
            if left_mine[token] > 0 and left_theirs[token] > 0:
                shared += 1
                left_mine[token] -= 1
                left_theirs[token] -= 1
    return _score(shared, sum(map(len, mine)), sum(map(len, theirs)))


def _score_one(metric: str, prediction: _Text, reference: _Text) -> RougeScore:
    if metric == "rougeL":
        return _lcs_score(prediction, reference)
    if metric == "rougeLsum":
        return _summary_lcs_score(prediction, reference)
    return _ngram_score(prediction, reference, NGRAM_ORDERS[metric])


def _mean(scores: Sequence[RougeScore]) -> RougeScore:
    n = len(scores)
    return RougeScore(
        sum(s.precision for s in scores) / n,
        sum(s.recall for s in scores) / n,
        sum(s.fmeasure for s in scores) / n,
    )


def _is_mostly_uncounted(text: _Text) -> bool:
    if text.text.isascii():
        return False
    # Each token holds an ASCII character at least, so that most texts need no look at their characters.
    n_outside = len(text.text) - len(text.text.encode("ascii", "ignore"))
    return n_outside > len(text.tokens) and (non_ascii_share(text.text) or 0) > 0.5


def _warnings(prediction: _Text, references: Sequence[_Text], *, unicode: bool, with_lsum: bool) -> tuple[str, ...]:
    found = []
    for name, text in [("prediction", prediction), *(("reference", r) for r in references)]:
        if not text.tokens:
            found.append(f"the {name} has no tokens: its scores are 0 by definition")
        elif not unicode and _is_mostly_uncounted(text):
            found.append(f"most letters of the {name} are not ASCII and are not counted; unicode=True counts them")
    if with_lsum and "\n" not in prediction.text and not any("\n" in r.text for r in references):
        found.append("no newline on either side: rougeLsum splits at newlines only and equals rougeL here")
    return tuple(dict.fromkeys(found))


def rouge(
    prediction: str,
    references: str | Sequence[str],
    *,
    metrics: Sequence[str] = DEFAULT_VARIANTS,
    stemmer: bool = False,
    unicode: bool = False,
    rule: ReferenceRule | str = ReferenceRule.BEST_PER_METRIC,
    primary: str | None = None,
) -> RougeResult:
    """ROUGE of one prediction against one or several references.

    `stemmer` reduces words of more than three letters to their Porter stems. `unicode` counts words of every
    script; without it only a-z and 0-9 count. With several references `rule` says which counts; `primary` (the
    first of `metrics` unless given) matters for `best_by_primary` only. The first reference wins a tie. A side
    without tokens scores 0, as in `rouge-score`, with a warning.

    Raises UserError for an unknown metric or rule, and where there is no reference at all.
    """
    references = [references] if isinstance(references, str) else list(references)
    if not references:
        raise UserError("ROUGE needs a reference", got="none", expected="one text or more")
    if not metrics:
        raise UserError("ROUGE needs a metric", got="none", expected="one of " + ", ".join(VARIANTS))
    for metric in (*metrics, *([] if primary is None else [primary])):
        if metric not in VARIANTS:
            raise unknown_name("ROUGE metric", metric, VARIANTS)
    if rule not in list(ReferenceRule):
        raise unknown_name("reference rule", str(rule), [known.value for known in ReferenceRule])
    rule = ReferenceRule(rule)
    cut = _cutter(stemmer=stemmer, unicode=unicode)
    mine, theirs = _Text(prediction, cut), [_Text(text, cut) for text in references]

    table = {metric: [_score_one(metric, mine, other) for other in theirs] for metric in metrics}
    if len(theirs) == 1:
        scores = {metric: row[0] for metric, row in table.items()}
    elif rule is ReferenceRule.MEAN:
        scores = {metric: _mean(row) for metric, row in table.items()}
    elif rule is ReferenceRule.BEST_PER_METRIC:
        scores = {metric: max(row, key=lambda s: s.fmeasure) for metric, row in table.items()}
    else:
        key = primary or metrics[0]
        deciding = table[key] if key in table else [_score_one(key, mine, other) for other in theirs]
        best = max(range(len(theirs)), key=lambda i: deciding[i].fmeasure)
        scores = {metric: row[best] for metric, row in table.items()}
    return RougeResult(
        scores=scores,
        signatures=dict(_signatures(tuple(metrics), stemmer, unicode, rule, primary or metrics[0])),
        warnings=_warnings(mine, theirs, unicode=unicode, with_lsum="rougeLsum" in metrics),
    )


@functools.lru_cache(maxsize=256)
def _signatures(
    metrics: tuple[str, ...], stemmer: bool, unicode: bool, rule: ReferenceRule, primary: str
) -> Mapping[str, Signature]:
    named_rule = f"{rule}:{primary}" if rule is ReferenceRule.BEST_BY_PRIMARY else str(rule)
    tokenizer, stems = "unicode" if unicode else "ascii", "porter" if stemmer else None
    return {m: Signature(m, tokenizer=tokenizer, stemmer=stems, reference_rule=named_rule) for m in metrics}


_STEMS = _Stems()


def _cutter(*, stemmer: bool, unicode: bool) -> Callable[[str], list[str]]:
    cut = unicode_tokens if unicode else ascii_tokens
    return (lambda text: list(map(_STEMS.__getitem__, cut(text)))) if stemmer else cut


@dataclass(frozen=True, slots=True)
class _Tokenised:
    """An output's text and references as ROUGE reads them, shared by its variants."""

    stemmer: bool
    unicode: bool

    def __call__(self, output: Output) -> tuple[_Text, list[_Text]]:
        cut = _cutter(stemmer=self.stemmer, unicode=self.unicode)
        return _Text(output.text, cut), [_Text(text, cut) for text in output.references]


@dataclass(frozen=True, slots=True)
class _Scored:
    """One variant's score of an output against each of its references, shared where it decides for the others."""

    variant: str
    texts: _Tokenised

    def __call__(self, output: Output) -> list[RougeScore]:
        mine, theirs = output.derive(self.texts)
        return [_score_one(self.variant, mine, other) for other in theirs]


def _deciding(variant: str, settings: Settings) -> str:
    """The variant by which the best reference is chosen: the primary, or the first that is computed."""
    if settings.primary in VARIANTS:
        return settings.primary
    return next((name for name in settings.metrics if name in VARIANTS), variant)


def _f_measure(variant: str, output: Output, settings: Settings) -> float | None:
    if not output.references:
        return None
    texts = _Tokenised(settings.stemmer, settings.unicode)
    row = output.derive(_Scored(variant, texts))
    if settings.references is ReferenceRule.MEAN:
        return _mean(row).fmeasure
    if settings.references is ReferenceRule.BEST_PER_METRIC or len(row) == 1:
        return max(score.fmeasure for score in row)
    deciding = output.derive(_Scored(_deciding(variant, settings), texts))
    return row[max(range(len(row)), key=lambda i: deciding[i].fmeasure)].fmeasure


def _sign(variant: str, settings: Settings) -> str:
    computed = (variant,), settings.stemmer, settings.unicode, settings.references, _deciding(variant, settings)
    return str(_signatures(*computed)[variant])


def _sides(outputs: Sequence[Output]) -> dict[str, list[str]]:
    """The texts that are compared: every sample that has a reference, and each reference once."""
    scored = [output for output in outputs if output.references]
    references = sorted({text for output in scored for text in output.references})
    return {"samples": [output.text for output in scored], "references": references}


def _unseen(outputs: Sequence[Output], settings: Settings) -> str | None:
    """The letters of these texts that ROUGE does not count."""
    if settings.unicode:
        return None
    sides = _sides(outputs)
    if not any(map(loses_words, sides.values())):
        return None
    mostly = {name: sum((non_ascii_share(t) or 0) > 0.5 for t in texts) for name, texts in sides.items()}
    parts = [f"most of {n} of {len(sides[name])} {name}" for name, n in mostly.items() if n]
    outside = sum(c.isalpha() and not c.isascii() for texts in sides.values() for t in texts for c in t)
    letters = sum(c.isalpha() for texts in sides.values() for t in texts for c in t)
    share = f"{100 * outside / letters:.0f} % of the letters of these texts"
    return (
        f"ROUGE does not see {share}{', ' * bool(parts)}{' and '.join(parts)}: without `unicode: true` under "
        "judging (--unicode) it counts a-z and 0-9 alone."
    )


def _no_words(outputs: Sequence[Output], settings: Settings) -> Iterable[str]:
    cut = _cutter(stemmer=False, unicode=settings.unicode)
    for name, texts in _sides(outputs).items():
        if empty := sum(not cut(text) for text in texts):
            yield f"{empty} of {len(texts)} {name} have no words: their ROUGE is 0 by definition."


def _no_lines(outputs: Sequence[Output], settings: Settings) -> Iterable[str]:
    yield from _no_words(outputs, settings)
    scored = [output for output in outputs if output.references]
    if scored and not any("\n" in text for output in scored for text in (output.text, *output.references)):
        yield "ROUGE-Lsum splits at newlines, and no text has one: it equals ROUGE-L here."


def _about(variant: str) -> str:
    if variant == "rougeL":
        return "words of the longest common subsequence with a reference, as an F measure"
    if variant == "rougeLsum":
        return "words of the longest common subsequences, line by line, as an F measure"
    n = variant.removeprefix("rouge")
    shared = "words" if n == "1" else f"runs of {n} words"
    return f"{shared} shared with a reference, as an F measure"


def _metric(variant: str) -> SampleMetric:
    return SampleMetric(
        name=variant,
        title=f"ROUGE-{variant.removeprefix('rouge')}",
        about=_about(variant),
        bounds=(0.0, 1.0),
        needs_references=True,
        compute=each(functools.partial(_f_measure, variant)),
        sign=functools.partial(_sign, variant),
        warn=_no_lines if variant == "rougeLsum" else _no_words,
        unseen=_unseen,
    )


ROUGE = tuple(_metric(variant) for variant in VARIANTS)


def forget_stems() -> None:
    """Empty the memory of stems, so that a measurement of speed pays for each of them again."""
    _STEMS.clear()
