"""Write the lines of a first trial file that follow from what the completions are: template, metrics, grading."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

from finetrial.metrics.mean_grade import GRADE
from finetrial.metrics.metric_table import FORMS, METRICS
from finetrial.metrics.tokens import loses_words
from finetrial.trial.autos import CompletionKind

_MOST_NAMED = 12  # labels or fields that a prompt names; more would be a prompt of their own. Assumption
_LONGEST_NAMED = 40  # characters of a label that a prompt names. Assumption
_WIDTH = 104
_CUES = {  # the columns of free text whose names are cues; completion or output say nothing
    **{name: name.capitalize() for name in ("reply", "response", "answer", "summary", "translation", "highlights")},
    **{"answers": "Answer", "summaries": "Summary", "responses": "Response", "replies": "Reply"},
}
_PRIMARY = {"labels": "exact", "JSON": "json_fields", "text": "rouge1"}
_METRICS = {
    "labels": ("exact", "macro_f1", "exact_squad"),
    "JSON": ("json_fields", "json"),
    "text": ("rouge1", "rouge2", "rougeL"),
}


def metrics_for(kind: CompletionKind) -> tuple[str, tuple[str, ...]]:
    """The metric that decides, and all that are computed."""
    return _PRIMARY[kind], _METRICS[kind]


def _fields(completions: Sequence[str]) -> list[str]:
    """The fields of JSON objects, in the order in which they are first met."""
    objects = [value for text in completions if isinstance(value := json.loads(text), dict)]
    return list(dict.fromkeys(str(key) for value in objects for key in value))


def fitting_template(kind: CompletionKind, completions: Sequence[str], *, column: str | None) -> str:
    """What the model is shown: the prompt, and for labels and JSON a line that says what is wanted.

    An arm that is not tuned cannot know the labels otherwise. Free text has a cue after it where the name of its
    column says what it is, such as reply; more only the user knows, and `finetrial check` says what is missing.
    """
    if kind == "labels":
        labels = sorted({text.strip() for text in completions})
        few = len(labels) <= _MOST_NAMED and max(map(len, labels)) <= _LONGEST_NAMED
        cue = f"Answer with one of: {', '.join(labels)}." if few and len(labels) > 1 else "Answer with a label."
        return "{prompt}\n" + _braces(cue) + "\nAnswer:"
    if kind == "JSON":
        fields = _fields(completions)
        named = f" with the fields {', '.join(fields)}" if 0 < len(fields) <= _MOST_NAMED else ""
        return "{prompt}\n" + _braces(f"Answer with JSON{named}.") + "\nJSON:"
    own = _CUES.get((column or "").lower())
    return f"{{prompt}}\n{own}:" if own else "{prompt}"


def _braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _listed() -> list[str]:
    """Every metric by name, as comments."""
    numbered = [metric.name for metric in METRICS if metric.name.removeprefix("rouge").isdigit()]
    others = [metric.name for metric in METRICS if metric.name not in numbered]
    names = [f"{numbered[0]} ... {numbered[-1]}", *others, *(form for form, _ in FORMS)]
    text = f"all metrics (`finetrial metrics` explains them): {', '.join(names)}"
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [f"  # {line}" for line in lines]


def counts_every_script(kind: CompletionKind, completions: Sequence[str]) -> bool:
    """Whether the metrics of free text must be told to count the words of every script."""
    return kind == "text" and loses_words(completions)


def primary_for(kind: CompletionKind, *, criterion: str | None) -> str:
    """What decides: people's grades where it is said what makes an answer good, else the metric that fits."""
    return metrics_for(kind)[0] if criterion is None else GRADE


def judging_lines(
    kind: CompletionKind, completions: Sequence[str], *, most_graded: int, criterion: str | None = None
) -> list[str]:
    """The block `judging`. People grade free text; labels and JSON are right or wrong without them.

    Where a criterion is given, people's grades decide, of whatever kind the completions are.
    """
    metrics = metrics_for(kind)[1]
    primary = primary_for(kind, criterion=criterion)
    why = {
        "labels": f"completions are labels, {len({text.strip() for text in completions})} different ones",
        "JSON": "every completion is JSON: the share of its fields that match",
        "text": "decides; name it before the trial, or grade: people judge blind",
    }[kind]
    if criterion is not None:
        why = f"people's blind grades decide, by the criterion below; or {metrics[0]}"
    beside = {
        "labels": "each label alike, with a confusion matrix; case and punctuation aside",
        "JSON": "json: whether the answer is JSON at all",
        "text": "F measures of shared words",
    }[kind]
    graded = "auto" if (kind == "text" or criterion is not None) and most_graded else 0
    enough = ", as many as find a difference of 20 points" if graded else ""
    script = []
    if counts_every_script(kind, completions):
        script = [
            "  unicode: true                   # the completions hold letters beyond a-z: count those words too"
        ]
    lines = [
        "judging:",
        f"  primary: {primary:<23}# {why}",
        f"  metrics: {'[' + ', '.join(metrics) + ']':<22}  # {beside}",
        *_listed(),
        *script,
        "  margin: 0.02                    # how much worse still counts as good enough",
        f"  grade_prompts: {graded:<17}# set aside for blind grading{enough}",
    ]
    if criterion is not None:
        lines.append(f"  criterion: {json.dumps(criterion, ensure_ascii=False)}")
    elif kind == "text":
        lines.append('  # criterion: what a rater is asked, such as "Is it short, true and complete?"')
    return lines
