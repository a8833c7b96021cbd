"""Train a few steps of one setting with the engine's own step, and measure what they take.

    python -m benchmarks.footprint.child measure SETTING.json FOLDER [--show]
    python -m benchmarks.footprint.child time SETTINGS.json SECONDS

Process memory is the kernel's high-water mark over loading and three steps, or 24 where the examples' lengths vary;
tensor bytes are what torch's own CPU allocator hands out during one more step, on top of every tensor that is alive
before it. `time` prints a line a setting: its step by rates that are measured first, and then its real steps.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from benchmarks.footprint.setting import Setting
from benchmarks.footprint.steps import (
    VARIED_STEPS,
    Step,
    config_of,
    facts,
    made,
    planned_step_seconds,
    steps_of,
    take_step,
    task_of,
    timed_steps,
)
from finetrial.models.device import DTYPES
from finetrial.training.arm_setup import TrainingSetup, prepare, set_mode
from finetrial.training.meter import process_peak_bytes
from finetrial.training.process import kept_heap

STEPS, TIMED_STEPS = 3, 4
CALIBRATION_SECONDS = 8.0


def make_base(setting: Setting, folder: Path) -> None:
    """The setting's model at random weights in `folder`, with a tokenizer; the file has the setting's precision."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(setting), dtype=DTYPES[setting.dtype])
    model.save_pretrained(folder)
    words = Tokenizer(WordLevel({"<e>": 0, "a": 1}, unk_token="<e>"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<e>").save_pretrained(folder)


def alive_bytes() -> int:
    """Of every tensor that Python can see, each storage once."""
    gc.collect()
    sizes: dict[int, int] = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor) and thing.device.type == "cpu":
            storage = (thing.to_local() if isinstance(thing, DTensor) else thing).untyped_storage()
            sizes[storage.data_ptr()] = max(storage.nbytes(), sizes.get(storage.data_ptr(), 0))
    return sum(sizes.values())


def _events(node: Any) -> list[Any]:
    found, waiting = [], list(node)
    while waiting:
        one = waiting.pop()
        if one.tag.name == "Allocation":
            found.append(one)
        waiting.extend(one.children)
    return found


def tensor_bytes(ready: TrainingSetup, step: Step, *, show: bool) -> tuple[int, int, list[tuple[str, int, int]]]:
    """Bytes alive before a step, the peak inside it, and the largest allocations that are alive at the peak."""
    before = alive_bytes()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        take_step(ready, step)
    events = sorted(
        _events(profile.profiler.kineto_results.experimental_event_tree()), key=lambda e: e.start_time_ns
    )
    live = peak = 0
    alive: dict[int, tuple[int, str]] = {}
    at_peak: dict[int, tuple[int, str]] = {}
    for event in events:
        extra = event.extra_fields
        size, pointer = extra.alloc_size, extra.ptr
        if size > 0:
            parent = event.parent
            names = []
            while parent is not None and len(names) < 4:
                names.append(parent.name)
                parent = parent.parent
            alive[pointer] = (size, " < ".join(names))
            live += size
        elif pointer in alive:
            live -= alive.pop(pointer)[0]
        if live > peak:
            peak = live
            at_peak = dict(alive) if show else {}
    shown: dict[str, tuple[int, int]] = {}
    for size, name in at_peak.values():
        total, count = shown.get(name, (0, 0))
        shown[name] = (total + size, count + 1)
    rows_shown = sorted(((n, t, c) for n, (t, c) in shown.items()), key=lambda r: -r[1])
    return before, before + peak, rows_shown[:40]


def measure(setting: Setting, base: Path, *, show: bool) -> dict[str, Any]:
    """The bytes that one setting takes; the base stands in a folder."""
    vocabulary = AutoConfig.from_pretrained(base).vocab_size
    steps = steps_of(setting, count=(VARIED_STEPS if setting.varied else STEPS) + 1, vocabulary=vocabulary)
    libraries = process_peak_bytes()
    with tempfile.TemporaryDirectory() as place, kept_heap():
        task = task_of(setting, steps, base=str(base), folder=Path(place))
        ready = prepare(task, dtype=DTYPES[setting.dtype], device=torch.device("cpu"))
        set_mode(ready.model, training=True, model_dropout=False)
        loaded = process_peak_bytes()
        for step in steps[:-1]:
            take_step(ready, step)
        process_bytes = process_peak_bytes()
        held, peak, rows = tensor_bytes(ready, steps[-1], show=show)
    for name, total, count in rows:
        print(f"{total / 2**20:9.2f} MiB {count:5d}  {name}", file=sys.stderr)
    return {
        "held_bytes": held,
        "tensor_bytes": peak,
        "process_bytes": process_bytes,
        "libraries_bytes": libraries,  # before the model is loaded
        "loaded_bytes": loaded,  # the process's peak until the first step
        **facts(ready),
    }


def time_setting(setting: Setting) -> dict[str, Any]:
    """A step's seconds as planned, by rates measured first, and as they are."""
    device, began = torch.device("cpu"), time.perf_counter()
    with tempfile.TemporaryDirectory() as place, kept_heap():
        planned = planned_step_seconds(setting, device=device, seconds=CALIBRATION_SECONDS)
        calibrated = time.perf_counter() - began
        steps = steps_of(setting, count=TIMED_STEPS, vocabulary=config_of(setting).vocab_size)
        ready = made(setting, task_of(setting, steps, base="", folder=Path(place)), device=device)
        seconds = timed_steps(ready, steps)
    return {"planned_step_seconds": planned, "step_seconds": seconds, "calibration_seconds": calibrated}


def main() -> None:
    what, path = sys.argv[1], Path(sys.argv[2])
    content = json.loads(path.read_text(encoding="utf-8"))
    if what == "time":
        until = time.monotonic() + float(sys.argv[3])
        for one in content:
            if time.monotonic() < until:
                print(json.dumps(time_setting(Setting(**{**one, "targets": tuple(one["targets"])}))), flush=True)
        return
    setting, base = Setting(**{**content, "targets": tuple(content["targets"])}), Path(sys.argv[3])
    print(json.dumps(measure(setting, base, show="--show" in sys.argv)))


if __name__ == "__main__":
    main()
