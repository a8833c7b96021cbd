"""Say a plan in a few lines: what a run begins with, and what its error proposes."""

from __future__ import annotations

from finetrial.store.plan_record import Plan
from finetrial.units import format_bytes, format_seconds


def first_lines(plan: Plan) -> tuple[str, ...]:
    """Memory, disk, time and price of the whole run, and each arm's part."""
    rough = "" if all(arm.rates_are in (None, "measured") for arm in plan.arms.values()) else "roughly "
    parts = []
    if plan.needed_bytes is not None:
        there = "" if plan.device.memory_bytes is None else f" of {format_bytes(plan.device.memory_bytes)}"
        parts.append(f"{format_bytes(plan.needed_bytes)}{there} of memory")
    if plan.disk_bytes is not None:
        parts.append(f"{format_bytes(plan.disk_bytes)} of disk")
    parts.append("time unknown" if plan.total_seconds is None else f"{rough}{format_seconds(plan.total_seconds)}")
    if plan.money is not None:
        parts.append(f"{plan.money:,.2f} at the hour's price")
    if plan.kilowatt_hours is not None:
        parts.append(f"{plan.kilowatt_hours:.3g} kWh")
    return (f"plan: {', '.join(parts)}", *(f"plan: {line}" for line in _misfits(plan)))


def _misfits(plan: Plan) -> tuple[str, ...]:
    return tuple(f"{line}: does not fit" for line in plan.misfits)


def misfit_fix(plan: Plan) -> str:
    """The least intrusive change that makes the first misfit fit; else what there is to do."""
    for name, arm in plan.arms.items():
        if arm.memory is None or arm.memory.fits is not False:
            continue
        fitting = [change for change in arm.memory.changes if change.fits]
        if fitting:
            return f"{name} would fit with {fitting[0].change}."
        return (
            f"For {name} no change of the trial file suffices: take a smaller model or a device with more memory."
        )
    return "Free some disk, or allow more hours."
