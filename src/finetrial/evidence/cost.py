"""Which arm is cheaper than which?

By the FLOPs of tuning where every arm's are known, measured or planned; else by the seconds of tuning; else by the
method: the base as it is, examples in the prompt, LoRA, everything tuned. What was tuned elsewhere has an unknown
cost: it stands last and is named. Where every arm came from elsewhere there is no order, unless the arms are called
after their methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetrial.errors import UserError, unknown_name
from finetrial.trial.schema import Method

_BY_METHOD = (Method.BASE, Method.PROMPTED, Method.LORA, Method.FULL, Method.EXTERNAL)


@dataclass(frozen=True, slots=True)
class CostOrder:
    """The arms, cheapest first, and by what."""

    arms: tuple[str, ...]
    basis: str
    unknown: tuple[str, ...] = ()  # those at the end whose cost nobody knows


def cost_order(kinds: Mapping[str, Method], *, figures: Mapping[str, Mapping[str, Any]]) -> CostOrder | None:
    """Order a trial's arms. `figures` are each arm's measured or planned ones, with measured.json's keys.

    Arms that cost the same (base and prompted: nothing is tuned) stand in the order of their methods. None where
    nothing is known of any arm's cost.
    """
    rank = {arm: _BY_METHOD.index(kind) for arm, kind in kinds.items()}
    here = [arm for arm, kind in kinds.items() if kind is not Method.EXTERNAL]
    if not here:
        return order_by_names(tuple(kinds))
    unknown = tuple(arm for arm in kinds if arm not in here)
    for key, basis in (("flops_total", "FLOPs of tuning"), ("tune_seconds", "seconds of tuning")):
        costs = {arm: _cost(kinds[arm], figures.get(arm, {}), key=key) for arm in here}
        if all(cost is not None for cost in costs.values()):
            order = sorted(kinds, key=lambda arm: (arm not in costs, costs.get(arm) or 0.0, rank[arm]))
            return CostOrder(tuple(order), basis, unknown)
    return CostOrder(tuple(sorted(kinds, key=rank.__getitem__)), "method", unknown)


def _cost(kind: Method, figures: Mapping[str, Any], *, key: str) -> float | None:
    if kind in (Method.BASE, Method.PROMPTED):
        return 0.0
    value = figures.get(key)
    return float(value) if isinstance(value, (int, float)) else None


def stated_order(stated: Sequence[str], *, arms: Sequence[str]) -> CostOrder:
    """The order that a user states, cheapest first; every arm stands in it once."""
    for name in stated:
        if name not in arms:
            raise unknown_name("arm in the order of costs", name, arms)
    if len(set(stated)) != len(stated) or set(stated) != set(arms):
        missing = [arm for arm in arms if arm not in stated]
        raise UserError(
            "the order of costs names every arm once, cheapest first",
            got=",".join(stated),
            expected=f"{', '.join(missing)} too" if missing else "no arm twice",
        )
    return CostOrder(tuple(stated), "the order given")


def order_by_names(arms: Sequence[str]) -> CostOrder | None:
    """The order of arms that are called after their methods; None where any is not."""
    known = {method.value: method for method in _BY_METHOD if method is not Method.EXTERNAL}
    if len(arms) < 2 or not set(arms) <= set(known):
        return None
    return CostOrder(tuple(sorted(arms, key=lambda arm: _BY_METHOD.index(known[arm]))), "the arms' names")
