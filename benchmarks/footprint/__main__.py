"""Plan the memory and time of training steps, take them for real, and write down every signed error.

    python -m benchmarks.footprint [--real FOLDER] [--only TEXT] [--for SECONDS]
    python -m benchmarks.footprint [--real FOLDER] --times [--precision float32] [--for SECONDS] [--write]
    python -m benchmarks.footprint [--real FOLDER] --traced
    python -m benchmarks.footprint [--real FOLDER] --write
    python -m benchmarks.footprint --fit

Memory, each setting in a process of its own; steps' seconds, on a machine that does nothing else; the page, of what
the cache holds; the constants of process memory.

What was measured stands in --cache, under the setting: a run that was cut, or given so many seconds, goes on there.
On a card: `make gpu PART=footprint`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.footprint.compare import CONSTANTS, MIB, Measured, Row, fit, plan, spread
from benchmarks.footprint.matrix import fitted, quick, scored, small
from benchmarks.footprint.page import document, put_between_markers, steps_document
from benchmarks.footprint.setting import Setting
from finetrial.errors import UserError
from finetrial.footprint.tape_values import Kind
from finetrial.workflow.traced_peak import traced_peak

_OUT = Path("docs/results/footprint.md")
_MOST_SECONDS = 1e9


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Cache:
    """What was measured, by the setting's content."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = (
            json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        )

    @staticmethod
    def _key(setting: Setting) -> str:
        return json.dumps(dataclasses.asdict(setting), sort_keys=True)

    def of(self, setting: Setting) -> dict[str, Any]:
        return self._known.get(self._key(setting), {})

    def add(self, setting: Setting, found: dict[str, Any]) -> None:
        self._known.setdefault(self._key(setting), {}).update(found)
        self._path.write_text(json.dumps(self._known, indent=1), encoding="utf-8")

    def row(self, setting: Setting) -> Row | None:
        """Planned and measured; None where its memory was not measured."""
        found = self.of(setting)
        if "tensor_bytes" not in found:
            return None
        return Row(setting=setting, planned=plan(setting), measured=Measured(**found))

    def rows(self, settings: Sequence[Setting]) -> list[Row]:
        return [row for setting in settings if (row := self.row(setting)) is not None]


def _child(what: str, *words: str) -> str:
    command = [sys.executable, "-m", "benchmarks.footprint.child", what, *words]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{result.stderr[-3000:]}")
    return result.stdout


def measure_memory(setting: Setting) -> dict[str, Any]:
    """In a fresh process; its base is made in this one."""
    with tempfile.TemporaryDirectory() as folder:
        file, base = Path(folder) / "setting.json", Path(folder) / "base"
        file.write_text(json.dumps(dataclasses.asdict(setting)), encoding="utf-8")
        if setting.width:
            from benchmarks.footprint.child import make_base  # with torch: --write does without

            make_base(setting, base)
        else:
            base = Path(setting.model)
        found: dict[str, Any] = json.loads(_child("measure", str(file), str(base)).splitlines()[-1])
    return found


def _memory(settings: Sequence[Setting], cache: Cache, *, until: float) -> None:
    for setting in settings:
        if "tensor_bytes" not in cache.of(setting):
            if time.monotonic() > until:
                continue
            try:
                cache.add(setting, measure_memory(setting))
            except RuntimeError as error:  # the next one is measured all the same
                _say(f"  {setting.words}: FAILED: {error}")
                continue
        row = cache.row(setting)
        assert row is not None
        _say(
            f"  {setting.words}: tensors {row.tensor_error:+.2%}, process {row.process_error(CONSTANTS):+.1%} "
            f"({(row.measured.process_bytes or 0) / MIB:,.0f} MiB, {(row.measured.loaded_bytes or 0) / MIB:,.0f} "
            f"before the first step){'' if row.measured.packed else ' NOT PACKED: the plan is for packed rows'}"
        )


def _traced(settings: Sequence[Setting], cache: Cache, *, until: float) -> None:
    """The traced tier's tensors, each step in a process of its own."""
    for setting in settings:
        if "traced_bytes" in cache.of(setting) or setting.varied or time.monotonic() > until:
            continue
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "config.json"
            if setting.width:
                file.write_text(json.dumps(setting.config()), encoding="utf-8")
            try:
                found = traced_peak(
                    str(file) if setting.width else setting.model,
                    method="full" if setting.rank is None else "lora",
                    keys={} if setting.rank is None else {"rank": setting.rank, "targets": list(setting.targets)},
                    training=plan(setting).training,
                )
            except UserError as error:  # the next one is traced all the same
                _say(f"  {setting.words}: NOT TRACED: {error}")
                continue
        cache.add(setting, {"traced_bytes": found.peak_bytes})
        measured = cache.of(setting).get("tensor_bytes")
        _say(
            f"  {setting.words}: traced {found.peak_bytes / MIB:,.1f} MiB"
            + (f", {found.peak_bytes / measured - 1:+.2%}" if measured else "")
        )


def _times(settings: Sequence[Setting], cache: Cache, *, until: float) -> None:
    """One process for as many settings as the time allows; a varied one has no step of its own."""
    waiting = [s for s in settings if not s.varied and "step_seconds" not in cache.of(s)]
    waiting.sort(key=lambda s: s.rows * s.length * plan(s).peak.by_kind[Kind.weights])  # the quick ones first
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "settings.json"
        file.write_text(json.dumps([dataclasses.asdict(setting) for setting in waiting]), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.footprint.child", "time", str(file)]
        with subprocess.Popen(
            [*command, str(until - time.monotonic())], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for setting, line in zip(waiting, child.stdout, strict=False):
                found = json.loads(line)
                cache.add(setting, found)
                error = found["planned_step_seconds"] / found["step_seconds"] - 1
                _say(f"  {setting.words}: {found['step_seconds']:.2f} s, {error:+.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two small settings, nothing is written")
    parser.add_argument("--small", action="store_true", help="every architecture at a few million parameters")
    parser.add_argument("--fit", action="store_true", help="measure the fitting settings, print their constants")
    parser.add_argument("--times", action="store_true", help="measure steps' seconds instead of their memory")
    parser.add_argument("--traced", action="store_true", help="trace the steps instead of taking them")
    parser.add_argument("--write", action="store_true", help="measure nothing, write down what --cache holds")
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        help="every setting in this one: float32 for a CPU without bfloat16",
    )
    parser.add_argument("--only", help="settings whose description holds this text")
    parser.add_argument(
        "--real", type=Path, help="the real model's folder, as `finetrial export FILE.gguf` writes it"
    )
    parser.add_argument("--for", dest="seconds", type=float, default=_MOST_SECONDS, help="begin nothing later")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "finetrial-footprint.json")
    parser.add_argument("--out", type=Path, default=_OUT)
    options = parser.parse_args()
    cache, until = Cache(options.cache), time.monotonic() + options.seconds
    chosen = (
        quick()
        if options.quick
        else small()
        if options.small
        else fitted()
        if options.fit
        else scored(options.real)
    )
    if options.precision:  # a setting that then stands there twice, once
        chosen = list(dict.fromkeys(dataclasses.replace(s, dtype=options.precision) for s in chosen))
    settings = [s for s in chosen if not options.only or options.only in s.words]
    if not options.write:
        part = _times if options.times else _traced if options.traced else _memory
        part(settings, cache, until=until)
    if options.times:
        timed = [(s, m) for s in settings if (m := Measured(**cache.of(s))).time_error is not None]
        print(f"step: {spread([m.time_error for _, m in timed])}")
        if options.write:
            steps = sum(not s.varied for s in settings)
            text = steps_document(timed, of=steps, real=options.real is not None)
            page = options.out.read_text(encoding="utf-8")
            options.out.write_text(put_between_markers(page, written=text, name="steps"), encoding="utf-8")
        return
    rows = cache.rows(settings)
    print(f"tensor bytes: {spread([r.tensor_error for r in rows])}")
    print(f"traced: {spread([r.traced_error for r in rows])}")
    print(f"process: {spread([r.process_error(CONSTANTS) for r in rows])}")
    print(f"step: {spread([r.time_error for r in rows])}")
    if options.fit and len(rows) > 1:
        base, share, head, varied = fit(rows)
        print(
            f"process: {base / MIB:.1f} MiB + tensors + {share:.4f} x what comes and goes + {head:.4f} x the "
            f"head's matrix, {varied / MIB:.1f} MiB where lengths vary"
        )
    if options.write:
        text = document(rows, cache.rows(fitted()), of=len(settings), real=options.real is not None)
        page = options.out.read_text(encoding="utf-8") if options.out.exists() else None
        options.out.write_text(put_between_markers(page, written=text), encoding="utf-8")


if __name__ == "__main__":
    main()
