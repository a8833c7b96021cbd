"""Does a tuning run that is killed again and again end with the same weights, bit for bit?

    python -m benchmarks.kills [--kills 30] [--steps 40] [--seed 0] [--json] [--out docs/results/kills.md]

Arms of a tiny GPT-2 (full, LoRA with dropout, full with early stopping) are tuned in processes of their own, which
get SIGKILL at random times: while they start, in a step, while they write a checkpoint, while they write the arm.
Two of five kills wait for their random time and then for the next write of a checkpoint to begin; one waits for
the end of the run, where weights are written and the checkpoint is removed. A killed arm is started again until it
ends; its weights and its losses are compared with those of a run that nobody stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import torch

from benchmarks.killing import Killed, runs


def report(found: Sequence[Killed], *, steps: int, seed: int) -> str:
    """The counts as Markdown."""
    kills = [kill for one in found for kill in one.kills]
    lines = [
        "# Killed and resumed",
        "",
        f"`python -m benchmarks.kills --kills {len(kills)} --steps {steps} --seed {seed}` on {date.today()}, torch "
        f"{torch.__version__}, {platform.machine()}, one thread.",
        "",
        "| Arm | Steps | Kills | before the first checkpoint | inside a write | weights written | Same bits |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for one in found:
        before = sum(kill.step is None and not kill.ended for kill in one.kills)
        writing, ended = sum(kill.writing for kill in one.kills), sum(kill.ended for kill in one.kills)
        lines.append(
            f"| {one.arm} | {one.steps} | {len(one.kills)} | {before} | {writing} | {ended} "
            f"| {'yes' if one.equal else 'NO'} |"
        )
    equal = sum(one.equal for one in found)
    lines += [
        "",
        f"{len(kills)} kills, {sum(kill.writing for kill in kills)} of them inside the writing of a checkpoint; "
        f"{equal} of {len(found)} arms ended with the weights and the losses of the run that nobody stopped, bit "
        "for bit.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--steps", type=int, default=40, help="about how many steps an arm takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, help="write the table there, too")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for one in runs(kills=options.kills, steps=options.steps, seed=options.seed, root=Path(folder)):
            found.append(one)
            word = "the same bits" if one.equal else "OTHER BITS"
            print(f"{one.arm}: {len(one.kills)} kills, {word}", file=sys.stderr, flush=True)
    text = report(found, steps=options.steps, seed=options.seed)
    print(json.dumps([dataclasses.asdict(one) for one in found], indent=2) if options.json else text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    if not all(one.equal for one in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
