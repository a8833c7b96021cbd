"""Show a plan: a table of arms, the whole run, what does not fit, grading, serving. Within 80 columns."""

from __future__ import annotations

import textwrap

from finetrial.store.plan_record import ArmPlan, Plan, StepKind
from finetrial.units import format_bytes, format_count, format_seconds

WIDTH = 80
_TITLES: dict[StepKind, str] = {
    "start": "starting",
    "data": "reading the data",
    "search": "search for the learning rate",
    "tune": "tuning",
    "sample": "sampling and losses",
    "score": "scoring",
    "report": "report",
}


def _fill(text: str, *, indent: str = "") -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
    )


def _time(value: float | None) -> str:
    return "?" if value is None else format_seconds(value)


def _size(value: float | None) -> str:
    return "?" if value is None else format_bytes(value, digits=3)


def print_plan(plan: Plan) -> None:
    """The plan for people."""
    memory = "" if plan.device.memory_bytes is None else f", {format_bytes(plan.device.memory_bytes)}"
    each = " each" if memory and plan.device.count > 1 else ""
    name = plan.device.name if plan.device.count == 1 else f"{plan.device.count} x {plan.device.name}"
    print(_fill(f"{plan.trial} on {name}{memory}{each}, {plan.precision}, lengths {plan.lengths}"))
    print()
    _print_arms(plan)
    print()
    _print_steps(plan)
    _print_fit(plan)
    _print_grading(plan)
    _print_serving(plan)
    if plan.notes:
        print()
    for note in plan.notes:
        print(_fill(note))


def _print_arms(plan: Plan) -> None:
    width = max(8, *(len(name) for name in plan.arms))
    heads = ("memory", "fits", "at once", "tokens/s", "search", "tune", "sample", "disk")
    print(f"{'arm':<{width}}" + "".join(f"{head:>9}" for head in heads))
    for name, arm in plan.arms.items():
        cells = _cells(plan, name, arm)
        print(f"{name:<{width}}" + "".join(f"{cell:>9}" for cell in cells))
    for name, arm in plan.arms.items():
        print(_fill(f"{name}: {_setting(plan, arm)}", indent="  "))
    _print_traced(plan)


def _print_traced(plan: Plan) -> None:
    """Tensors at the peak of tuning: as the model's own step shows them, and as they were counted."""
    for name, arm in plan.arms.items():
        memory = arm.memory
        if memory is None or not memory.traced_bytes or memory.training_bytes is None:
            continue
        error = memory.training_bytes / memory.traced_bytes - 1
        print(
            _fill(
                f"{name}: tensors at the peak of tuning {format_bytes(memory.traced_bytes)} as its own step was "
                f"followed, {format_bytes(memory.training_bytes)} as counted ({error:+.1%})",
                indent="  ",
            )
        )


def _cells(plan: Plan, name: str, arm: ArmPlan) -> tuple[str, ...]:
    memory = arm.memory
    if memory is None:
        return ("?",) * 8
    fits = "–" if memory.fits is None else "yes" if memory.fits else "no"
    tuned = memory.micro_tokens is not None

    def seconds(kind: StepKind) -> str:
        steps = [step for step in plan.steps if step.kind == kind and step.arm == name]
        if not steps:
            return "–"
        return _short(steps[0].seconds)

    return (
        _size(memory.needed_bytes).replace(" ", "")[:8],
        fits,
        f"{memory.micro_tokens:,}" if memory.micro_tokens is not None else "–",
        "–" if not tuned or arm.tokens_per_second is None else format_count(arm.tokens_per_second, digits=3),
        seconds("search"),
        seconds("tune"),
        seconds("sample"),
        "–" if arm.disk_bytes is None else _size(arm.disk_bytes).replace(" ", "")[:8],
    )


def _short(value: float | None) -> str:
    """A duration within eight characters: 12s, 3m05s, 2h07m."""
    if value is None:
        return "?"
    return (
        format_seconds(value)
        .replace(" min ", "m")
        .replace(" h ", "h")
        .replace(" d ", "d")
        .replace(" min", "m")
        .replace(" s", "s")
        .replace(" h", "h")
    )


def _setting(plan: Plan, arm: ArmPlan) -> str:
    if arm.memory is None:
        return f"{arm.method}; not planned: {arm.reason}"
    memory = arm.memory
    parts = [arm.method]
    if memory.micro_tokens is not None:
        parts.append(f"micro-batch of {memory.micro_tokens:,} tokens")
        parts.append("activations recomputed" if memory.checkpointing else "no recomputation")
        if plan.device.count > 1:
            parts.append("weights shared out" if memory.sharded else "every device holds everything")
        parts.append(f"examples up to {memory.length:,} tokens")
    else:
        parts.append(f"prompt and answer up to {memory.length:,} tokens")
    parts.append(f"{memory.sequences} sequences sampled at once")
    return ", ".join(parts)


def _print_steps(plan: Plan) -> None:
    print("the whole run")
    for kind, title in _TITLES.items():
        steps = [step for step in plan.steps if step.kind == kind]
        if steps:
            print(f"  {title:<32} {_time(plan.seconds_of(kind)):>14}")
    rough = any(arm.rates_are in ("table", "assumed") for arm in plan.arms.values())
    print(f"  {'in all' + (', roughly' if rough else ''):<32} {_time(plan.total_seconds):>14}")
    print(f"  {'disk, at most':<32} {_size(plan.disk_bytes):>14}")
    if plan.kilowatt_hours is not None:
        print(f"  {'energy':<32} {plan.kilowatt_hours:>10.3g} kWh")
    if plan.money is not None:
        print(f"  {'price of the hours':<32} {plan.money:>14,.2f}")


def _print_fit(plan: Plan) -> None:
    print()
    if plan.fits is None:
        print(_fill("Whether it fits is not known: give --memory, or --device by name."))
    elif plan.fits:
        spare = (plan.device.memory_bytes or 0) - (plan.needed_bytes or 0)
        print(_fill(f"It fits, with {format_bytes(spare)} of memory to spare."))
    else:
        for misfit in plan.misfits:
            print(_fill(f"It does not fit: {misfit}."))
    for name, arm in plan.arms.items():
        if arm.memory is None or arm.memory.fits is not False:
            continue
        print(f"what {name} needs with")
        for change in arm.memory.changes:
            says = "fits" if change.fits else "does not fit"
            print(_fill(f"{change.change}: {format_bytes(change.needed_bytes)}, {says}", indent="  "))
        if not any(change.fits for change in arm.memory.changes):
            print(_fill("No change of the trial file suffices: a smaller model, or more memory.", indent="  "))


def _print_grading(plan: Plan) -> None:
    grading = plan.grading
    if grading is None:
        return
    print()
    raters = f" for each of {grading.raters} raters" if grading.raters > 1 else ""
    print(
        _fill(
            f"Grading: {grading.prompts} prompts, {grading.samples} samples, about "
            f"{format_seconds(grading.seconds)}{raters}."
        )
    )
    if grading.units_needed is not None:
        points = round(100 * grading.difference)
        print(
            _fill(
                f"{grading.units_needed} prompts find a true difference of {points} points in 100 four times in "
                f"five ({grading.assumption}; every pair, Holm)."
            )
        )
    if grading.least_p is not None and grading.least_p > 0.05:
        print(
            _fill(
                f"{grading.prompts} prompts cannot show any difference: the least p that they can reach is "
                f"{grading.least_p:.2g} after Holm's correction."
            )
        )


def _print_serving(plan: Plan) -> None:
    unit = plan.serving_unit
    if unit is None or not plan.serving_requests:
        return
    print()
    print(f"serving {plan.serving_requests:,} requests, in {unit}")
    for row in plan.serving:
        print(f"  {row.arm:<20} {_amount(row.requests, unit):>14}   with tuning {_amount(row.total, unit):>14}")
    for one in plan.break_even:
        if one.requests is not None:
            says = f"has paid for itself after {one.requests:,} requests"
        else:
            says = f"never pays for itself: {one.reason}"
        print(_fill(f"{one.arm} against {one.against} {says}.", indent="  "))


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return "?"
    match unit:
        case "seconds":
            return format_seconds(value)
        case "FLOPs":
            return f"{value:.3g}"
    return f"{value:,.2f}"
