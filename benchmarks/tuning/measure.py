"""What is one measurement, in a process of its own?

    python -m benchmarks.tuning.measure SPEC

SPEC and the answer, the last line on standard output, are JSON. `start` runs it from another process.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.tuning.families import ModelName
from benchmarks.tuning.setting import WARMUP, Setting

_RATES = {"lora": 2e-4, "full": 2e-5}  # of learning; TRL's default for full. They decide no speed
_OOM_KILLED = (-9, 137)


@dataclass(frozen=True, slots=True)
class Job:
    """What stays the same over all measurements of a model and a method."""

    model: ModelName
    device: str
    base: Path
    data: Path
    steps: int
    batch: int


@dataclass(frozen=True, slots=True)
class Result:
    """What one run of one setting took over its timed steps. `failed` says why there is none."""

    setting: Setting
    tokens: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    useful_flops: float = 0.0
    peak_bytes: int | None = None
    losses: tuple[float, ...] = ()  # of every step, the warm-up included
    failed: str | None = None

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    @property
    def tokens_per_cpu_second(self) -> float:
        return self.tokens / self.cpu_seconds

    @property
    def flops_per_second(self) -> float:
        return self.useful_flops / self.seconds

    @property
    def flops_per_cpu_second(self) -> float:
        return self.useful_flops / self.cpu_seconds


def _ask(spec: dict[str, Any]) -> tuple[int, Any, str]:
    """Exit status, answer and the end of the log of a measurement."""
    command = [sys.executable, "-m", "benchmarks.tuning.measure", json.dumps(spec, default=str)]
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **quiet})
    answer = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    return done.returncode, answer, done.stderr[-2000:]


def prepare_base(job: Job) -> None:
    """Write the model that every measurement starts from."""
    status, _, log = _ask({"what": "base", "job": dataclasses.asdict(job)})
    if status:
        sys.exit(f"error: no model could be made\n{log}")


def ask_rate(job: Job) -> tuple[float, float]:
    """bfloat16 FLOPs of matrix products a second and a processor second, now."""
    status, answer, log = _ask({"what": "rate", "job": dataclasses.asdict(job)})
    if status:
        sys.exit(f"error: the matrix rate could not be measured\n{log}")
    return answer["flops_per_second"], answer["flops_per_cpu_second"]


def ask_run(job: Job, setting: Setting) -> Result:
    """Measure a setting."""
    status, answer, log = _ask(
        {"what": "run", "job": dataclasses.asdict(job), "setting": dataclasses.asdict(setting)}
    )
    if status:
        reason = "out of memory" if status in _OOM_KILLED or "OutOfMemory" in log else log.strip().splitlines()[-1]
        return Result(setting, failed=reason)
    return Result(setting, **{**answer, "losses": tuple(answer["losses"])})


def _run(job: Job, setting: Setting) -> dict[str, Any]:
    import torch  # here, so that the process which asks stays small

    from benchmarks.tuning.clock import StepClock, peak_bytes
    from benchmarks.tuning.workload import make_workload, useful_flops

    workload = make_workload(job.data, steps=job.steps, batch=job.batch, model=job.model)
    clock = StepClock(torch.device(job.device))
    if setting.trainer == "finetrial":
        from benchmarks.tuning.ours import run_finetrial as run
    else:
        from benchmarks.tuning.theirs import run_trl as run
    with tempfile.TemporaryDirectory() as folder:
        rate = _RATES[setting.method]
        losses, tokens = run(setting, workload, base=job.base, folder=Path(folder), learning_rate=rate, clock=clock)
    if len(clock.wall) <= WARMUP:
        raise RuntimeError(f"{len(clock.wall)} steps of its examples: none to time")
    timed = workload.timed
    flops = useful_flops(job.base, setting.method, timed)
    return {
        "tokens": tokens,
        "seconds": clock.seconds,
        "cpu_seconds": clock.cpu_seconds,
        "useful_flops": flops * tokens / sum(len(example.token_ids) for example in timed),
        "peak_bytes": peak_bytes(clock.device),
        "losses": losses,
    }


def main() -> None:
    spec = json.loads(sys.argv[1])
    facts = spec["job"]
    job = Job(**{**facts, "base": Path(facts["base"]), "data": Path(facts["data"])})
    if spec["what"] == "base":
        from benchmarks.tuning.families import make_base

        make_base(job.model, job.base, data=job.data)
        answer: Any = None
    elif spec["what"] == "rate":
        import torch

        from benchmarks.tuning.matrix import measure_rate

        answer = dataclasses.asdict(measure_rate(job.base, device=torch.device(job.device)))
    else:
        answer = _run(job, Setting(**spec["setting"]))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
