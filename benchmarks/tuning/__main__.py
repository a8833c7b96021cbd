"""How fast is tuning beside TRL's SFTTrainer, and how much of the machine's matrix rate does it use?

    python -m benchmarks.tuning [--quick] [--json]

Every measurement is a process of its own, the first two steps are a warm-up, rounds go to and fro over the
settings. Without --quick, TRL's best setting is first sought among micro-batches, packed and not.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import platform
import re
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.tuning.measure import Job, Result, ask_rate, ask_run, prepare_base
from benchmarks.tuning.setting import Method, Setting, candidates, known_best, usual
from benchmarks.tuning.table import Comparison, compare, markdown, terminal
from benchmarks.tuning.workload import make_workload

_OUT = Path("docs/results/tuning.md")


def _device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    found = (
        re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()) if sys.platform == "linux" else None
    )
    return f"{found[1] if found else platform.processor()}, {torch.get_num_threads()} threads"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _measured(job: Job, setting: Setting) -> Result:
    result = ask_run(job, setting)
    said = result.failed or f"{result.tokens_per_second:,.0f} tokens/s, {(result.peak_bytes or 0) / 2**30:.2f} GiB"
    _say(f"  {setting.method}: {setting.label}: {said}")
    return result


def _best(job: Job, method: Method) -> tuple[Setting, list[Result]]:
    """TRL's fastest setting here, by one timed step each."""
    short = dataclasses.replace(job, steps=1)
    rows = make_workload(job.data, steps=1, batch=job.batch).packed_rows
    settings = candidates(method, batch=job.batch, rows=rows)
    results = [_measured(short, setting) for setting in settings]
    working = [result for result in results if result.failed is None]
    if not working:
        sys.exit("error: no setting of TRL ran here")
    best = max(working, key=lambda result: result.tokens_per_second).setting
    _say(f"  TRL's best: {best.label}")
    return best, results


def run_method(job: Job, method: Method, *, rounds: int, quick: bool) -> tuple[Comparison, list[Result]]:
    """All rounds of one model and one method, and what the search for TRL's best found."""
    ours = Setting("finetrial", method)
    best, searched = (known_best(method), []) if quick else _best(job, method)
    usually = usual(method, batch=job.batch)
    settings = list(dict.fromkeys((ours, best, usually)))
    results, rates = [], []
    for turn in range(rounds):
        rates.append(ask_rate(job))
        for setting in settings if turn % 2 == 0 else reversed(settings):
            if quick and turn and setting == usually:
                continue  # the slowest by far, measured once
            results.append(_measured(job, setting))
    rates.append(ask_rate(job))
    broken = next((r for r in results if r.setting == ours and r.failed is not None), None)
    if broken is not None:
        sys.exit(f"error: finetrial did not run: {broken.failed}")
    return compare(job.model, method, results, rates=rates, steps=job.steps, batch=job.batch), searched


def _section(comparisons: Sequence[Comparison], searched: Sequence[Result], *, device: str, command: str) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "trl"))
    lines = [f"## {_device_name(device)}", "", f"`{command}`, {date.today()}, {packages}.", ""]
    lines += [markdown(comparison) for comparison in comparisons]
    if searched:
        lines += ["### TRL's settings, one timed step each", "", "| Method | Setting | tokens/s | peak GiB |"]
        lines.append("|---|---|---:|---:|")
        for result in searched:
            speed = "-" if result.failed else f"{result.tokens_per_second:,.0f}"
            peak = result.failed or f"{(result.peak_bytes or 0) / 2**30:.2f}"
            lines.append(f"| {result.setting.method} | {result.setting.label} | {speed} | {peak} |")
        lines.append("")
    return "\n".join(lines)


def _write(path: Path, section: str) -> None:
    """Replace the section of this device; other devices' stay."""
    title = "# Tuning: speed and memory\n\nMade by `make bench-tuning`; docs/decisions.md has what was tried.\n\n"
    old = path.read_text(encoding="utf-8") if path.exists() else title
    intro, *sections = re.split(r"(?m)^(?=## )", old)
    heading = section.splitlines()[0]
    kept = [s for s in sections if s.splitlines()[0] != heading]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(intro + "\n".join(s.rstrip() + "\n" for s in (*kept, section)), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("tiny", "gpt2", "phi"), help="gpt2; on CUDA phi, too")
    parser.add_argument("--method", choices=("lora", "full"), help="both unless given")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, help="3; 2 when --quick")
    parser.add_argument("--steps", type=int, help="timed steps of a run: 5; 2 when --quick; 10 on CUDA")
    parser.add_argument("--batch", type=int, help="examples of a step: 8; 32 on CUDA")
    parser.add_argument("--quick", action="store_true", help="TRL's two best known forms, fewer steps")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, help=f"{_OUT}; nothing is written for --model tiny unless given")
    return parser.parse_args()


def main() -> None:
    options = _options()
    if not (options.data / "scitldr_train.jsonl").exists():
        sys.exit(f"error: {options.data}/scitldr_train.jsonl does not exist; --data names the folder that holds it")
    if importlib.util.find_spec("trl") is None:
        sys.exit("error: TRL is not installed; `pip install trl`, or `make bench-tuning`")
    cuda = options.device == "cuda"
    models = [options.model] if options.model else ["gpt2", "phi"] if cuda else ["gpt2"]
    methods: list[Method] = [options.method] if options.method else ["lora", "full"]
    steps = options.steps or (10 if cuda else 2 if options.quick else 5)
    comparisons, searched = [], []
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            job = Job(
                model, options.device, Path(folder), options.data, steps, options.batch or (32 if cuda else 8)
            )
            _say(f"{model} on {_device_name(options.device)}")
            prepare_base(job)
            for method in methods:
                rounds = options.rounds or (2 if options.quick else 3)
                found, tried = run_method(job, method, rounds=rounds, quick=options.quick)
                comparisons.append(found)
                searched += tried
                if not options.json:
                    print(terminal(found) + "\n", flush=True)
    if options.json:
        print(json.dumps([dataclasses.asdict(comparison) for comparison in comparisons], indent=2))
    out = options.out or (None if options.model == "tiny" else _OUT)
    if out is not None:
        command = "python -m benchmarks.tuning " + " ".join(sys.argv[1:])
        _write(out, _section(comparisons, searched, device=options.device, command=command.strip()))


if __name__ == "__main__":
    main()
