"""Guess which columns hold prompt and completion where their names do not say.

For `finetrial init` alone, which writes the guess down beside its alternatives: a trial guesses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from finetrial.trial.autos import completion_kind
from finetrial.trial.columns import PAIRS, Columns, usual_pairs
from finetrial.trial.rows import Table
from finetrial.trial.values import as_text, is_json_value, is_scalar

_COMPLETIONS = {
    *(name for _, names in PAIRS for name in names),
    *(
        "label",
        "labels",
        "category",
        "class",
        "intent",
        "sentiment",
        "topic",
        "tag",
        "rating",
        "reply",
        "translation",
    ),
}
_PROMPTS = {*(name for name, _ in PAIRS), "review", "sentence", "ticket", "message", "email", "comment", "title"}
_SURE = ("instruction", "prompt", "question", "query")  # that nobody gives to a completion
_LOOKED_AT = 2000  # rows. Assumption
_FILLED = 0.5  # of a column's cells; one that is emptier is no prompt and no completion. Assumption
_MOST = 3  # alternatives that are worth a line each


def _kind(table: Table, column: str) -> str | None:
    """JSON, labels, text; numbers where each is another; None for a column that can be neither."""
    values = [row.values.get(column) for row in table.rows[:_LOOKED_AT]]
    filled = [value for value in values if value is not None and value != ""]
    if len(filled) < _FILLED * len(values) or not filled:
        return None
    if any(map(is_json_value, filled)):
        return "JSON"
    if all(isinstance(value, (list, tuple)) for value in filled):
        return "text"  # several references
    if not all(map(is_scalar, filled)):
        return None
    kind = completion_kind([as_text(value) for value in filled])
    return "numbers" if kind == "text" and not any(isinstance(value, str) for value in filled) else kind


def _length(table: Table, column: str) -> float:
    texts = [value for row in table.rows[:_LOOKED_AT] if isinstance(value := row.values.get(column), str)]
    return sum(map(len, texts)) / max(1, len(texts))


def guess_columns(
    table: Table, *, without: Sequence[str] = (), prompt: str | None = None, completion: str | None = None
) -> tuple[Columns, ...]:
    """Pairs of columns by their names and what stands in them, the likeliest first, some alternatives behind it.

    `without` are columns that are neither; `prompt` or `completion` is one that the user has named. Usual names
    come first. Else a completion is JSON, or labels, or the last column; a prompt the longest texts where labels
    or JSON are to be told from it, and the first column else. Alone where its names are the only usual ones; empty
    where there is no such pair.
    """
    kinds = {column: _kind(table, column) for column in table.columns if column not in without}
    order = list(table.columns)
    completions = [completion] if completion else [c for c, kind in kinds.items() if kind not in (None, "numbers")]
    texts = [c for c, kind in kinds.items() if kind == "text" or (kind == "labels" and c.lower() in _PROMPTS)]
    prompts = [prompt] if prompt else texts

    def as_completion(column: str) -> tuple[int, int]:
        name, kind = column.lower(), kinds.get(column)
        known = 0 if name in _COMPLETIONS and name not in _SURE else 2 if name in _PROMPTS else 1
        return {"JSON": 0, "labels": 1}.get(kind or "", 2) + 3 * known, -order.index(column)

    def as_prompt(column: str, answer: str) -> tuple[int, float]:
        known = 0 if column.lower() in _PROMPTS else 1
        closed = kinds.get(answer) in ("JSON", "labels")
        return known, -_length(table, column) if closed else order.index(column)

    found = [
        Columns(asked, answer)
        for answer in sorted(completions, key=as_completion)
        for asked in sorted(prompts, key=lambda column: as_prompt(column, answer))
        if asked != answer
    ]
    both_usual = [pair for pair in usual_pairs(order, prompt=prompt, completion=completion) if pair in found]
    found = list(dict.fromkeys((*both_usual, *found)))
    if not found:
        return ()
    first = found[0]
    usual = [p for p in found if p.prompt.lower() in _PROMPTS and (p.completion or "").lower() in _COMPLETIONS]
    if usual == [first]:
        return (first,)
    turned = [pair for pair in found if (pair.prompt, pair.completion) == (first.completion, first.prompt)]
    others = [pair for pair in found[1:] if pair not in turned]
    return (first, *(turned + others)[:_MOST])
