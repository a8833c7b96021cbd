"""Write an imported run as a trial file: that run as an arm beside base and prompted."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from finetrial.imports.given import Given
from finetrial.imports.imported_run import merged
from finetrial.imports.read_config import Settled
from finetrial.trial.autos import completion_kind
from finetrial.trial.draft_judging import judging_lines

_WIDTH = 104
_SAMPLED = 100  # held-out prompts, where there are so many


def _value(value: Any) -> str:
    """A YAML value on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()


def _relative(name: Any, *, target: Path) -> Any:
    """An absolute path as the trial file in `target` names it; anything else unchanged."""
    if isinstance(name, dict):
        return {key: _relative(part, target=target) for key, part in name.items()}
    if not isinstance(name, str) or not name.startswith("/"):
        return name
    relative = os.path.relpath(name, target.resolve())
    return relative if relative.startswith(".") or Path(relative.split("[")[0]).suffix else f"./{relative}"


def _inline(keys: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {_value(value)}" for key, value in keys.items()) + "}"


def _comments(text: str, *, first: str = "# ", then: str = "#   ") -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=then, break_long_words=False, break_on_hyphens=False
    )


def _account(given: Given) -> list[str]:
    lines = []
    for why, keys in given.grouped():
        lines += _comments(f"{', '.join(keys)}: {why}", first="#   ", then="#     ")
    return lines


def trial_text(settled: Settled, *, name: str, config: str, target: Path) -> str:
    """The trial file, which stands in the folder `target`. `config` is what was imported, for the first line."""
    run = settled.run
    data = merged({"source": _relative(run.data["source"], target=target), **_without(run.data, "source")})
    held = settled.heldout or _SAMPLED
    kind = completion_kind(settled.completions) if settled.completions else "text"
    arm = merged(run.arm)
    training = merged(run.training) | {"clip": run.training.get("clip", 1.0)}
    if not run.given.left and not run.notes:
        account = []
    else:
        account = [
            "# What could not be carried over, and why:" if run.given.left else "#",
            *_account(run.given),
            *(line for note in run.notes for line in _comments(f"note: {note}")),
        ]
    lines = [
        f"# Made by `finetrial import` of {config}, a run of {run.tool}. Next: `finetrial check`.",
        *account,
        f"trial: {name}",
        f"model: {_value(_relative(run.model, target=target))}",
        "data:",
        *(
            f"  {key}: {_inline(value) if isinstance(value, dict) else _value(value)}"
            for key, value in data.items()
        ),
        "arms:",
        "  base: {}                        # the model as it is",
        "  prompted: {shots: 3}            # three training examples in the prompt",
        f"  {run.arm_name}: {_inline(arm)}",
        "training:",
        f"  batch_tokens: {settled.batch_tokens:<18}# {run.batch_rows} rows a step there, of about "
        f"{settled.row_tokens:.0f} tokens",
        *(f"  {key}: {_value(value)}" for key, value in training.items()),
        "sampling:",
        f"  prompts: {min(_SAMPLED, held):<23}# held-out prompts that every arm answers",
        *judging_lines(kind, settled.completions, most_graded=min(_SAMPLED, held)),
    ]
    if run.trust_remote_code:
        lines.append("trust_remote_code: true")
    return "\n".join(lines) + "\n"


def _without(keys: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if key not in names}
