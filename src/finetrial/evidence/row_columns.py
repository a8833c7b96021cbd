"""Keep the columns of the data that metrics read, so that a trial's scores can be checked without its data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from finetrial.metrics.sample_row import NotedColumns
from finetrial.store.layout import TrialFolder
from finetrial.store.records import PromptColumns, Sample, read_rows, write_rows
from finetrial.trial.examples import Example
from finetrial.trial.values import json_value

# prompt id -> column -> value
ColumnsByPrompt = Mapping[str, Mapping[str, Any]]


def stored_columns(folder: TrialFolder) -> ColumnsByPrompt:
    """The columns that metrics read when the samples were scored; empty where they read none."""
    if not folder.columns.exists():
        return {}
    return {row.prompt_id: row.columns for row in read_rows(folder.columns, PromptColumns)}


def data_columns(examples: Iterable[Example]) -> ColumnsByPrompt:
    """Every column of these rows, as JSON will hold it."""
    return {e.id: {name: json_value(value) for name, value in e.columns.items()} for e in examples}


def with_columns(
    samples: Sequence[Sample], columns: ColumnsByPrompt, *, read: set[str] | None = None
) -> list[Sample]:
    """The samples with their prompts' columns. `read` takes the names of those that a metric looks at."""
    noted = set[str]() if read is None else read
    return [
        replace(sample, columns=NotedColumns(columns[sample.prompt_id], read=noted))
        if sample.prompt_id in columns
        else sample
        for sample in samples
    ]


def store_columns(folder: TrialFolder, columns: ColumnsByPrompt, *, read: Iterable[str]) -> None:
    """Write the columns that were read; a file of earlier ones goes where none was."""
    names = sorted(read)
    if not names:
        folder.columns.unlink(missing_ok=True)
        return
    rows = (
        PromptColumns(prompt_id, {name: values[name] for name in names if name in values})
        for prompt_id, values in sorted(columns.items())
    )
    write_rows(folder.columns, rows)
