"""Show what training needs: a table of bytes, the moments, the verdict, what would make it fit, and the time."""

from __future__ import annotations

import textwrap
from typing import Any

from finetrial.footprint.adapters import Full, Matrices, Method
from finetrial.footprint.beside import Beside
from finetrial.footprint.estimates import TrainingFootprint
from finetrial.footprint.explain import Step, as_text
from finetrial.footprint.memory_plan import MemoryPlan, Remedy
from finetrial.footprint.step_seconds import Rates, StepTime, price_of
from finetrial.footprint.tape_values import Peak
from finetrial.units import format_bytes, format_count, format_seconds

_COLUMNS = 80


def _fill(text: str, *, indent: str = "") -> str:
    """The text in lines that fit a terminal; names of options are not broken."""
    return textwrap.fill(
        text,
        width=_COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _words(method: Method) -> str:
    match method:
        case Full():
            return "every parameter"
        case Matrices(targets=targets):
            return f"the matrices {', '.join(targets)}"
        case Beside():
            return f"{method.words} on {', '.join(method.targets)}"


def _step_moments(plan: MemoryPlan) -> list[Peak]:
    """The step's moments with its layers' backward as one: the highest of them."""
    layers = [m for m in plan.training.moments if m.moment.startswith("backward of layer")]
    others = [m for m in plan.training.moments if m not in layers and not m.moment.startswith("layer")]
    named = {m.moment: m for m in others}
    rows = [named[name] for name in ("end of forward, at the loss",) if name in named]
    if layers:
        rows.append(max(layers, key=lambda m: m.total_bytes))
    rows.append(named["optimizer step"])
    return rows


def training_json(
    found: TrainingFootprint,
    *,
    tokens: float | None,
    hour: float | None,
    method: str,
    targets: tuple[str, ...],
    rank: int | None,
    device: str | None,
) -> dict[str, Any]:
    """The answer as one object."""
    shape, plan, time, rates = found.shape, found.plan, found.time, found.rates
    training, memory = plan.training.training, plan.training
    content: dict[str, Any] = {
        "model": shape.name,
        "method": method,
        "targets": targets or None,
        "rank": rank,
        "length": training.length,
        "micro_batch": training.rows,
        "dtype": training.dtype,
        "optimizer": training.optimizer,
        "checkpointing": training.checkpointing,
        "quantize": training.quantize,
        "device": device,
        "devices": training.devices,
        "sharded": training.sharded,
        "trained_parameters": memory.trained_parameters,
        "peak_moment": memory.peak.moment,
        "peak_bytes": memory.total_bytes,
        "parts": memory.parts,
        "moments": {m.moment: m.total_bytes for m in memory.moments},
        "reserved_bytes": memory.reserved_bytes,
        "evaluation_bytes": plan.evaluation.total_bytes,
        "sampling_bytes": plan.sampling.total_bytes,
        "sequences_at_once": found.sequences,
        "overhead_bytes": plan.overhead_bytes,
        "needed_bytes": plan.needed_bytes,
        "memory_bytes": found.memory_bytes,
        "fits": found.fits,
        "changes": [
            {"change": c.change, "needed_bytes": c.needed_bytes, "saved_bytes": c.saved_bytes, "fits": c.fits}
            for c in found.changes
        ],
        "time": None,
    }
    if time is not None and rates is not None:
        content["time"] = {
            "flops": time.flops,
            "micro_batch_seconds": time.micro_batch_seconds,
            "optimizer_seconds": time.optimizer_seconds,
            "pass_link_seconds": time.pass_link_seconds,
            "step_link_seconds": time.step_link_seconds,
            "link_source": rates.link_source if training.devices > 1 else None,
            "tokens_per_second": time.tokens_per_second(),
            "is_rough": rates.is_rough,
            "source": rates.source,
            "run": None if tokens is None else price_of(time.seconds_for(tokens), watts=rates.watts, hour=hour),
        }
    return content


def print_training(
    found: TrainingFootprint,
    *,
    tokens: float | None,
    hour: float | None,
    device: str | None,
    explanation: list[Step],
) -> None:
    """The answer for people."""
    shape, plan, time, rates = found.shape, found.plan, found.time, found.rates
    memory_bytes, changes, sequences = found.memory_bytes, found.changes, found.sequences
    training, memory = plan.training.training, plan.training
    base = f", base in {training.quantize}" if training.quantize else ""
    again = ", activations recomputed" if training.checkpointing else ""
    if training.devices > 1:
        shares = "share out what is trained" if training.sharded else "hold everything each"
        again += f"; {training.devices} devices {shares}"
    examples = f"{training.rows} x {training.length:,} tokens a pass"
    print(_fill(f"{shape.name}: {_words(training.method)}{base}, {training.dtype}, {training.optimizer}{again}"))
    print(f"  {examples}, {format_count(memory.trained_parameters)} parameters trained\n")
    print(f"  {'at the peak, ' + memory.peak.moment:<44} {'bytes':>18}")
    for name, size in memory.parts.items():
        print(f"    {name:<42} {size:>18,}  {format_bytes(size):>10}")
    _row("tensors of training", memory.total_bytes)
    print()
    for moment in _step_moments(plan):
        _row(moment.moment, moment.total_bytes)
    _row("evaluation", plan.evaluation.total_bytes)
    _row("sampling one sequence", plan.sampling.total_bytes)
    print()
    _row("largest of these", plan.largest.total_bytes)
    beside = "segments and CUDA's context" if training.device == "cuda" else "libraries and heap of the process"
    _row(beside, plan.overhead_bytes)
    _row("needed", plan.needed_bytes)
    if memory_bytes is not None:
        _row(f"there is{f' on {device}' if device else ''}", memory_bytes)
        verdict = _verdict(plan, memory_bytes=memory_bytes, fits=bool(found.fits), changes=changes)
        print("\n" + _fill(verdict))
    if changes:
        print()
        for change in changes:
            says = "fits" if change.fits else "does not fit"
            saved, needs = format_bytes(change.saved_bytes), format_bytes(change.needed_bytes)
            print(_fill(change.change, indent="  "))
            print(f"    saves {saved}, needs {needs}: {says}")
    if sequences:
        print(f"\n  Sampling: {sequences:,} sequences of {training.length:,} tokens fit at once.")
    if time is not None and rates is not None:
        _print_time(time, rates=rates, tokens=tokens, hour=hour)
    if explanation:
        print("\n" + as_text(explanation))


def _row(name: str, size: int) -> None:
    print(f"  {name:<44} {size:>18,}  {format_bytes(size):>10}")


def _verdict(plan: MemoryPlan, *, memory_bytes: int, fits: bool, changes: tuple[Remedy, ...]) -> str:
    if fits:
        return f"It fits, with {format_bytes(memory_bytes - plan.needed_bytes)} to spare."
    short = format_bytes(plan.needed_bytes - memory_bytes)
    alone = plan.training_needed_bytes
    if alone <= memory_bytes:  # a quantised base is sampled at full width
        other = "sampling" if plan.largest is plan.sampling else "evaluation"
        what = f"It does not fit: {short} too much, in {other}. "
        would = f"Training alone needs {format_bytes(alone)} and would fit."
        return what + would + (" What would help:" if changes else "")
    if any(change.fits for change in changes):
        return f"It does not fit: {short} too much. What would change that:"
    if changes:
        return f"It does not fit: {short} too much, and nothing known here makes it fit. What would help:"
    return f"It does not fit: {short} too much, and nothing known here would help."


def _print_time(time: StepTime, *, rates: Rates, tokens: float | None, hour: float | None) -> None:
    rough = "roughly " if rates.is_rough else ""
    speed = format_count(time.tokens_per_second(), digits=3)
    sent = time.pass_link_seconds + time.step_link_seconds
    step = format_seconds(time.micro_batch_seconds + time.optimizer_seconds + sent)
    print(f"\n  Time: {rough}{step} a step of one pass, {speed} tokens a second")
    print(_fill(f"({rates.source})", indent="    "))
    if time.devices > 1:
        says = f"of it {format_seconds(sent)} sending between {time.devices} devices ({rates.link_source})"
        print(_fill(says, indent="    "))
    if tokens is None:
        return
    price = price_of(time.seconds_for(tokens), watts=rates.watts, hour=hour)
    said = [format_seconds(price.seconds)]
    if price.kilowatt_hours is not None:
        said.append(f"{price.kilowatt_hours:.3g} kWh")
    if price.money is not None:
        said.append(f"{price.money:,.2f} at {hour:g} an hour")
    print(f"    {format_count(tokens)} tokens: {', '.join(said)}")
