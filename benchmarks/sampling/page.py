"""Write docs/results/sampling.md from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TITLES = {
    "gpt2": "GPT-2 124M at random weights, 64 SciTLDR prompts, 3 samples of 48 tokens",
    "real": "SmolLM2-135M-Instruct, 64 SciTLDR prompts, 3 samples of 48 tokens",
    "long": "GPT-2 124M's shape with 4,096 positions, prompts of 2,000 tokens, 8 samples of 48 tokens",
}
_AIMS = {"gpt2": 4.0, "real": 4.0, "long": 6.0}
_COMMAND = "python -m benchmarks.sampling --data FOLDER"


def write_page(path: Path, kept: Mapping[str, Any]) -> None:
    """Every model's table, and what the machine allows."""
    machine = kept["machine"]
    rates = ", ".join(f"{name} products {rate / 1e9:,.0f} GFLOP/s" for name, rate in machine["rates"].items())
    parts = [
        "# Sampling",
        f"Made by `{_COMMAND}`; {machine['name']}, {machine['threads']} threads, {kept['day']}. "
        f"The machine: {rates}, reading memory {machine['bytes_per_second'] / 1e9:,.0f} GB/s. A card: gpu.md.",
        "Temperature 0.8, top-p 0.95, nothing ends a sample early. `generate` reads a prompt once for each of its "
        "samples and is measured at the batch at which it was fastest of those tried. Peak memory is the "
        "process's, loading included. The limit is what the matrix rate allows for the FLOPs of these samples, "
        "each prompt read once; reading the weights once a step is less than that at these batches.",
    ]
    parts += [kept["note"]] if kept.get("note") else []
    for model, title in _TITLES.items():
        entries = [e for e in kept["entries"].values() if e["model"] == model]
        if entries:
            parts += [f"## {title}", _table(model, entries, machine)]
    if kept.get("batches"):
        parts += ["## What another batch changes", *_batches(kept["batches"])]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _batches(found: Mapping[str, Any]) -> list[str]:
    """How many samples depend on what was sampled beside them."""
    lines = [
        "| | precision | pairs of samples | that differ | at a near-tie | tokens noted as near-ties |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for e in found.values():
        ties = "not looked for" if e["ties"] is None else f"{e['ties']:,} of {e['tokens']:,}"
        at_ties = "" if e["ties"] is None else f"{e['changed_at_ties']}"
        lines.append(
            f"| {e['model']} | {e['precision']} | {e['pairs']} | {e['changed']} "
            f"({e['changed'] / e['pairs']:.0%}) | {at_ties} | {ties} |"
        )
    one = next(iter(found.values()))
    first, *others = one["batches"]
    text = (
        f"Made by `python -m benchmarks.sampling.batches --data FOLDER`, {one['day']}: {one['prompts']} prompts, "
        f"{one['copies']} samples of 48 tokens, sampled at {first} sequences at once and again at "
        f"{' and '.join(map(str, others))}, on one thread. At float32 the first token that differs stands among "
        "the sample's near-ties (`near_ties` in samples.jsonl); at bfloat16 they are not looked for, and samples "
        "depend on their batch. Random weights give flat distributions, full of near-ties."
    )
    return [text, "\n".join(lines)]


def _table(model: str, entries: list[dict[str, Any]], machine: Mapping[str, Any]) -> str:
    measured = [e for e in entries if e["failed"] is None]
    ours = max(
        (e["samples_per_second"] for e in measured if e["engine"] == "finetrial"),
        default=None,
    )
    lines = [
        "| | precision | at once | prompts | samples/s | tokens/s | finetrial is | peak GiB | of the limit |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for e in sorted(entries, key=lambda e: -(e["samples_per_second"] or 0)):
        if e["failed"] is not None:
            lines.append(f"| {e['engine']} | {e['precision']} | | {e['prompts']} | {e['failed']} | | | | |")
            continue
        rate = e["samples_per_second"]
        ratio = "" if ours is None else f"{ours / rate:.2f} x"
        limit = ""
        if e["flops"]:
            at_most = machine["rates"][e["precision"]] * e["prompts"] * e["copies"] / e["flops"]
            limit = f"{rate / at_most:.0%}"
        lines.append(
            f"| {e['engine']} | {e['precision']} | {e['batch']} | {e['prompts']} | {rate:.2f} | "
            f"{rate * e['tokens']:,.0f} | {ratio} | {e['peak_bytes'] / 2**30:.2f} | {limit} |"
        )
    theirs = [e for e in measured if e["engine"] == "generate"]
    if ours is not None and theirs:
        best = max(theirs, key=lambda e: e["samples_per_second"])
        found = ours / best["samples_per_second"]
        aim = _AIMS[model]
        said = "met" if found >= aim else f"missed by {aim - found:.2f} x"
        lines += ["", f"Aim: {aim:g} x generate's best; measured {found:.2f} x, {said}."]
    return "\n".join(lines)
