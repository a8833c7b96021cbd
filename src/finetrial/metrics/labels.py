"""Score texts that name a class: macro-F1 over the labels of the references, and the confusion of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from finetrial.metrics.answers import same_spelling
from finetrial.metrics.metric import ArmMetric, Output, Settings
from finetrial.metrics.signature import Signature


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often a text with each true label named each label: `counts[true][named]`. `other` named none of them."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    other: tuple[int, ...]  # for each true label


def _labels(output: Output) -> tuple[str, str] | None:
    """The true label and the one that the text is, both as `exact` compares; None without a reference.

    Where several references stand, any of them is right, and the first is the true label of a wrong text.
    """
    named = same_spelling(output.text)
    true = [same_spelling(reference) for reference in output.references]
    if not true:
        return None
    return (named if named in true else true[0]), named


def _counted(outputs: Sequence[Output]) -> Counter[tuple[str, str]]:
    return Counter(pair for output in outputs if (pair := output.derive(_labels)) is not None)


def macro_f1(outputs: Sequence[Output], settings: Settings) -> float | None:
    """The plain mean over labels of 2 TP / (2 TP + FP + FN), each label's F1.

    The labels are those of the references among these texts. What a text says else is a miss for its true label and
    no label of its own: a model that rambles would otherwise make labels. None without references.
    """
    pairs = _counted(outputs)
    true, named = Counter[str](), Counter[str]()
    for (label, said), count in pairs.items():
        true[label] += count
        named[said] += count
    # 2 TP + FP + FN = texts of the label + texts that name it
    scores = [2 * pairs[label, label] / (count + named[label]) for label, count in true.items()]
    return sum(sorted(scores)) / len(scores) if scores else None


def confusion(outputs: Sequence[Output], settings: Settings) -> Confusion:
    """The confusion matrix of one arm's texts."""
    pairs = _counted(outputs)
    labels = tuple(sorted({label for label, _ in pairs}))
    counts = tuple(tuple(pairs[true, named] for named in labels) for true in labels)
    totals = Counter[str]()
    for (label, _), count in pairs.items():
        totals[label] += count
    other = tuple(totals[label] - sum(row) for label, row in zip(labels, counts, strict=True))
    return Confusion(labels, counts, other)


LABELS = (
    ArmMetric(
        name="macro_f1",
        title="Macro-F1",
        about="the mean over labels of each label's F1, with a confusion matrix; accuracy is exact",
        bounds=(0.0, 1.0),
        needs_references=True,
        compute=macro_f1,
        detail=confusion,
        sign=lambda settings: str(Signature("macro_f1", tokenizer="nfc", reference_rule="any")),
    ),
)
