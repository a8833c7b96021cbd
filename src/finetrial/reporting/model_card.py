"""Write the card of an arm's model in the form of the Hugging Face hub, with the numbers of results.json.

The head is YAML: base model, data set, library, and the scores as a model-index (huggingface/hub-docs,
modelcard.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from finetrial.evidence.exported_results import EvaluatedOn, index_block
from finetrial.metrics.metric_table import metric_name
from finetrial.reporting.formats import power_of_ten, score, size, span, whole
from finetrial.units import format_seconds


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says beside the numbers."""

    arm: str
    is_adapter: bool
    base: str  # hub id, or the name of a local model
    base_on_hub: bool
    criterion: str | None
    base_use: str | None  # what the base is meant for, as its card says
    on: EvaluatedOn
    digests: Mapping[str, str] = field(default_factory=dict)  # what is hashed -> its SHA-256


def model_card(results: Mapping[str, Any], facts: CardFacts) -> str:
    """The card as Markdown with its head. The same results give the same card."""
    head = yaml.safe_dump(_head(results, facts), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n\n".join(_body(results, facts)) + "\n"


def _head(results: Mapping[str, Any], facts: CardFacts) -> dict[str, Any]:
    head: dict[str, Any] = {
        "library_name": "peft" if facts.is_adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["finetrial"],
    }
    if facts.base_on_hub:
        head["base_model"] = facts.base
        head["base_model_relation"] = "adapter" if facts.is_adapter else "finetune"
    if facts.on.hub_dataset is not None:
        head["datasets"] = [facts.on.hub_dataset]
    rows = {name: arms[facts.arm] for name, arms in results["metrics"].items() if facts.arm in arms}
    return head | index_block(facts.arm, rows, on=facts.on)


def _body(results: Mapping[str, Any], facts: CardFacts) -> list[str]:
    arm = results["arms"][facts.arm]
    asked = results["asked"]
    blocks = [
        f"# {facts.arm} of the trial {results['trial']}",
        f"{facts.base}, tuned: {arm['description']}. One of the {len(results['arms'])} arms of a trial by finetrial"
        f" {results['finetrial']}.",
        "## Intended use",
        " ".join(_use(results, facts)),
        "## Data",
        _list({key: asked[key] for key in ("Data", "Examples", "Shown as") if key in asked}),
        "## Tuning",
        _list(_tuning(arm, asked)),
        "## Results",
        results["verdict"],
        results["recommendation"]["text"],
        _table(results),
        "A mean over prompts, with its 95 % interval. What each rests on stands in the trial's report.",
    ]
    warnings = [warning["text"] for warning in results["verdict_warnings"]]
    if results["written_by_program"]:
        warnings.append("The base learned from texts that a program wrote: this is an example, not a tool.")
    if warnings:
        blocks += ["## Limits", "\n".join(f"- {text}" for text in warnings)]
    blocks += [
        "## To recompute it",
        "Whoever has the trial's folder checks every number with `finetrial verify`, without a model.",
        _list({name: f"`{digest}`" for name, digest in facts.digests.items()}),
    ]
    return [block for block in blocks if block]


def _use(results: Mapping[str, Any], facts: CardFacts) -> list[str]:
    prompts = results["asked"].get("Prompts", "the trial's held-out prompts")
    said = [f"It answers prompts such as those that it was judged on: {prompts}."]
    if facts.criterion:
        said.append(f"A good answer there: {facts.criterion.rstrip('.')}.")
    if facts.base_use:
        said.append(f"Of its base the card says: {facts.base_use.rstrip('.')}.")
    said.append("Nothing was measured on other prompts, other languages or other uses.")
    return said


def _tuning(arm: Mapping[str, Any], asked: Mapping[str, str]) -> dict[str, str]:
    measured = arm["measured"]
    found = {"Schedule": asked.get("Tuning", ""), "Method": arm["description"]}
    if measured["learning_rate"] is not None:
        found["Learning rate"] = power_of_ten(measured["learning_rate"])
    found["Parameters"] = (
        f"{whole(measured['trained_parameters'])} trained of {whole(measured['total_parameters'])}"
    )
    if measured["stored_bytes"]:
        found["Stored"] = size(measured["stored_bytes"])
    if measured["tune_seconds"]:
        found["Time"] = f"{format_seconds(measured['tune_seconds'])} on {measured['device']}"
    return {key: value for key, value in found.items() if value}


def _list(rows: Mapping[str, str]) -> str:
    return "\n".join(f"- {key}: {value}" for key, value in rows.items())


def _table(results: Mapping[str, Any]) -> str:
    """Every arm's score by every metric; the card's arm is one among those that it was compared with."""
    metrics = list(results["metrics"])
    lines = [
        "| arm | " + " | ".join(metric_name(name) for name in metrics) + " |",
        "|---|" + "---|" * len(metrics),
    ]
    for arm in results["arms"]:
        cells = [_cell(results["metrics"][name].get(arm)) for name in metrics]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None or row["mean"] is None:
        return score(None)
    if row["low"] is None or row["high"] is None:
        return score(row["mean"])
    return f"{score(row['mean'])} ({span(row['low'], row['high'])})"
