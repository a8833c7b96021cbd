"""Write a report as results.json: its numbers under fixed keys, and every section's blocks.

The texts of transcripts and excerpts stand in samples/ and figures in figures/; here are their names.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, assert_never

from finetrial.evidence.findings_json import findings_object
from finetrial.plotting import load_matplotlib
from finetrial.reporting.document import (
    Block,
    Commands,
    Document,
    Equations,
    Excerpt,
    Facts,
    Figure,
    Folded,
    Heading,
    Notice,
    Paragraph,
    Table,
    Transcript,
    plain,
)
from finetrial.reporting.results import RESULTS_VERSION, ArmResult, Results
from finetrial.store.records import as_object

TEXTS_LEFT_OUT = "left out"  # what results.json says under `texts`; nothing where they are shown


def block_object(block: Block) -> dict[str, Any]:
    """One block as plain objects."""
    match block:
        case Heading(text):
            return {"heading": text}
        case Paragraph(text):
            return {"paragraph": plain(text)}
        case Notice(texts, title, level):
            return {"notice": level.value, "title": title, "texts": list(texts)}
        case Facts(rows):
            return {"facts": [[row.label, *map(plain, (row.text, *row.more))] for row in rows]}
        case Table():
            return _table_object(block)
        case Figure(drawing, caption):
            return {"figure": drawing.name, "description": drawing.description, "caption": caption}
        case Equations(equations):
            return {"equations": [[side.text for side in (row.left, *row.right)] for row in equations]}
        case Commands(text):
            return {"commands": text.splitlines()}
        case Excerpt(label, _, _, where):
            return {"excerpt": plain(label), "where": where}
        case Folded(summary, blocks):
            return {"folded": summary, "blocks": [block_object(inner) for inner in blocks]}
        case Transcript():
            arms = {a.arm: [[c.letter, c.score, c.ending] for c in a.completions] for a in block.answers}
            return {"transcript": block.number, "prompt_id": block.prompt_id, "answers": arms}
    assert_never(block)


def _table_object(table: Table) -> dict[str, Any]:
    rows = [
        {
            "head": plain(row.head),
            "about": row.about,
            "cells": [[cell.text, *cell.lines, *["best"] * cell.best] for cell in row.cells],
        }
        for row in table.rows
    ]
    columns = [table.first, *table.columns]
    return {"table": table.name, "title": table.title, "columns": columns, "rows": rows, "note": table.note}


def results_object(document: Document, results: Results) -> dict[str, Any]:
    """The document and its numbers as results.json holds them."""
    found = results.findings
    concluded = findings_object(found)
    content: dict[str, Any] = {
        "version": RESULTS_VERSION,
        "finetrial": document.version,
        "trial": results.trial,
        "title": results.title,
        "authors": list(results.authors),
        **({"verdict_warnings": concluded["verdict_warnings"]} if found.verdict_warnings else {}),
        **({"texts": TEXTS_LEFT_OUT} if results.texts_left_out else {}),
        "answer": results.answer,
        "primary": results.primary,
        "metric": results.metric,
        "base": results.base,
        "written_by_program": results.written_by_program,
        "asked": document.facts("compared"),
        "arms": {arm.name: _arm_object(arm) | _dropped(arm, results) for arm in results.arms},
        "metrics": {
            metric: {arm: as_object(cell) for arm, cell in row.items()} for metric, row in results.metrics.items()
        },
        "signatures": dict(results.signatures),
        "prompts": list(results.prompts),
        "prompt_means": {arm: dict(row) for arm, row in results.prompt_means.items()},
        "grading": {"set_aside": list(results.set_aside), "opened": results.opened, "locked": results.locked},
        "grading_progress": None if results.progress is None else asdict(results.progress),
        "unfinished": list(results.unfinished),
        "warnings": list(results.warnings),
        "figures": {"matplotlib": load_matplotlib().__version__} if document.drawings else {},
        "recompute": document.facts("recompute"),
        "hashes": dict(results.hashes),
    }
    # What was concluded stands under the keys of `finetrial score --json`; the report's own keys go first.
    content |= {key: value for key, value in concluded.items() if key not in content and value}
    content["sections"] = {
        section.id: {"title": section.title, "blocks": [block_object(block) for block in section.blocks]}
        for section in (document.lead, *document.sections)
    }
    return content


def _dropped(arm: ArmResult, results: Results) -> dict[str, Any]:
    """Why an arm was not tuned, where pilots dropped it."""
    early = results.findings.early
    row = None if early is None else early.dropped.get(arm.name)
    if row is None:
        return {}
    return {"dropped_early": {"part": row.dropped_after, "probability": row.probability}}


def _arm_object(arm: ArmResult) -> dict[str, Any]:
    content: dict[str, Any] = {
        "kind": arm.method.name,
        "description": arm.description,
        "samples": arm.n_samples,
        "endings": dict(arm.endings),
        "mean_tokens": arm.mean_tokens,
    }
    if arm.measured is not None:
        content["measured"] = as_object(arm.measured)
        content["trained_share"] = arm.trained_share
    if arm.more_runs:
        content["more_runs"] = [as_object(measured) for measured in arm.more_runs]
    if arm.search is not None:
        content["search"] = {**asdict(arm.search), "seconds": arm.search.seconds}
    if arm.planned:
        content["planned"] = dict(arm.planned)
    return content
