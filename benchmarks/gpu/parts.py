"""The parts of `make gpu`: what each measures, within how many seconds, and what it writes."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.attention import attention_table, measure_attention, plain_error
from benchmarks.gpu.result import Result, apart, as_result
from benchmarks.gpu.shapes import GPT2_VOCABULARY, Ceilings, Method, ShapeName, make_model, measure_ceilings
from benchmarks.gpu.workload import PROFILED, SMALL_VOCABULARY, WARMUP, Work, abstracts, full_rows
from benchmarks.gpu.writing import Memory, Page, comparison
from finetrial.models.kernels.attention_kernels import HeadShape

_LONGEST_RUN = 110.0  # seconds of one measurement


@dataclass(frozen=True, slots=True)
class Setup:
    """Where and how large everything is."""

    device: torch.device
    card: str
    page: Page
    memory: Memory
    data: Path | None
    rehearsed: bool
    search: bool = False
    quick: bool = False
    methods: tuple[str, ...] = ("lora", "full", "qlora")
    most_steps: int = 6  # timed

    @property
    def steps(self) -> int:
        return 1 if self.rehearsed else self.most_steps

    @property
    def examples(self) -> int:
        return 4 if self.rehearsed else 64


class Clock:
    """How much of a part's time is left."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self._until - time.monotonic()

    def run(self, label: str, work: Callable[[], Any], *, least: float = 12.0) -> tuple[Any, str | None]:
        """The work in a process of its own, within the time left; not begun where less than `least` is left."""
        if self.left < least:
            return None, "not measured: no time left"
        return apart(work, limit_seconds=min(_LONGEST_RUN, self.left))


def _ceilings(setup: Setup, shape: ShapeName, clock: Clock) -> Ceilings | None:
    found, _ = clock.run("ceilings", lambda: measure_ceilings(shape, device=setup.device))
    return None if found is None else Ceilings(**found)


def _save_base(setup: Setup, shape: ShapeName, folder: Path) -> int:
    from benchmarks.gpu.workload import plain_tokenizer

    make_model(shape, dtype=torch.bfloat16, device=setup.device).save_pretrained(folder)
    plain_tokenizer().save_pretrained(folder)
    return 0


def _ours(setup: Setup, clock: Clock, job: Any) -> Result:
    from benchmarks.gpu.ours import run_ours

    return as_result(job.label, *clock.run(job.label, lambda: run_ours(job)))


def _theirs(setup: Setup, clock: Clock, job: Any) -> Result:
    from benchmarks.gpu.theirs import run_trl

    return as_result(job.setting.label, *clock.run(job.setting.label, lambda: run_trl(job)))


def _candidates(shape: ShapeName, *, batch: int) -> tuple[Any, ...]:
    """TRL's settings among which its best is sought, likely ones first."""
    from benchmarks.gpu.theirs import TrlSetting

    liger = importlib.util.find_spec("liger_kernel") is not None and shape != "gpt2"  # it has nothing for GPT-2
    if shape == "tiny":
        found = [TrlSetting(batch)]
    elif shape == "8b":
        found = [TrlSetting(batch, liger=liger), TrlSetting(batch // 2, liger=liger), TrlSetting(batch // 4)]
    else:
        found = [
            TrlSetting(64, liger=liger),
            TrlSetting(32, liger=liger),
            TrlSetting(64),
            TrlSetting(8, packed=2048, liger=liger),
            TrlSetting(4, packed=2048, liger=liger),
        ]
    return tuple(dict.fromkeys(found))


def _best_of_trl(
    setup: Setup, clock: Clock, *, shape: ShapeName, method: Method, work: Work, base: Path | None, reserve: float
) -> list[Result]:
    """TRL, its fastest setting first: as remembered for this card, else sought until `reserve` seconds are left.

    Full tuning in pure bfloat16 keeps a quarter of our optimizer's state: the same setting with float32 weights
    under autocast is measured, too.
    """
    if importlib.util.find_spec("trl") is None:
        return [Result("TRL", failed="not measured: it is not installed")]
    from benchmarks.gpu.theirs import TrlJob

    def measured(setting: Any) -> Result:
        job = TrlJob(shape, method, setting, work, setup.steps, setup.device, base=base, profiled=True)
        return _theirs(setup, clock, job)

    if method == "full":
        reserve = max(reserve, 30.0)  # for the one with float32 weights
    settings = _candidates(shape, batch=len(work.steps[0]))
    known = None if setup.search else setup.memory.best(setup.card, shape, method)
    chosen = [s for s in settings if s.label == known] or list(settings)
    results: dict[Any, Result] = {}
    for setting in chosen:
        if clock.left < reserve and results:
            break
        results[setting] = measured(setting)
    working = [s for s, r in results.items() if r.failed is None]
    if not working:
        return list(results.values())
    best = max(working, key=lambda s: results[s].tokens_per_second)
    if len(chosen) > 1:
        setup.memory.remember(setup.card, shape, method, best.label)
    ordered = [results[best], *(r for s, r in results.items() if s != best)]
    if method == "full":
        ordered.insert(1, measured(replace(best, masters=True)))
    return ordered


def compare(
    setup: Setup, clock: Clock, *, shape: ShapeName, methods: Sequence[Method], work: Work, batch: str
) -> None:
    """Both trainers, method by method; each table is written when it is done."""
    from benchmarks.gpu.ours import OurJob

    methods = [method for method in methods if method in setup.methods]
    ceilings = _ceilings(setup, shape, clock)
    with tempfile.TemporaryDirectory() as folder:
        for place, method in enumerate(methods):
            reserve = clock.left * (1 - 0.8 / (len(methods) - place))
            base = Path(folder) / "base"
            if method == "qlora":
                reason = _why_no_four_bits(setup)
                if reason is None:
                    _, reason = clock.run("base", lambda b=base: _save_base(setup, shape, b))
                if reason is not None:
                    setup.page.add(
                        comparison(
                            shape,
                            method,
                            [Result("finetrial", failed=f"not measured: {reason}")],
                            ceilings=None,
                            kind=work.kind,
                            batch=batch,
                        )
                    )
                    continue
            job = OurJob(shape, method, work, setup.steps, setup.device, base=base)
            results = [_ours(setup, clock, job)]
            results += _best_of_trl(setup, clock, shape=shape, method=method, work=work, base=base, reserve=reserve)
            setup.page.add(comparison(shape, method, results, ceilings=ceilings, kind=work.kind, batch=batch))


def _why_no_four_bits(setup: Setup) -> str | None:
    if setup.device.type != "cuda":
        return "four bits need a CUDA device"
    return None if importlib.util.find_spec("bitsandbytes") else "bitsandbytes is not installed"


def _abstracts(setup: Setup, *, words: int) -> Work:
    steps = WARMUP + setup.steps + PROFILED
    if setup.rehearsed:
        return abstracts(data=None, steps=steps, batch=setup.examples, words=SMALL_VOCABULARY)
    return abstracts(data=setup.data, steps=steps, batch=setup.examples, words=words)


def tune_1b(setup: Setup, clock: Clock) -> None:
    """LoRA, full tuning and QLoRA of the 1B shape on abstracts."""
    work = _abstracts(setup, words=GPT2_VOCABULARY)
    shape: ShapeName = "tiny" if setup.rehearsed else "1b"
    compare(
        setup,
        clock,
        shape=shape,
        methods=("lora", "full", "qlora"),
        work=work,
        batch=f"{setup.examples} a step, {work.batch_tokens:,} tokens at most, {setup.steps} timed steps",
    )


def tune_8b(setup: Setup, clock: Clock) -> None:
    """LoRA and QLoRA of the 8B shape on full rows of 1,024 tokens."""
    setup = replace(setup, most_steps=4)
    rows, tokens, words = (2, 64, SMALL_VOCABULARY) if setup.rehearsed else (16, 1024, 49152)
    work = full_rows(steps=WARMUP + setup.steps + PROFILED, rows=rows, tokens=tokens, words=words)
    compare(
        setup,
        clock,
        shape="tiny" if setup.rehearsed else "8b",
        methods=("lora", "qlora"),
        work=work,
        batch=f"{rows} a step, {setup.steps} timed steps",
    )
    setup.page.add(
        "Full tuning of this shape with float32 masters and moments takes 16 bytes a parameter, 110 GB, which is "
        "more than one card of 80 GB has; it is not measured."
    )


def small(setup: Setup, clock: Clock) -> None:
    """GPT-2 and SmolLM2-135M's shape."""
    work = _abstracts(setup, words=49152)  # which both shapes have
    batch = f"{setup.examples} a step, {setup.steps} timed steps"
    half = clock.left / 2
    for shape in ("tiny",) if setup.rehearsed else ("135m", "gpt2"):
        part = Clock(min(half, clock.left))
        compare(setup, part, shape=shape, methods=("lora", "full"), work=work, batch=batch)  # type: ignore[arg-type]


def attention(setup: Setup, clock: Clock) -> None:
    """One layer's attention of a packed row."""
    shape = HeadShape(4, 2, 16) if setup.rehearsed else HeadShape(32, 8, 64)
    count = 6 if setup.rehearsed else 60
    found, failed = clock.run(
        "attention", lambda: measure_attention(device=setup.device, shape=shape, examples=count)
    )
    plain, _ = clock.run("plain", lambda: plain_error(device=setup.device, shape=shape))
    title = f"### Attention of a packed row: {count} abstracts, {shape.heads} query and {shape.key_heads} key heads"
    table = (
        f"not measured: {failed}" if found is None else attention_table(found, plain_error=plain or float("nan"))
    )
    setup.page.add(f"{title} of {shape.size}\n\n{table}")
