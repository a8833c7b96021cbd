"""How long does `finetrial score` take, and how much memory, for the whole process on one core?

    python benchmarks/score.py [--sizes 200x3x3 11112x3x3] [--keep FOLDER]

Each size is prompts x arms x samples. The texts have 40 words of a vocabulary of 2,000, the prompts 120. Prints
processor seconds, which a busy machine does not stretch, beside the clock's. The process starts afresh, so that
imports, reading, scoring, diagnostics, tests and intervals are all inside.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMPT_WORDS, TEXT_WORDS, VOCABULARY = 120, 40, 2_000


def write_outputs(path: Path, *, prompts: int, arms: int, samples: int) -> None:
    """A file of outputs whose arms share more and more words with their references."""
    rng = random.Random(0)
    words = ["".join(rng.choices("aeioulnrst", k=rng.randint(3, 9))) for _ in range(VOCABULARY)]
    with path.open("w", encoding="utf-8") as stream:
        for number in range(prompts):
            prompt = " ".join(rng.choices(words, k=PROMPT_WORDS))
            reference = rng.choices(words, k=TEXT_WORDS)
            for arm in range(arms):
                share = (arm + 1) / (arms + 1)
                for _ in range(samples):
                    text = [word if rng.random() < share else rng.choice(words) for word in reference]
                    row = {"prompt": f"{number}. {prompt}", "arm": f"arm{arm}", "text": " ".join(text) + "."}
                    stream.write(json.dumps(row | {"reference": " ".join(reference) + "."}) + "\n")


def measure(path: Path) -> tuple[float, float, float]:
    """Processor seconds, seconds by the clock, and peak MiB of one `finetrial score`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    single = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "finetrial.cli.main", "score", str(path), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=single)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, wall, after.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["200x3x3", "11112x3x3"], help="prompts x arms x samples")
    parser.add_argument("--keep", type=Path, help="leave the files here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for size in options.sizes:
            prompts, arms, samples = map(int, size.split("x"))
            path = folder / f"{size}.jsonl"
            write_outputs(path, prompts=prompts, arms=arms, samples=samples)
            seconds, wall, peak = measure(path)
            n = prompts * arms * samples
            print(
                f"{size:>12} {n:>8,} samples  {seconds:6.1f} s processor  {wall:6.1f} s clock  {peak:6.0f} MiB peak"
            )


if __name__ == "__main__":
    main()
