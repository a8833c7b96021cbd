"""What do 8 LoRA arms cost that are tuned together, against the same 8 one by one?

    python -m benchmarks.together [--model gpt2|real|tiny] [--device cpu|cuda] [--rounds 3] [--steps 2] [--add]
                                 [--precision float32|bfloat16]

The arms differ in rank (2 to 64), targets and learning rate, and share a base and a data order: SciTLDR abstracts,
loss on the summaries. Each way is a process of its own, in turn, to and fro; `one` is the arm in the middle alone.
One by one the arms share the base in memory, too, as a trial's do: what differs is the pass. Step seconds leave out
every run's first step; whole seconds have everything but imports. `--batch` sets the examples
of a step, and with it how small the passes are on a card.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.device_names import device_name
from benchmarks.tuning.families import NAMES, make_base
from benchmarks.tuning.setting import WARMUP
from benchmarks.tuning.workload import Workload, make_workload
from finetrial.methods.lora.lora_method import Lora
from finetrial.models.device import PrecisionSetting
from finetrial.store.records import Measured
from finetrial.training.loop import tune_with
from finetrial.training.meter import process_peak_bytes
from finetrial.training.shared_base import SharedBase
from finetrial.training.side_by_side import Hears, tune_together
from finetrial.training.task import TuneTask

PAGE = Path("docs/results/together.md")
WAYS = ("one", "one by one", "together")
_ATTENTION, _ALL = ("q", "k", "v", "o"), ("all-linear",)
# rank, targets, learning rate; the one that is measured alone has a rank and targets from their middle
ARMS = (
    (2, ("q", "v"), 1e-3),
    (4, ("q", "v"), 5e-4),
    (8, ("q", "v"), 2e-4),
    (8, _ALL, 2e-4),
    (16, _ATTENTION, 2e-4),
    (16, ("q", "v"), 1e-4),
    (32, ("q", "v"), 1e-4),
    (64, _ALL, 5e-5),
)
_MIDDLE = 4
_TARGETS = {"cpu": ("no slower than one by one", 1.0), "cuda": ("at most 3 times one arm", 3.0)}


@dataclass(frozen=True, slots=True)
class Spec:
    """One measurement."""

    way: str
    model: str
    device: str
    base: str
    data: str
    steps: int
    batch: int
    micro_tokens: int | None
    precision: PrecisionSetting


@dataclass(frozen=True, slots=True)
class Found:
    """What it took."""

    tokens: int  # of the timed steps, of all arms
    step_seconds: float
    cpu_seconds: float  # of the processor in the same steps
    whole_seconds: float
    base_bytes: int  # of the base's weights
    before_bytes: int  # of the process when all is imported; 0 on a card
    peak_bytes: int
    losses: tuple[float, ...]  # of each arm's last step

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.step_seconds

    @property
    def tensor_bytes(self) -> int:
        """What came on top of the imports at the peak: the base, adapters, activations."""
        return self.peak_bytes - self.before_bytes


def _tasks(spec: Spec, workload: Workload, folder: Path) -> list[TuneTask]:
    tasks = []
    for place, (rank, targets, rate) in enumerate(ARMS):
        task = TuneTask(
            model=spec.base,
            train=workload.examples,
            folder=folder / str(place),
            method=Lora(rank=rank, targets=targets),
            batch_tokens=workload.batch_tokens,
            learning_rate=rate,
            precision=spec.precision,
            checkpoint_seconds=math.inf,
            micro_tokens=spec.micro_tokens,
            device=spec.device,
        )
        task.folder.mkdir()
        tasks.append(task)
    return [tasks[_MIDDLE]] if spec.way == "one" else tasks


def _resident() -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


class _Ticks:
    """When a run's first step had ended, and its last; and the last step's loss."""

    def __init__(self, device: torch.device) -> None:
        self._device, self.loss = device, math.nan
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def __call__(self, progress: Any) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())
        self.loss = progress.loss


def _elapsed(clocks: list[list[float]], *, together: bool) -> float:
    """From the end of the first step to the end of the last; of runs one after another the sum of each one's."""
    if together:
        return max(clock[-1] for clock in clocks) - max(clock[0] for clock in clocks)
    return sum(clock[-1] - clock[0] for clock in clocks)


def measure(spec: Spec) -> Found:
    """Tune in one way, in this process."""
    device = torch.device(spec.device)
    workload = make_workload(Path(spec.data), steps=spec.steps, batch=spec.batch, model=spec.model)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        tasks, shared = _tasks(spec, workload, Path(folder)), SharedBase()
        base_bytes = sum(path.stat().st_size for path in Path(spec.base).glob("*.safetensors"))
        before = 0 if device.type == "cuda" else _resident()
        ticks = [_Ticks(device) for _ in tasks]
        began = time.perf_counter()
        if spec.way == "together":
            outcomes = tune_together(tasks, shared, hears=[Hears(on_progress=tick) for tick in ticks])
        else:
            outcomes = [
                tune_with(task, shared.prepare, on_progress=tick) for task, tick in zip(tasks, ticks, strict=True)
            ]
        whole = time.perf_counter() - began
    together = spec.way == "together"
    seconds = _elapsed([tick.wall for tick in ticks], together=together)
    cpu_seconds = _elapsed([tick.cpu for tick in ticks], together=together)
    measured = [one for one in outcomes if isinstance(one, Measured)]
    assert len(measured) == len(tasks), outcomes
    peaks = [one.peak_memory_bytes or 0 for one in measured]
    timed = sum(len(e.token_ids) for step in workload.steps[1:] for e in step)
    peak = (
        torch.cuda.max_memory_allocated(device) if device.type == "cuda" else max(*peaks, process_peak_bytes() or 0)
    )
    losses = tuple(tick.loss for tick in ticks)
    return Found(timed * len(tasks), seconds, cpu_seconds, whole, base_bytes, before, peak, losses)


def _ask(spec: Spec) -> Found:
    command = [sys.executable, "-m", "benchmarks.together", "--measure", json.dumps(asdict(spec))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {spec.way} did not run\n{done.stderr[-2000:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Found(**{**answer, "losses": tuple(answer["losses"])})


def _median(found: list[Found], key: str) -> float:
    return statistics.median(getattr(one, key) for one in found)


def summary(rounds: dict[str, list[Found]], *, device: str) -> dict[str, Any]:
    """Medians of each way, and what was to be reached."""
    keys = (
        "step_seconds",
        "cpu_seconds",
        "tokens_per_second",
        "whole_seconds",
        "tensor_bytes",
        "peak_bytes",
        "base_bytes",
    )
    medians = {way: {key: _median(found, key) for key in keys} for way, found in rounds.items()}
    against = "one by one" if device == "cpu" else "one"
    ratios = [
        one.step_seconds / other.step_seconds
        for one, other in zip(rounds["together"], rounds[against], strict=True)
    ]
    cpu = [a.cpu_seconds / b.cpu_seconds for a, b in zip(rounds["together"], rounds[against], strict=True)]
    last = [found[-1].losses for found in (rounds["one by one"], rounds["together"])]
    return {
        "medians": medians,
        "target": _TARGETS[device][0],
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "cpu_ratio": statistics.median(cpu),
        # a CPU may be shared while it is measured; a card is not
        "reached": statistics.median(cpu if device == "cpu" else ratios) <= _TARGETS[device][1],
        "loss_difference": max(abs(a - b) for a, b in zip(*last, strict=True)),
    }


def _table(entry: dict[str, Any]) -> list[str]:
    found = entry["summary"]
    against = "one by one" if entry["device_kind"] == "cpu" else "one arm"
    lines = [
        f"## {NAMES[entry['model']]}, {entry['device_kind']}",
        "",
        f"{entry['rounds']} rounds of {entry['steps']} steps after the first, {entry['batch']} examples a step, "
        f"{entry['precision']}, on {entry['device']}; {entry['day']}, {entry['packages']}.",
        "",
        "| | steps, s | processor, s | tokens/s | in all, s | beyond imports, peak | process, peak |",
        "|---|---|---|---|---|---|---|",
    ]
    names = {"one": "one arm", "one by one": "8 arms, one by one", "together": "8 arms, together"}
    for way, row in found["medians"].items():
        seconds = f"{row['step_seconds']:.1f} | {row['cpu_seconds']:.1f} | {row['tokens_per_second']:,.0f}"
        lines.append(
            f"| {names[way]} | {seconds} | {row['whole_seconds']:.1f} "
            f"| {row['tensor_bytes'] / 2**20:,.0f} MiB | {row['peak_bytes'] / 2**20:,.0f} MiB |"
        )
    reached = "reached" if found["reached"] else "not reached"
    each = ", ".join(f"{ratio:.2f}" for ratio in found["ratios"])
    base = next(iter(found["medians"].values()))["base_bytes"]
    lines += [
        "",
        f"Aim: {found['target']}. Steps together take {found['cpu_ratio']:.2f} times the processor seconds of "
        f"{against}, and {found['ratio']:.2f} times its seconds (each round: {each}): {reached}. The base has "
        f"{base / 2**20:,.0f} MiB of weights. After the last step no arm's loss differs from what it is "
        f"alone by more than {found['loss_difference']:.1g} nats.",
        "",
        f"`{entry['command']}`",
        "",
    ]
    return lines


_HEAD = """\
# Arms that are tuned together

What 8 LoRA arms cost in one pass, against the same 8 one by one and against one of them. They differ in rank (2 to
64), targets (queries and values to all matrices) and learning rate; the one alone has rank 16 on attention's four
matrices. One by one they share the base in memory as well, so that both ways hold one. Medians; the ways take
turns, each in a process of its own. Written by `benchmarks/together.py` from the JSON files beside it. No card was
measured: the same command with `--device cuda` and a small `--batch` does.
"""


def kept_rounds(out: Path | None, *, model: str, device: str) -> dict[str, list[Found]]:
    """The rounds that were measured before."""
    path = None if out is None else out.parent / out.stem / f"{device}-{model}.json"
    if path is None or not path.exists():
        return {way: [] for way in WAYS}
    found = json.loads(path.read_text())["found"]
    return {way: [Found(**{**one, "losses": tuple(one["losses"])}) for one in found[way]] for way in WAYS}


def write(out: Path, entry: dict[str, Any]) -> None:
    """Keep the measurement, and make the page of all that there are."""
    kept = out.parent / out.stem
    kept.mkdir(parents=True, exist_ok=True)
    (kept / f"{entry['device_kind']}-{entry['model']}.json").write_text(json.dumps(entry, indent=2) + "\n")
    entries = [json.loads(path.read_text()) for path in sorted(kept.glob("*.json"))]
    out.write_text("\n".join([_HEAD, *(line for one in entries for line in _table(one))]).rstrip() + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.together", description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("tiny", "gpt2", "real"), default="gpt2")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="timed, beside the first of every run")
    parser.add_argument("--batch", type=int, default=8, help="examples of a step")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--micro-tokens", type=int, help="of one arm's passes; unless given as the device takes")
    parser.add_argument("--add", action="store_true", help="to the rounds that were measured before")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, help=f"{PAGE}; nothing is written for --model tiny unless given")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(asdict(measure(Spec(**json.loads(options.measure))))))
        return
    arguments = sys.argv[1:]
    kept = [a for i, a in enumerate(arguments) if not {a, arguments[i - 1] if i else ""} & {"--data", "--out"}]
    out = options.out or (None if options.model == "tiny" else PAGE)
    rounds = kept_rounds(out, model=options.model, device=options.device) if options.add else {w: [] for w in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        make_base(options.model, Path(folder), data=options.data)
        for turn in range(options.rounds):
            for way in WAYS if turn % 2 == 0 else reversed(WAYS):
                spec = Spec(
                    way,
                    options.model,
                    options.device,
                    folder,
                    str(options.data),
                    options.steps + 1 - WARMUP,
                    options.batch,
                    options.micro_tokens,
                    options.precision,
                )
                found = _ask(spec)
                rounds[way].append(found)
                said = f"{way}: {found.step_seconds:.1f} s, {found.tokens_per_second:,.0f} tokens/s"
                print(f"  {said}, {found.peak_bytes / 2**20:,.0f} MiB", file=sys.stderr, flush=True)
    entry = {
        "model": options.model,
        "device_kind": options.device,
        "device": device_name(options.device),
        "rounds": len(rounds["together"]),
        "steps": options.steps,
        "batch": options.batch,
        "precision": options.precision,
        "command": " ".join(["python -m benchmarks.together", *kept]),
        "day": str(date.today()),
        "packages": ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft")),
        "found": {way: [asdict(one) for one in found] for way, found in rounds.items()},
        "summary": summary(rounds, device=options.device),
    }
    if out is not None:
        write(out, entry)
    if options.json:
        print(json.dumps(entry, indent=2))
    else:
        print("\n".join(_table(entry)))


if __name__ == "__main__":
    main()
