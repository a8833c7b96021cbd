"""Put an arm, and what a run recorded of data and failures, into words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetrial.reporting.text import listing
from finetrial.trial.schema import Arm, Method


def short_source(source: str) -> str:
    """A local path by its last part, for a report may travel; a hub id as it is."""
    return Path(source).name or source if source.startswith(("/", ".", "~")) else source


def describe_arm(arm: Arm) -> str:
    """What an arm is: `LoRA, rank 4 on q and v`."""
    match arm.kind:
        case Method.BASE:
            text = "the model as it is"
        case Method.PROMPTED:
            text = _describe_prompt(arm)
        case Method.FULL:
            text = "every parameter tuned"
        case Method.LORA:
            name = "DoRA" if arm.dora else "LoRA"
            text = f"{name}, rank {arm.rank} on {listing(list(arm.targets))}, alpha {arm.scaling_alpha:g}"
            if arm.quantize:
                text += f", base in {arm.quantize}"
        case Method.EXTERNAL:
            text = f"tuned elsewhere: {short_source(arm.adapter or arm.model or '')}"
    if arm.shots and arm.kind is not Method.PROMPTED:
        text += f", {arm.shots} examples in the prompt"
    return text


def _describe_prompt(arm: Arm) -> str:
    """What a prompted arm is shown beside the prompt."""
    parts = [f"{arm.shots} example{'s' * (arm.shots != 1)} in the prompt"] if arm.shots else []
    parts += [f"the prompt of {short_source(arm.prompt_file)}"] if arm.prompt_file else []
    parts += ["a template of its own"] if arm.template else []
    return f"the model with {listing(parts)}" if parts else "the model with a prompt of its own"


def at_path(content: Mapping[str, Any], *names: str) -> Any:
    """What stands at a path of a JSON object; None where the path ends early."""
    for name in names:
        content = content.get(name) if isinstance(content, Mapping) else None  # type: ignore[assignment]
    return content


def data_findings(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The findings of the data check that did not stop the trial, each once."""
    gates = [at_path(data, "text"), *(at_path(data, "tokens") or {}).values()]
    messages = [f"Data: {finding['message']}." for gate in gates for finding in (at_path(gate, "findings") or ())]
    return tuple(dict.fromkeys(messages))


def failures(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Why an arm stopped, as the run recorded it."""
    stopped = manifest.get("failures")
    return tuple(f"{arm} stopped: {at_path(error, 'what')}." for arm, error in (stopped or {}).items())
