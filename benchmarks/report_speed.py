"""How long does `finetrial report` take for the whole process on one core?

    python benchmarks/report_speed.py [--sizes 200x3x3 1000x5x5] [--runs 3]

Each size is prompts x arms x samples, with the texts of benchmarks/score.py. Prints processor seconds, which a busy
machine does not stretch, the clock's, both the best of the runs, and the size of index.html. Every process starts
afresh: imports, reading, tests, intervals, figures and all forms are inside; scores and diagnostics are those of
the folder.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from score import write_outputs

from finetrial.judging.outputs_trial import trial_of_outputs
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.workflow.score_step import score_trial


def make_trial(place: Path, *, prompts: int, arms: int, samples: int) -> TrialFolder:
    """A trial of outputs made elsewhere, scored, as `finetrial grade FILE` leaves it."""
    path = place / "outputs.jsonl"
    write_outputs(path, prompts=prompts, arms=arms, samples=samples)
    loaded, folder, _ = trial_of_outputs(path, out=place / "run")
    score_trial(folder, loaded.trial, manifest=Manifest(folder.manifest), base=loaded.base, training=lambda: None)
    return folder


def measure(folder: TrialFolder) -> tuple[float, float]:
    """Processor seconds and seconds by the clock of one `finetrial report`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    single = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "finetrial.cli.main", "report", str(folder.root), "--open"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=single)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["200x3x3"], help="prompts x arms x samples")
    parser.add_argument("--runs", type=int, default=3, help="of which the best counts")
    options = parser.parse_args()
    for size in options.sizes:
        prompts, arms, samples = map(int, size.split("x"))
        with tempfile.TemporaryDirectory() as place:
            folder = make_trial(Path(place), prompts=prompts, arms=arms, samples=samples)
            found = [measure(folder) for _ in range(options.runs)]
            page = (folder.report / "index.html").stat().st_size
        seconds, wall = (min(column) for column in zip(*found, strict=True))
        print(f"{size}: {seconds:.2f} processor seconds, {wall:.2f} s by the clock, index.html {page / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
