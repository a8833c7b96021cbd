"""How often do pilots find the arm that is best in full, and at what cost?

    python -m benchmarks.early [--runs runs/early] [--design] [--only NAME ...] [--write]

Makes small trials from the embedded starter and from the real small model, runs the pilots of `finetrial run
--early` for every arm, tunes every arm on all its rows, and holds what the pilots decide beside what came. Stopped,
the same command goes on. `--design` runs the trials by which constants were chosen, which are not scored; `--write`
writes docs/results/early.md from what is there.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from benchmarks.early.measure import other_base, read_result, run_trial
from benchmarks.early.outcome import outcome_of
from benchmarks.early.page import page
from benchmarks.early.trials import DESIGN, OTHER, SCORED
from benchmarks.tuning.families import real_folder
from finetrial.workflow.pilot_step import PARTS

PAGE = Path("docs/results/early.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/early"))
    parser.add_argument("--design", action="store_true")
    parser.add_argument("--only", nargs="*", default=())
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    root = arguments.runs.absolute()
    specs = DESIGN if arguments.design else SCORED
    if arguments.write:
        done = [(spec, result) for spec in specs if (result := read_result(spec, root)) is not None]
        if left := [spec.name for spec in specs if spec.name not in {spec.name for spec, _ in done}]:
            print(f"not run yet: {', '.join(left)}", file=sys.stderr)
        outcomes = [outcome_of(spec, result, root) for spec, result in done]
        three = [row for row, outcome in zip(done, outcomes, strict=True) if outcome.found.parts[0] == PARTS[0]]
        text = page(outcomes, [outcome_of(spec, result, root, parts=PARTS[:2]) for spec, result in three])
        print(text) if arguments.design else PAGE.write_text(text, encoding="utf-8")
        return
    torch.set_num_threads(1)  # the same bits, and others may use the other cores
    for spec in specs:
        if arguments.only and spec.name not in arguments.only:
            continue
        began = time.monotonic()
        model = "starter" if spec.model == "starter" else str(real_folder())
        needs_other = any(OTHER in arm.values() for arm in spec.arms.values())
        other = other_base(root, model=model) if needs_other else None
        run_trial(spec, root, model=model, other=other)
        print(f"{spec.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
