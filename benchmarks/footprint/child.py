"""Train a few steps of one setting with the engine's own step, and measure what they take.

    python -m benchmarks.footprint.child make SETTING.json FOLDER
    python -m benchmarks.footprint.child measure SETTING.json FOLDER [--show]

Process memory is the kernel's high-water mark over loading and three steps; tensor bytes are what torch's own CPU
allocator hands out during a fourth step, on top of every tensor that is alive before it.
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
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from benchmarks.footprint.setting import Setting
from finetrial.methods.full.full_method import Full
from finetrial.methods.lora.lora_method import Lora
from finetrial.methods.method import TunedMethod
from finetrial.models.batches import pack, trained_tokens
from finetrial.models.device import DTYPES
from finetrial.training.arm_setup import TrainingSetup, prepare, set_mode
from finetrial.training.meter import process_peak_bytes
from finetrial.training.process import kept_heap
from finetrial.training.task import TuneTask
from finetrial.trial.examples import Encoded

STEPS = 3
MICRO_BATCHES = 2


def make_base(setting: Setting, folder: Path) -> None:
    """The setting's model at random weights, with a tokenizer, in `folder`."""
    torch.manual_seed(0)
    content = setting.config()
    config = AutoConfig.for_model(content.pop("model_type"), **content)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    words = Tokenizer(WordLevel({"<e>": 0, "a": 1}, unk_token="<e>"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<e>").save_pretrained(folder)


def _task(setting: Setting, base: Path, folder: Path, *, vocabulary: int) -> TuneTask:
    generator = torch.Generator().manual_seed(1)
    examples = []
    for i in range(setting.rows * MICRO_BATCHES):
        # the last token is predicted and not read: a row of length + 1 tokens reads `length`
        ids = torch.randint(vocabulary, (setting.length + 1,), generator=generator).tolist()
        first = setting.length + 1 - round(setting.loss_share * setting.length)
        examples.append(Encoded(str(i), tuple(ids), tuple(j >= first for j in range(len(ids)))))
    method: TunedMethod = Full()
    if setting.rank is not None:
        method = Lora(rank=setting.rank, targets=setting.targets, alpha=2.0 * setting.rank)
    return TuneTask(
        model=str(base),
        train=examples,
        folder=folder,
        method=method,
        precision=setting.dtype,
        checkpointing=setting.checkpointing,
        learning_rate=1e-5,
    )


def _step(ready: TrainingSetup, task: TuneTask, *, rows: int) -> float:
    """One optimizer step over the task's micro-batches, as the engine's loop takes it; returns its seconds."""
    began = time.perf_counter()
    count = sum(trained_tokens(example) for example in task.train)
    for start in range(0, len(task.train), rows):
        batch = pack(task.train[start : start + rows])
        ready.loss_model.loss(batch, scale=1.0 / count).backward()
    ready.optimizer.step(learning_rate=1e-5, clip=1.0)
    return time.perf_counter() - began


def _alive_bytes() -> int:
    """Of every tensor that Python can see, each storage once."""
    gc.collect()
    sizes: dict[int, int] = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor) and thing.device.type == "cpu":
            storage = thing.untyped_storage()
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


def _tensor_bytes(
    ready: TrainingSetup, task: TuneTask, *, rows: int, show: bool
) -> tuple[int, int, list[tuple[str, int, int]]]:
    """Bytes alive before a step, the peak inside it, and the largest allocations that are alive at the peak."""
    before = _alive_bytes()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        _step(ready, task, rows=rows)
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
    """Everything that one setting takes; the base stands in a folder."""
    vocabulary = AutoConfig.from_pretrained(base).vocab_size
    with tempfile.TemporaryDirectory() as place, kept_heap():
        task = _task(setting, base, Path(place), vocabulary=vocabulary)
        ready = prepare(task, dtype=DTYPES[setting.dtype], device=torch.device("cpu"))
        set_mode(ready.model, training=True, model_dropout=False)
        seconds = [_step(ready, task, rows=setting.rows) for _ in range(STEPS)]
        process_bytes = process_peak_bytes()
        held, peak, rows = _tensor_bytes(ready, task, rows=setting.rows, show=show)
    for name, total, count in rows:
        print(f"{total / 2**20:9.2f} MiB {count:5d}  {name}", file=sys.stderr)
    return {
        "held_bytes": held,
        "tensor_bytes": peak,
        "process_bytes": process_bytes,
        "step_seconds": min(seconds[1:]),
        "packed": ready.loss_model.packed,
        "fused": ready.loss_model.fused,
        "fast_paths": [path.name for path in ready.loss_model.fast_paths if path.on],
        "trained_parameters": ready.trained_parameters,
    }


def main() -> None:
    what, settings, base = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    content = json.loads(settings.read_text(encoding="utf-8"))
    setting = Setting(**{**content, "targets": tuple(content["targets"])})
    if what == "make":
        make_base(setting, base)
    else:
        print(json.dumps(measure(setting, base, show="--show" in sys.argv)))


if __name__ == "__main__":
    main()
