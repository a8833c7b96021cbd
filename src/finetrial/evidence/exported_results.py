"""Write findings in the forms in which others collect results: Every Eval Ever's JSON, the hub's model-index.

Every Eval Ever: its eval.schema.json, version 0.3.0 (evaleval/every_eval_ever, August 2026), one file an arm.
model-index: the metadata of a model's card on the Hugging Face hub (huggingface/hub-docs, modelcard.md).
"""

from __future__ import annotations

import enum
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from finetrial import __version__
from finetrial.errors import UserError
from finetrial.evidence.findings import Findings, Interval
from finetrial.metrics.metric import Direction
from finetrial.metrics.metric_table import metric_name, metric_named
from finetrial.store.files import atomic_text

SCHEMA_VERSION = "0.3.0"


class ResultsForm(enum.StrEnum):
    """How results are written for others."""

    EVERY_EVAL_EVER = "every_eval_ever"
    MODEL_INDEX = "model_index"


@dataclass(frozen=True, slots=True)
class EvaluatedArm:
    """What is known of an arm beside its numbers."""

    model: str | None = None  # the model that answers, as the hub or its server names it; None: not known
    description: str | None = None
    is_served_elsewhere: bool = False
    generation: Mapping[str, Any] = field(default_factory=dict)  # temperature, top_p, top_k, max_tokens, template


@dataclass(frozen=True, slots=True)
class EvaluatedOn:
    """What was evaluated, beside the numbers."""

    name: str  # of the trial, or of the file
    organization: str | None = None
    dataset: str | None = None  # None: as the trial is called
    hub_dataset: str | None = None  # its id, where it stands on the hub
    revision: str | None = None
    arms: Mapping[str, EvaluatedArm] = field(default_factory=dict)
    lower_is_better: Collection[str] = ()  # metrics of which the user says so


def _score_details(row: Interval) -> dict[str, Any]:
    uncertainty: dict[str, Any] = {"num_samples": row.n_units}
    if row.low is not None and row.high is not None:
        uncertainty["confidence_interval"] = {"lower": row.low, "upper": row.high, "confidence_level": 0.95}
    return {"score": row.mean, "uncertainty": uncertainty}


def _metric_config(findings: Findings, name: str, *, on: EvaluatedOn) -> dict[str, Any]:
    metric = metric_named(name, lower_is_better=on.lower_is_better)
    found: dict[str, Any] = {
        "metric_id": name,
        "metric_name": metric.title,
        "lower_is_better": metric.direction is Direction.LOWER,
        "score_type": "continuous",
    }
    if metric.bounds is not None:
        found |= {"min_score": metric.bounds[0], "max_score": metric.bounds[1]}
    if name in findings.signatures:
        found["additional_details"] = {"signature": findings.signatures[name]}
    return found


def every_eval_ever(findings: Findings, *, on: EvaluatedOn, at: float) -> dict[str, dict[str, Any]]:
    """One record an arm. `at` is the time in seconds since 1970; means that are undefined are left out."""
    stamp, dataset = str(round(at)), on.dataset or on.name
    source: dict[str, Any] = {"dataset_name": dataset, "source_type": "other"}
    if on.hub_dataset is not None:
        source = {"dataset_name": dataset, "source_type": "hf_dataset", "hf_repo": on.hub_dataset}
    arms = dict.fromkeys(arm for rows in findings.intervals.values() for arm in rows)
    records = {}
    for arm in arms:
        about = on.arms.get(arm, EvaluatedArm())
        where = "unknown" if about.model is None else "self_deployed"
        if about.is_served_elsewhere:
            where = "externally_managed"
        details = {"deployment_type": where, "model_availability": "unknown"}
        if about.description is not None:
            details["description"] = about.description
        results = [
            {
                "evaluation_name": f"{on.name}/{metric}",
                "evaluation_result_id": f"{on.name}/{arm}/{metric}",
                "source_data": source,
                "metric_config": _metric_config(findings, metric, on=on),
                "score_details": _score_details(rows[arm]),
                **({"generation_config": {"generation_args": dict(about.generation)}} if about.generation else {}),
            }
            for metric, rows in findings.intervals.items()
            if arm in rows and rows[arm].mean is not None
        ]
        records[arm] = {
            "schema_version": SCHEMA_VERSION,
            "evaluation_id": f"{on.name}/{arm}/{stamp}",
            "retrieved_timestamp": stamp,
            "source_metadata": {
                "source_name": on.name,
                "source_type": "evaluation_run",
                "source_organization_name": on.organization or "unknown",
                "evaluator_relationship": "other",
            },
            "eval_library": {"name": "finetrial", "version": __version__},
            "model_info": {
                "name": arm,
                "id": about.model or arm,
                "additional_details": details,
            },
            "evaluation_results": results,
        }
    return records


def model_index(findings: Findings, *, on: EvaluatedOn) -> dict[str, dict[str, Any]]:
    """One block of metadata an arm, for the head of its model's card."""
    arms = dict.fromkeys(arm for rows in findings.intervals.values() for arm in rows)
    keys = ("mean", "low", "high", "n_prompts")
    return {
        arm: index_block(
            arm,
            {
                name: {key: getattr(rows[arm], key) for key in keys}
                for name, rows in findings.intervals.items()
                if arm in rows
            },
            on=on,
        )
        for arm in arms
    }


def index_block(arm: str, rows: Mapping[str, Mapping[str, Any]], *, on: EvaluatedOn) -> dict[str, Any]:
    """An arm's model-index of its rows by metric: mean, low, high and n_prompts, as results.json has them."""
    dataset: dict[str, Any] = {"name": on.dataset or on.name, "type": on.hub_dataset or on.dataset or on.name}
    if on.revision is not None:
        dataset["revision"] = on.revision
    metrics = []
    for name, row in rows.items():
        if row["mean"] is None:
            continue
        found: dict[str, Any] = {
            "type": name,
            "name": metric_name(name),
            "value": row["mean"],
            "verified": False,
        }
        if row["low"] is not None and row["high"] is not None:
            found["args"] = {"low_95": row["low"], "high_95": row["high"], "prompts": row["n_prompts"]}
        metrics.append(found)
    results = [{"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}]
    return {"model-index": [{"name": arm, "results": results}]}


def save_results(findings: Findings, folder: Path, *, form: ResultsForm, on: EvaluatedOn, at: float) -> list[Path]:
    """Write a file an arm into a folder: <arm>.json, or <arm>.yaml. Raises UserError where nothing was scored."""
    if not findings.intervals:
        raise UserError("there are no numbers to save: nothing was scored")
    written = []
    if form is ResultsForm.EVERY_EVAL_EVER:
        texts = {
            f"{_file_name(arm)}.json": json.dumps(record, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
            for arm, record in every_eval_ever(findings, on=on, at=at).items()
        }
    else:
        texts = {
            f"{_file_name(arm)}.yaml": yaml.safe_dump(block, sort_keys=False, allow_unicode=True)
            for arm, block in model_index(findings, on=on).items()
        }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        atomic_text(folder / name, text)
        written.append(folder / name)
    return written


def _file_name(arm: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in arm)
