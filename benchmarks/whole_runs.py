"""Run whole trials, and put what `finetrial run` planned before the first step beside what it took.

    python -m benchmarks.whole_runs --real FILE.gguf --out FOLDER [--only NAME] [--rows FILE.jsonl]
    python -m benchmarks.whole_runs --out FOLDER --write        # docs/results/plan.md, of what FOLDER holds

On a machine that does nothing else. The demo; a newcomer's four files, as `finetrial init` writes them; base
and LoRA on the real model; a search for the learning rate with two training runs. --rows is real data: sixty of its
rows are the real model's trial.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.footprint.page import put_between_markers
from benchmarks.newcomers_data import ROWS, chats, extraction, jsonl, labels, tickets

_PAGE = Path("docs/results/plan.md")
_FIGURES = {
    "search": "search_seconds",
    "tuning": "tune_seconds",
    "evaluation": "evaluation_seconds",
    "sampling": "sample_seconds",
    "process memory": "peak_memory_bytes",
}


def _finetrial(*words: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "finetrial.cli.main", *words, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _from_init(make: Callable[[Path], Path]) -> Callable[[Path, argparse.Namespace], Path]:
    def trial(folder: Path, asked: argparse.Namespace) -> Path:
        data = make(folder)
        return folder / str(
            _finetrial("init", "--data", data.name, "--model", str(asked.real.absolute()), folder=folder)["file"]
        )

    return trial


_REAL = """\
trial: real
model: {model}
data: {{source: rows.jsonl, template: "{{prompt}}\\nTL;DR:", validation: 8, heldout: 12, overlap: drop,
  max_tokens: 512, overlong: cut}}
sampling: {{prompts: 12, per_prompt: 2, max_new_tokens: 48}}
judging: {{grade_prompts: 0, primary: rouge1, metrics: [rouge1]}}
arms:
  base: {{}}
  lora: {{method: lora, rank: 4, targets: [q, v]}}
"""


def _real(folder: Path, asked: argparse.Namespace) -> Path:
    lines = asked.rows.read_text(encoding="utf-8").splitlines()[:ROWS]
    jsonl(folder / "rows.jsonl", [json.loads(line) for line in lines])
    path = folder / "real.yaml"
    path.write_text(_REAL.format(model=asked.real.absolute()), encoding="utf-8")
    return path


_TRIALS: dict[str, Callable[[Path, argparse.Namespace], Path]] = {
    "tickets": _from_init(tickets),
    "chats": _from_init(chats),
    "labels": _from_init(labels),
    "extraction": _from_init(extraction),
    "real": _real,
}
_DEMOS = {
    "demo": [],
    "searched": [
        "--set", "arms.full.rows=400", "--set", "arms.lora.rows=400",
        "--set", "arms.lora.learning_rate=auto", "--set", "training.seeds=2",
    ],
}  # fmt: skip
_SAID = {
    "demo": "`finetrial demo`: the starter, base, full and LoRA, 3,000 rows",
    "searched": "the demo on 400 rows, LoRA's learning rate searched, two training runs an arm",
    "tickets": "newcomer's `tickets.csv`, SmolLM2-135M-Instruct, base, prompted, full, LoRA",
    "chats": "newcomer's `chats.jsonl`, the same",
    "labels": "newcomer's `labels.jsonl`, the same",
    "extraction": "newcomer's `extraction.jsonl`, the same",
    "real": "SmolLM2-135M-Instruct, base and LoRA r4, 60 rows of real data, 12 prompts x 2",
}


def _run(name: str, asked: argparse.Namespace) -> None:
    folder = asked.out / name
    folder.mkdir(parents=True)
    if name in _DEMOS:
        run = Path(_finetrial("demo", "--out", "run", *_DEMOS[name], folder=folder)["folder"])
    else:
        trial = _TRIALS[name](folder, asked)
        run = Path(_finetrial("run", trial.name, "--out", "run", folder=folder)["folder"])
    run = folder / run
    print(_line(name, run), flush=True)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _error(run: Path) -> float:
    time = _read(run / "run_time.json")
    return float(time["planned_seconds"] / time["seconds"] - 1)


def _line(name: str, run: Path) -> str:
    time = _read(run / "run_time.json")
    return (
        f"| {_SAID[name]} | {time['planned_seconds']:.1f} s | {time['seconds']:.1f} s | {_percent(_error(run))} |"
    )


def _percent(error: float) -> str:
    return f"{100 * error:+.1f} %".replace("-", "−")


def _arm_lines(name: str, run: Path) -> list[str]:
    """A line an arm: each planned figure's signed error where it was measured, too."""
    lines, plan = [], _read(run / "plan.json")["arms"]
    for arm, planned in plan.items():
        path = run / "arms" / arm / "measured.json"
        measured = _read(path) if path.exists() else {}
        errors = [
            planned[key] / measured[key] - 1 if planned.get(key) and measured.get(key) else None
            for key in _FIGURES.values()
        ]
        if any(error is not None for error in errors):
            cells = ["" if error is None else _percent(error) for error in errors]
            lines.append(f"| {name}, {arm} | {' | '.join(cells)} |")
    return lines


def _page(out: Path) -> str:
    found = {name: next((out / name).glob("run*/**/run_time.json"), None) for name in _SAID}
    runs = {name: file.parent for name, file in found.items() if file is not None}
    errors = [100 * abs(_error(run)) for run in runs.values()]
    return "\n".join(
        [
            f"Run on {date.today()}, torch {version('torch')}.",
            "",
            "    python -m benchmarks.whole_runs --real FILE.gguf --rows FILE.jsonl --out FOLDER",
            "    python -m benchmarks.whole_runs --out FOLDER --write",
            "",
            "| trial | whole run planned | measured | error |",
            "|---|---:|---:|---:|",
            *[_line(name, run) for name, run in runs.items()],
            "",
            f"Over {len(runs)}: median {median(errors):.1f} %, worst {max(errors):.1f} % (aim: 25 %).",
            "",
            f"| trial, arm | {' | '.join(_FIGURES)} |",
            f"|---|{'---:|' * len(_FIGURES)}",
            *[line for name, run in runs.items() for line in _arm_lines(name, run)],
        ]
    )


def main() -> None:
    """Run the trials that FOLDER does not hold yet, or write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--real", type=Path, help="the real small model, a GGUF")
    parser.add_argument("--rows", type=Path, help="real data: rows of `prompt` and `completions`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=[*_SAID])
    parser.add_argument("--write", action="store_true", help="run nothing, write the page")
    asked = parser.parse_args()
    if asked.write:
        _PAGE.write_text(
            put_between_markers(_PAGE.read_text(encoding="utf-8"), written=_page(asked.out)), encoding="utf-8"
        )
        return
    for name in [asked.only] if asked.only else _SAID:
        needed = () if name in _DEMOS else (asked.real, asked.rows) if name == "real" else (asked.real,)
        if None in needed or (asked.out / name).exists():
            print(
                f"{name}: not run: {'there already' if (asked.out / name).exists() else 'needs --real or --rows'}"
            )
            continue
        _run(name, asked)


if __name__ == "__main__":
    main()
