"""Write the walk over the classes as a page: the counts, then one row a class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.families.walk import SAME_LOGITS, SAME_LOSS, SAME_NATS, ClassWalk

_FOLDER = re.compile(r"\S*/tmp\S*/base")
_LONGEST = 150  # characters of a reason


def page(rows: Sequence[ClassWalk], *, versions: Mapping[str, str], seconds: float) -> str:
    """The whole page, in Markdown."""
    counts = Counter(row.verdict for row in rows)
    right = [row for row in rows if row.verdict == "right"]
    ways = Counter(row.way for row in right)
    packed = sum(bool(row.packed) for row in right)
    limited = [row for row in right if row.lora not in (None, "all-linear")]
    lines = [
        "# Every causal-LM class of transformers, walked",
        "",
        f"`python -m benchmarks.families` (the classes took {seconds / 60:.0f} minutes in all); "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ". Written by that command; the rows are in families.json.",
        "",
        "Each class of `MODEL_FOR_CAUSAL_LM_MAPPING` is built small with random weights, saved, looked at as",
        "`check` does, loaded, tuned for three steps (full, and LoRA on every linear module), saved, loaded again",
        "and sampled. Losses of every step are held against a loop that shows one example at a time to the model's",
        f"own forward pass (relative difference at most {SAME_LOSS:.0e}); reloaded logits (adapters merged)",
        f"against transformers and peft alone (at most {SAME_LOGITS:.0e} of the largest); samples' log-likelihoods",
        f"against whole forward passes (at most {SAME_NATS:.0e} nats a sample); greedy tokens against the most",
        "probable ones of whole forward passes, and against `generate`.",
        "",
        f"**{len(rows)} classes: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.most_common()) + ".** Of",
        f"those that are right {packed} take packed rows and {len(right) - packed} one example at a time. Sampled: "
        + "; ".join(f"{n} by {way}" for way, n in ways.most_common())
        + ".",
        f"LoRA on every linear module is refused for {len(limited)}, with the targets that peft cannot adapt; the",
        "walk then takes the first kind of module that it can.",
        "",
        "| model type | class | verdict | training | sampling | losses | reloaded | samples, nats | greedy |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(row) for row in rows),
        "",
        "## Why not faster, and why refused",
        "",
        *(_reasons(row) for row in rows if row.reason or row.not_packed or row.way_reason or _narrow(row)),
        "",
    ]
    return "\n".join(lines)


def _row(row: ClassWalk) -> str:
    training = (
        "" if row.packed is None else ("packed" if row.packed else "alone") + ("" if row.fused else ", own head")
    )
    cells = (
        row.model_type,
        row.class_name,
        row.verdict,
        training,
        row.way or "",
        _largest(row.losses),
        _largest(row.reloaded),
        "" if row.nats is None else f"{row.nats:.0e}",
        _short(row.greedy or ""),
    )
    return "| " + " | ".join(cells) + " |"


def _largest(values: Mapping[str, float] | None) -> str:
    return f"{max(values.values()):.0e}" if values else ""


def _short(text: str) -> str:
    """A library's message, cut, and without folders of the moment."""
    text = _FOLDER.sub("the model", " ".join(text.split())).replace("|", "/")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _narrow(row: ClassWalk) -> str | None:
    return row.lora if row.lora != "all-linear" else None


def _reasons(row: ClassWalk) -> str:
    parts = [_short(row.reason)] if row.reason else []
    parts += [f"one example at a time: {_short(row.not_packed)}"] if row.not_packed else []
    parts += [f"sampling: {_short(row.way_reason)}"] if row.way_reason else []
    parts += [f"LoRA: {_short(narrow)}"] if (narrow := _narrow(row)) else []
    return f"- `{row.model_type}`: " + "; ".join(parts)
