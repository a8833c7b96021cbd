"""What does it cost to schedule a trial's arms: tasks a second, memory and time by the number of arms and samples?

    python -m benchmarks.scheduling PART [--count N] [--json]

PART is one of
  ray       N empty tasks on a Ray cluster of this machine, handed over as `--on ray` does, two a core at a time
  arms      N arms that answer from a file, on four prompts: the walk, the manifest and the files, and no model
  samples   one arm of N samples on N/10 prompts, answered from a file: sampled, then scored
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

HEAD = """\
trial: schedule
model: starter
data: {{source: rows.jsonl, template: "{{prompt}}", validation: 2, heldout: {heldout}}}
sampling: {{prompts: {heldout}, per_prompt: {per_prompt}, max_new_tokens: 8}}
judging: {{grade_prompts: 0, primary: rouge1, metrics: [rouge1]}}
arms:
"""


def make_trial(folder: Path, *, arms: int, prompts: int, per_prompt: int) -> Path:
    """A trial whose arms are answered from one file."""
    rows = [{"prompt": f"prompt number {n}", "completion": f"answer number {n}"} for n in range(prompts + 12)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = [
        {"prompt": row["prompt"], "output": f"answer number {n} of draw {draw}"}
        for n, row in enumerate(rows)
        for draw in range(per_prompt)
    ]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    text = HEAD.format(heldout=prompts, per_prompt=per_prompt)
    text += "".join(f"  arm{n}: {{outputs: answers.jsonl}}\n" for n in range(arms))
    path = folder / "schedule.yaml"
    path.write_text(text)
    return path


def peak_bytes() -> int:
    """The most memory that this process held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def sampled(folder: Path, *, arms: int, prompts: int, per_prompt: int, score: bool) -> dict[str, Any]:
    """Seconds and memory of sampling such a trial, and of scoring it."""
    from finetrial.api.trial import Trial

    began = time.perf_counter()
    trial = Trial.load(make_trial(folder, arms=arms, prompts=prompts, per_prompt=per_prompt))
    read, before = time.perf_counter() - began, peak_bytes()
    began = time.perf_counter()
    failures = trial.sample(progress=False)
    assert not failures, next(iter(failures.values()))
    found = {
        "arms": arms,
        "samples_an_arm": prompts * per_prompt,
        "reading_seconds": read,
        "sampling_seconds": time.perf_counter() - began,
        "manifest_bytes": trial.folder.manifest.stat().st_size,
        "bytes_before": before,
        "peak_bytes": peak_bytes(),
    }
    began = time.perf_counter()
    trial.sample(progress=False)
    found["again_seconds"] = time.perf_counter() - began
    if score:
        began = time.perf_counter()
        trial.score()
        found |= {"scoring_seconds": time.perf_counter() - began, "peak_scored_bytes": peak_bytes()}
    return found


def ray_tasks(count: int) -> dict[str, Any]:
    """Empty tasks, each waited for, with as many ahead as a session has."""
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    began = time.perf_counter()
    ray.init(log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    started = time.perf_counter() - began

    @ray.remote(num_cpus=1, max_retries=3, scheduling_strategy="SPREAD")
    def nothing() -> None:
        """Do nothing."""

    cores = int(ray.cluster_resources()["CPU"])
    ray.get([nothing.remote() for _ in range(4 * cores)])  # workers are there
    began, running, left = time.perf_counter(), [], count
    while left or running:
        while left and len(running) < 2 * cores:
            running.append(nothing.remote())
            left -= 1
        _, running = ray.wait(running, num_returns=1)
    seconds = time.perf_counter() - began
    ray.shutdown()
    return {"tasks": count, "cores": cores, "starting_seconds": started, "tasks_a_second": count / seconds}


def main() -> None:
    """Measure one part and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=["ray", "arms", "samples"])
    parser.add_argument("--count", type=int)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if asked.part == "ray":
            found = ray_tasks(asked.count or 1000)
        elif asked.part == "arms":
            found = sampled(Path(name), arms=asked.count or 1000, prompts=4, per_prompt=1, score=False)
        else:
            prompts = (asked.count or 10_000) // 10
            found = sampled(Path(name), arms=1, prompts=prompts, per_prompt=10, score=True)
    if asked.json:
        print(json.dumps(found, indent=2))
    else:
        for key, value in found.items():
            print(f"{key}: {value:,.3g}" if isinstance(value, float) else f"{key}: {value:,}")


if __name__ == "__main__":
    main()
