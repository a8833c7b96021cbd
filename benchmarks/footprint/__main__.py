"""Plan the memory of training steps from shapes alone, run them for real, and write down every signed error.

    python -m benchmarks.footprint [--quick] [--fit] [--only TEXT] [--out docs/results/footprint.md]

Every setting is a process of its own; bases at random weights are made by another one. A run that was cut goes on
from --cache, which holds what was measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path

from benchmarks.footprint.compare import CONSTANTS, MIB, Measured, Row, fit, plan, spread, table
from benchmarks.footprint.matrix import fitted, quick, scored, small
from benchmarks.footprint.setting import Setting

_OUT = Path("docs/results/footprint.md")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _child(what: str, setting: Path, base: Path) -> str:
    command = [sys.executable, "-m", "benchmarks.footprint.child", what, str(setting), str(base)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"error: {' '.join(command)}\n{result.stderr[-3000:]}")
    return result.stdout


def measured(setting: Setting, *, cache: Path) -> Measured:
    """Measure a setting in fresh processes, or take what the cache has of it."""
    content = json.dumps(dataclasses.asdict(setting), sort_keys=True)
    known = json.loads(cache.read_text(encoding="utf-8")) if cache.exists() else {}
    if content not in known:
        with tempfile.TemporaryDirectory() as folder:
            file, base = Path(folder) / "setting.json", Path(folder) / "base"
            file.write_text(content, encoding="utf-8")
            if setting.width:
                _child("make", file, base)
            else:
                base = Path(setting.model)
            known[content] = json.loads(_child("measure", file, base).splitlines()[-1])
        cache.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return Measured(**known[content])


def _rows(settings: list[Setting], *, cache: Path) -> list[Row]:
    rows = []
    for setting in settings:
        row = Row(setting=setting, planned=plan(setting), measured=measured(setting, cache=cache))
        _say(f"  {setting.name}, {setting.method}, {setting.row}, {setting.dtype}: {row.tensor_error:+.2%}")
        if not row.measured.packed:
            _say("    NOT PACKED: the plan is for packed rows")
        rows.append(row)
    return rows


def _device() -> str:
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpu.read_text()) if cpu.exists() else None
    threads = os.environ.get("OMP_NUM_THREADS", os.cpu_count())
    return f"{found[1] if found else platform.processor()}, OMP_NUM_THREADS={threads}"


def _document(rows: list[Row], fits: list[Row], *, command: str) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    base, share = CONSTANTS
    lines = [
        "# Footprint: planned memory beside measured",
        "",
        f"Made by `{command}`, {date.today()}, {_device()}, {packages}.",
        "",
        "Planned is what `finetrial footprint train --device cpu` computes from the shape alone, without torch.",
        "Tensors: the most bytes that torch's CPU allocator had handed out during a step (the fourth, two",
        "micro-batches), with every tensor alive before it. Process: the kernel's high-water mark over loading and",
        "three steps, in a fresh process. An error above zero is a plan that was too high.",
        "",
        f"Over {len(rows)} configurations, none of which anything was fitted on:",
        "",
        f"- tensor bytes: {spread([r.tensor_error for r in rows])} (aim: median 5 %, worst 12 %)",
        f"- process memory: {spread([r.process_error(CONSTANTS) for r in rows])} (aim: median 8 %, never more than "
        "10 % under)",
        "",
        f"The process is planned as {base / MIB:.0f} MiB and {1 + share:.2f} times the tensors; both numbers come",
        f"from {len(fits)} other configurations (below). Tensor bytes have no fitted number.",
        "",
        table(rows, constants=CONSTANTS),
        "",
        "## What the process constants were fitted on",
        "",
        table(fits, constants=CONSTANTS),
        "",
        "Step time, the traced tier and CUDA's figures are not measured here yet.",
        "",
    ]
    return "\n".join(lines)


def _so_far(real: Path | None, *, cache: Path) -> str:
    """The document from what the cache holds and nothing else."""
    known = json.loads(cache.read_text(encoding="utf-8")) if cache.exists() else {}

    def held(settings: list[Setting]) -> list[Row]:
        contents = [(s, json.dumps(dataclasses.asdict(s), sort_keys=True)) for s in settings]
        return [Row(setting=s, planned=plan(s), measured=Measured(**known[c])) for s, c in contents if c in known]

    full = scored(real)
    of_full, others = held(full), held([*quick(), *small(), *fitted()])
    rows = [*of_full, *others]
    if not rows:
        sys.exit(f"error: {cache} holds no measurement")
    base, share = CONSTANTS
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    lines = [
        "# Footprint: planned memory beside measured",
        "",
        f"**The full benchmark is not run yet.** Of its {len(full)} settings {len(of_full)} are measured.",
        f"{len(others)} other rows are models of a few MiB: nothing there contradicts the count of tensors, and",
        "they do not say how good a real run's plan is. All of it: `python -m benchmarks.footprint --real FOLDER`.",
        "",
        f"{date.today()}, {_device()}, {packages}.",
        "",
        "Planned is what `finetrial footprint train --device cpu` computes from the shape alone, without torch.",
        "Tensors: the most bytes that torch's CPU allocator had handed out during a step (the fourth, two",
        "micro-batches), with every tensor alive before it. Process: the kernel's high-water mark over loading",
        "and three steps, in a fresh process. MiB; an error above zero is a plan that was too high.",
        "",
        f"- tensor bytes: {spread([r.tensor_error for r in rows])} (aim over the full benchmark: median 5 %,",
        "  worst 12 %)",
        f"- process memory: {spread([r.process_error(CONSTANTS) for r in rows])}; planned as",
        f"  {base / MIB:.0f} MiB and {1 + share:.2f} times the tensors, assumptions until `--fit` has run.",
        "  With models this small a process is nearly all libraries",
        "",
        table(rows, constants=CONSTANTS),
        "",
        "Not measured here: step time, the traced tier, CUDA, whatever no row above names (the real model, say),",
        "and whether the planned process is right where tensors outweigh the libraries.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two small settings, nothing is written")
    parser.add_argument("--small", action="store_true", help="every architecture at a few million parameters")
    parser.add_argument("--fit", action="store_true", help="measure the fitting settings, print their constants")
    parser.add_argument("--so-far", action="store_true", help="measure nothing, write down what --cache holds")
    parser.add_argument("--only", help="settings whose description holds this text; nothing is written")
    parser.add_argument(
        "--real", type=Path, help="the real model's folder, as `finetrial export FILE.gguf` writes it"
    )
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "finetrial-footprint.json")
    parser.add_argument("--out", type=Path, default=_OUT)
    options = parser.parse_args()
    if options.so_far:
        options.out.write_text(_so_far(options.real, cache=options.cache), encoding="utf-8")
        return
    settings = (
        quick()
        if options.quick
        else small()
        if options.small
        else fitted()
        if options.fit
        else scored(options.real)
    )
    if options.only:
        settings = [s for s in settings if options.only in f"{s.name}, {s.method}, {s.row}, {s.dtype}"]
    rows = _rows(settings, cache=options.cache)
    print(f"tensor bytes: {spread([r.tensor_error for r in rows])}")
    if options.fit:
        base, share = fit(rows)
        print(f"process: {base / MIB:.1f} MiB + {1 + share:.4f} x tensors")
        return
    print(f"process: {spread([r.process_error(CONSTANTS) for r in rows])}")
    if options.quick or options.small or options.only:
        return
    command = "python -m benchmarks.footprint" + (" --real FOLDER" if options.real else "")
    fits = _rows(fitted(), cache=options.cache)
    options.out.write_text(_document(rows, fits, command=command), encoding="utf-8")


if __name__ == "__main__":
    main()
