"""Sampling on a card: the engine, its variants, and transformers' generate with and without a static cache.

64 prompts x 4 samples of 64 tokens at random weights, bfloat16, temperature 1, top-k 50 and top-p 0.95 in both.
Rates are of runs in a warm process; the first run (kernels, graphs, compilation) is given apart. Greedy tokens are
compared with those of padded batches with the model's own attention and cache.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu.parts import Clock, Setup
from benchmarks.gpu.profiling import StepProfile, shares_of
from benchmarks.gpu.shapes import TITLES, ShapeName, config_of, make_model, wait
from benchmarks.gpu.workload import plain_tokenizer, random_abstracts
from benchmarks.gpu.writing import profile_line
from finetrial.sampling.decode_paths import Modules, Paths, choose_paths
from finetrial.sampling.engine import Engine
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample import sample_arm
from finetrial.sampling.sampling_way import Way
from finetrial.sampling.step_runner import StepRunner
from finetrial.trial.resolve import Decoding

_LONGEST_PROMPT = 200
_VARIANTS: dict[str, tuple[Modules, bool]] = {
    "finetrial, its own kernels": (Modules.NORMS, True),
    "finetrial, layers compiled": (Modules.COMPILED, True),
    "finetrial, torch's operations in graphs": (Modules.OWN, False),
}


@dataclass(frozen=True, slots=True)
class _Size:
    prompts: int
    copies: int
    tokens: int


def _size(setup: Setup) -> _Size:
    return _Size(3, 2, 4) if setup.rehearsed else _Size(64, 4, 64)


def _tasks(shape: ShapeName, count: int) -> list[PromptTask]:
    words = config_of(shape).vocab_size
    texts = [e.token_ids[:_LONGEST_PROMPT] for e in random_abstracts(count, seed=3, words=words)]
    return [PromptTask(str(i), None, "", ids, (), "") for i, ids in enumerate(texts)]


def _decode(ids: Any) -> str:
    return ""


def _engine(
    model: Any, setup: Setup, *, decoding: Decoding, paths: Paths, slots: int, ends: frozenset[int] = frozenset()
) -> Engine:
    return Engine(
        model,
        decoding,
        _decode,
        ends,
        "base",
        slots,
        lambda tokens, finished: None,
        paths=paths,
        late_steps=8,
        keeps=True,
        runner=lambda rows: StepRunner(rows, graphs=setup.device.type == "cuda"),
    )


def _timed(work: Callable[[], int], *, device: torch.device, repeats: int) -> float:
    """Tokens a second, the best of a few runs."""
    best = 0.0
    for _ in range(repeats):
        wait(device)
        began = time.perf_counter()
        tokens = work()
        wait(device)
        best = max(best, tokens / (time.perf_counter() - began))
    return best


def _ours(shape: ShapeName, setup: Setup, *, labels: tuple[str, ...], seconds: float) -> dict[str, Any]:
    """Every variant: its rate, with more prompts than fit at once, without top-k, and where its time goes."""
    until = time.monotonic() + seconds
    size, device = _size(setup), setup.device
    model = make_model(shape, dtype=torch.bfloat16, device=device)
    tasks = _tasks(shape, size.prompts)
    decoding = Decoding(per_prompt=size.copies, max_new_tokens=size.tokens, temperature=1.0, top_p=0.95, top_k=50)
    found: dict[str, Any] = {}
    for label in labels:
        if time.monotonic() > until - 10 and found:
            found[label] = {"failed": "no time left"}
            continue
        modules, kernels = _VARIANTS[label]
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        try:
            paths = choose_paths(model, dtype=torch.bfloat16, samples=size.copies, modules=modules, kernels=kernels)
            engine = _engine(model, setup, decoding=decoding, paths=paths, slots=size.prompts)

            def run(engine: Engine = engine, tasks: list[PromptTask] = tasks) -> int:
                return sum(s.tokens or 0 for s in engine.run(tasks))

            began = time.perf_counter()
            run()
            wait(device)
            first = time.perf_counter() - began
            one: dict[str, Any] = {
                "tokens_per_second": _timed(run, device=device, repeats=1 if setup.rehearsed else 3),
                "first_run_seconds": first,
                "paths": str(paths),
                "graphs": engine._steps.why_not or ("captured" if engine._steps.graphs else "not used"),
                "cache_bytes": engine.rows.store.n_bytes,
            }
            many = _tasks(shape, 4 * size.prompts)
            one["four_times_the_prompts"] = _timed(lambda e=engine, m=many: run(e, m), device=device, repeats=1)
            profile = StepProfile(device)
            profile.start()
            began = time.perf_counter()
            made = run()
            wait(device)
            one["profiled_seconds"] = time.perf_counter() - began
            profile.stop()
            shares, slowest = shares_of(profile.spans(), steps=max(1, made // (size.prompts * size.copies)))
            one["shares"] = None if shares is None else profile_line(shares)
            one["slowest"] = [*slowest[:12]]
            if device.type == "cuda":
                one["step_ms"] = _step_ms(engine, size)
                one["peak_bytes"] = torch.cuda.max_memory_allocated(device)
            engine.close()
            found[label] = one
        except Exception as error:  # the other variants are measured all the same
            trace = traceback.format_exc()[-1500:]
            found[label] = {"failed": f"{type(error).__name__}: {str(error)[:300]}", "traceback": trace}
    return found


def _step_ms(engine: Engine, size: _Size) -> dict[str, float]:
    """One captured step, again and again; the choice of its tokens alone."""
    steps = engine._steps
    captured = next(iter(steps._captured.values()), None)
    if captured is None:
        return {}
    rows = engine.rows
    logits = torch.randn(size.prompts * size.copies, rows.model.config.vocab_size, device=rows.device).bfloat16()
    uniform = torch.rand(len(logits), device=rows.device)

    def choice() -> None:
        rows._choice(logits, uniform_N=uniform, rows_N=None)

    found = {}
    for name, work in (("whole", captured), ("choice", choice)):
        work()
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(20):
            work()
        torch.cuda.synchronize()
        found[name] = (time.perf_counter() - began) / 20 * 1e3
    return found


def _generate(shape: ShapeName, setup: Setup, *, static: bool) -> dict[str, Any]:
    size, device = _size(setup), setup.device
    model = make_model(shape, dtype=torch.bfloat16, device=device)
    texts = [task.token_ids for task in _tasks(shape, size.prompts)]
    width = max(len(ids) for ids in texts)
    ids = torch.zeros(size.prompts, width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, one in enumerate(texts):
        ids[row, width - len(one) :], mask[row, width - len(one) :] = torch.tensor(one), 1
    asked: dict[str, Any] = {
        "do_sample": True,
        "top_p": 0.95,
        "top_k": 50,
        "max_new_tokens": size.tokens,
        "min_new_tokens": size.tokens,
        "num_return_sequences": size.copies,
        "pad_token_id": 0,
    }
    if static and device.type == "cuda":
        asked["cache_implementation"] = "static"

    def run() -> int:
        with torch.inference_mode():
            out = model.generate(input_ids=ids.to(device), attention_mask=mask.to(device), **asked)
        return out[:, width:].numel()

    began = time.perf_counter()
    run()
    wait(device)
    first = time.perf_counter() - began
    found = {"first_run_seconds": first, "tokens_per_second": 0.0}
    run()
    found["tokens_per_second"] = _timed(run, device=device, repeats=1 if setup.rehearsed else 2)
    if device.type == "cuda":
        found["peak_bytes"] = torch.cuda.max_memory_allocated(device)
    return found


def _greedy(shape: ShapeName, setup: Setup) -> dict[str, Any]:
    """The share of samples, and of tokens up to where they part, that are those of padded batches."""
    device, count = setup.device, 3 if setup.rehearsed else 16
    tokens = 4 if setup.rehearsed else 32
    decoding = Decoding(per_prompt=1, max_new_tokens=tokens, temperature=0.0)
    drawn = Decoding(per_prompt=2, max_new_tokens=tokens, temperature=1.0, top_p=0.95)
    tasks, tokenizer = _tasks(shape, count), plain_tokenizer()
    found: dict[str, Any] = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = make_model(shape, dtype=dtype, device=device)
        with torch.no_grad():  # few likely words, as after training: of thousands alike any rounding picks another
            model.get_input_embeddings().weight.mul_(3)
        for name, how in (("greedy", decoding), ("drawn", drawn)):
            both = [
                {s.id: s for s in sample_arm(model, tokenizer, tasks, decoding=how, arm="a", way=way)}
                for way in (Way.BATCHED, Way.SHARED)
            ]
            plain, shared = both
            alike = sum(shared[k].token_ids == s.token_ids for k, s in plain.items())
            common = [_common(s.token_ids or (), shared[k].token_ids or ()) for k, s in plain.items()]
            found[f"{name}, {str(dtype).removeprefix('torch.')}"] = {
                "samples": len(plain),
                "the same": alike,
                "tokens until they part": sum(common) / sum(s.tokens or 1 for s in plain.values()),
            }
        del model
    return found


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def sampling(setup: Setup, clock: Clock) -> None:
    """Both shapes, every variant, both of transformers' ways, and greedy tokens."""
    kept: dict[str, Any] = {}
    small: ShapeName = "tiny" if setup.rehearsed else "135m"
    large: ShapeName = "tiny" if setup.rehearsed else "1b"
    best = tuple(_VARIANTS)[:2]
    jobs: list[tuple[str, str, Callable[[], Any], float]] = [
        ("135m", "ours", lambda: _ours(small, setup, labels=tuple(_VARIANTS)[:3], seconds=60), 75),
        ("135m", "generate", lambda: _generate(small, setup, static=False), 40),
        ("135m", "generate, static cache, compiled", lambda: _generate(small, setup, static=True), 60),
        ("1b", "ours", lambda: _ours(large, setup, labels=best, seconds=40), 55),
        ("1b", "generate, static cache, compiled", lambda: _generate(large, setup, static=True), 50),
        ("135m", "tokens", lambda: _greedy(small, setup), 40),
        ("1b", "generate", lambda: _generate(large, setup, static=False), 30),
    ]
    if setup.quick:
        jobs = [job for job in jobs if job[0] == "135m" and job[1] in ("ours", "tokens")]
    for shape, name, work, limit in jobs:
        began = time.monotonic()
        result, failed = Clock(min(limit, clock.left)).run(name, work, least=8.0)
        kept.setdefault(shape, {})[name] = result if failed is None else {"failed": failed}
        print(
            f"({shape}, {name}: {time.monotonic() - began:.0f} s) {json.dumps(kept[shape][name])[:3000]}",
            flush=True,
        )
    for shape in kept:
        setup.page.add(_table(shape, kept[shape], rehearsed=setup.rehearsed))
    setup.page.keep("gpu-sampling.json", kept)


def _table(shape: str, kept: dict[str, Any], *, rehearsed: bool) -> str:
    title = f"### Sampling, {TITLES[shape]}" + (" (rehearsed: a tiny shape)" if rehearsed else "")
    lines = [title, "", "| | tokens/s | 4 x the prompts | peak GiB | first run |", "|---|---:|---:|---:|---:|"]
    notes = []
    ours = kept.get("ours", {})
    rows = {**({} if "failed" in ours else ours), **{k: v for k, v in kept.items() if k not in ("ours", "tokens")}}
    if "failed" in ours:
        rows["finetrial"] = ours
    for label, one in rows.items():
        if "failed" in one:
            lines.append(f"| {label} | not measured: {one['failed']} | | | |")
            continue
        many = one.get("four_times_the_prompts")
        peak = one.get("peak_bytes", 0) / 2**30
        more = "" if many is None else f"{many:,.0f}"
        first = one["first_run_seconds"]
        lines.append(f"| {label} | {one['tokens_per_second']:,.0f} | {more} | {peak:.1f} | {first:.1f} s |")
        if "paths" in one:
            step = ", ".join(f"{k} {v:.2f} ms" for k, v in one.get("step_ms", {}).items())
            notes.append(f"- {label}: {one['paths']}; graphs: {one['graphs']}; a step: {step}; {one['shares']}.")
            notes.append(f"  Slowest: {'; '.join(one['slowest'])}.")
    for name, one in kept.get("tokens", {}).items():
        if isinstance(one, dict):
            notes.append(
                f"- {name}: {one['the same']} of {one['samples']} samples have the tokens of padded batches; "
                f"{one['tokens until they part']:.1%} of the tokens stand before a difference."
            )
    return "\n".join([*lines, "", *notes])
