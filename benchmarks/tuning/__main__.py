"""How fast is tuning beside TRL's SFTTrainer, and how much of the machine's matrix rate does it use?

    python -m benchmarks.tuning [--quick] [--json]

Every measurement is a process of its own, the first two steps are a warm-up, rounds go to and fro over the
settings. Without --quick, TRL's best setting is first sought among micro-batches, packed and not; with it, the
forms that were best before are measured once each, and finetrial and the fastest again.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.device_names import device_name
from benchmarks.tuning.families import NAMES, ModelName
from benchmarks.tuning.measure import Job, Result, ask_rate, ask_run, prepare_base
from benchmarks.tuning.page import PAGE, Entry, write
from benchmarks.tuning.setting import Method, Setting, candidates, known_best, usual
from benchmarks.tuning.table import Comparison, compare, terminal
from benchmarks.tuning.workload import make_workload


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _measured(job: Job, setting: Setting) -> Result:
    result = ask_run(job, setting)
    said = result.failed or f"{result.tokens_per_second:,.0f} tokens/s, {(result.peak_bytes or 0) / 2**30:.2f} GiB"
    _say(f"  {setting.method}: {setting.label}: {said}")
    return result


def _fastest(results: Sequence[Result]) -> list[Setting]:
    """TRL's fastest setting, and its fastest with finetrial's optimizer state."""
    working = [r for r in results if r.failed is None and r.setting.trainer == "trl"]
    if not working:
        sys.exit("error: no setting of TRL ran here")
    ordered = sorted(working, key=lambda r: -r.tokens_per_second)
    equal = [r for r in ordered if r.setting.equal_state]
    return list(dict.fromkeys(r.setting for r in (*ordered[:1], *equal[:1])))


def _best(job: Job, method: Method) -> tuple[list[Setting], list[Result]]:
    """TRL's fastest settings here, by one timed step each."""
    short = dataclasses.replace(job, steps=1)
    rows = make_workload(job.data, steps=1, batch=job.batch, model=job.model).packed_rows
    results = [_measured(short, setting) for setting in candidates(method, batch=job.batch, rows=rows)]
    best = _fastest(results)
    _say("  TRL's best: " + "; ".join(setting.label for setting in best))
    return best, results


def run_method(job: Job, method: Method, *, rounds: int, forms: int | None) -> tuple[Comparison, list[Result]]:
    """All rounds of one model and one method, and what the search for TRL's best found; with `forms` so many of the
    forms that were best before are measured instead."""
    ours = Setting("finetrial", method)
    searched: list[Result] = []
    if forms is not None:
        settings = [ours, *known_best(method, forms=forms)]
    else:
        best, searched = _best(job, method)
        settings = list(dict.fromkeys((ours, *best, usual(method, batch=job.batch))))
    results, rates = [], []
    for turn in range(rounds):
        rates.append(ask_rate(job))
        if forms is not None and turn:
            settings = [ours, *_fastest(results)]
        for setting in settings if turn % 2 == 0 else reversed(settings):
            results.append(_measured(job, setting))
    rates.append(ask_rate(job))
    broken = next((r for r in results if r.setting == ours and r.failed is not None), None)
    if broken is not None:
        sys.exit(f"error: finetrial did not run: {broken.failed}")
    return compare(job.model, method, results, rates=rates, steps=job.steps, batch=job.batch), searched


def _command(arguments: Sequence[str]) -> str:
    """What was called, without where this machine keeps its files."""
    kept = [a for i, a in enumerate(arguments) if not {a, arguments[i - 1] if i else ""} & {"--data", "--out"}]
    return " ".join(["python -m benchmarks.tuning", *kept])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=tuple(NAMES), help="gpt2, real, gemma and qwen; on CUDA gpt2 and phi")
    parser.add_argument("--method", choices=("lora", "full"), help="both unless given")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, help="3; 2 when --quick")
    parser.add_argument("--steps", type=int, help="timed steps of a run: 5; 2 when --quick; 10 on CUDA")
    parser.add_argument("--batch", type=int, help="examples of a step: 8; 32 on CUDA")
    parser.add_argument("--quick", action="store_true", help="TRL's best known forms, fewer steps")
    parser.add_argument("--forms", type=int, choices=(1, 2), default=2, help="how many of them --quick measures")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, help=f"{PAGE}; nothing is written for --model tiny unless given")
    return parser.parse_args()


def main() -> None:
    options = _options()
    if not (options.data / "scitldr_train.jsonl").exists():
        sys.exit(f"error: {options.data}/scitldr_train.jsonl does not exist; --data names the folder that holds it")
    if importlib.util.find_spec("trl") is None:
        sys.exit("error: TRL is not installed; `pip install trl`, or `make bench-tuning`")
    cuda = options.device == "cuda"
    families: tuple[ModelName, ...] = ("gpt2", "phi") if cuda else ("gpt2", "real", "gemma", "qwen")
    models: Sequence[ModelName] = [options.model] if options.model else families
    methods: list[Method] = [options.method] if options.method else ["lora", "full"]
    steps = options.steps or (10 if cuda else 2 if options.quick else 5)
    out = options.out or (None if options.model == "tiny" else PAGE)
    command = _command(sys.argv[1:])
    comparisons = []
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            job = Job(
                model, options.device, Path(folder), options.data, steps, options.batch or (32 if cuda else 8)
            )
            _say(f"{model} on {device_name(options.device)}")
            prepare_base(job)
            for method in methods:
                rounds = options.rounds or (2 if options.quick else 3)
                found, tried = run_method(
                    job, method, rounds=rounds, forms=options.forms if options.quick else None
                )
                comparisons.append(found)
                if out is not None:  # at once: what was measured stays if a later run fails
                    write(out, Entry.of(found, tried, device=device_name(options.device), command=command))
                if not options.json:
                    print(terminal(found) + "\n", flush=True)
    if options.json:
        print(json.dumps([dataclasses.asdict(comparison) for comparison in comparisons], indent=2))


if __name__ == "__main__":
    main()
