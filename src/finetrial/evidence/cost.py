"""Order the arms by what tuning and serving them costs.

An arm costs its tuning, the search for its learning rate included, and `judging.requests` requests as they were
measured. In money where `prices` allow it for every arm; else in FLOPs where they are known of every arm; else in
seconds; else the order is that of the methods: the base as it is, examples in the prompt, LoRA, everything tuned.
One unit serves for all arms. What was tuned elsewhere has an unknown cost: it stands last and is named. Where every
arm came from elsewhere there is no order, unless the arms are called after their methods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from finetrial.errors import UserError, unknown_name
from finetrial.evidence.findings import ArmCost, BreakEven, Costs
from finetrial.methods.method import Method, TunedMethod
from finetrial.methods.method_table import METHODS, cost_rank
from finetrial.trial.schema import Prices

_ROUNDING = 1e-9  # relative; a double's division may end just above a whole number
Unit = Literal["money", "FLOPs", "seconds"]
UNITS: tuple[Unit, ...] = ("money", "FLOPs", "seconds")


@dataclass(frozen=True, slots=True)
class CostOrder:
    """The arms, cheapest first, and by what."""

    arms: tuple[str, ...]
    basis: str
    unknown: tuple[str, ...] = ()  # those at the end whose cost nobody knows


def _number(figures: Mapping[str, Any], key: str) -> float | None:
    value = figures.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _sum(*parts: float | None) -> float | None:
    known = [part for part in parts if part is not None]
    return math.fsum(known) if len(known) == len(parts) else None


def _product(*factors: float | None) -> float | None:
    known = [factor for factor in factors if factor is not None]
    return math.prod(known) if len(known) == len(factors) else None


def arm_cost(method: Method, *, figures: Mapping[str, Any], prices: Prices) -> ArmCost:
    """What an arm takes. `figures` are measured or planned ones, with measured.json's keys.

    Time costs what the machine's hour costs; a request costs its tokens where both token prices are given, else its
    time.
    """
    search_flops, search_seconds = (_number(figures, f"search_{what}") for what in ("flops", "seconds"))
    flops: float | None = 0.0
    seconds: float | None = 0.0
    if method.is_from_elsewhere:
        flops = seconds = None  # who serves a model has its price alone: nothing was tuned for it
    elif isinstance(method, TunedMethod):
        searched = search_seconds is not None or search_flops is not None
        of_search = (search_flops, search_seconds) if searched else (0.0, 0.0)
        flops = _sum(_number(figures, "flops_total"), _number(figures, "evaluation_flops") or 0.0, of_search[0])
        seconds = _sum(_number(figures, "tune_seconds"), of_search[1])
    read, made = (_number(figures, f"request_{what}_tokens") for what in ("prompt", "generated"))
    request_seconds = _number(figures, "request_seconds")
    by_tokens = prices.input_million is not None and prices.output_million is not None
    own_money = _number(figures, "request_money") if method.is_answered_elsewhere else None
    of_tokens = _sum(_product(read, prices.input_million, 1e-6), _product(made, prices.output_million, 1e-6))
    return ArmCost(
        tuning_flops=flops,
        tuning_seconds=seconds,
        tuning_money=0.0 if seconds == 0.0 or own_money is not None else _product(seconds, prices.hour, 1 / 3600),
        search_flops=search_flops,
        search_seconds=search_seconds,
        request_prompt_tokens=read,
        request_generated_tokens=made,
        request_flops=_number(figures, "request_flops"),
        request_seconds=request_seconds,
        request_money=own_money
        if own_money is not None
        else of_tokens
        if by_tokens
        else _product(request_seconds, prices.hour, 1 / 3600),
    )


def tuning_and_request(cost: ArmCost, *, unit: Unit) -> tuple[float | None, float | None]:
    """What tuning an arm takes, and one request, in one unit."""
    match unit:
        case "money":
            return cost.tuning_money, cost.request_money
        case "FLOPs":
            return cost.tuning_flops, cost.request_flops
        case "seconds":
            return cost.tuning_seconds, cost.request_seconds


def _total(cost: ArmCost, *, unit: Unit, requests: int) -> float | None:
    tuning, request = tuning_and_request(cost, unit=unit)
    return tuning if requests == 0 else _sum(tuning, _product(request, float(requests)))


def _break_even(
    costs: Mapping[str, ArmCost], *, methods: Mapping[str, Method], unit: Unit | None
) -> tuple[BreakEven, ...]:
    """Every tuned arm against every prompted one: the least n with tuning + n requests <= n of the other's."""
    if unit is None:
        return ()
    found = []
    for arm in (arm for arm, method in methods.items() if isinstance(method, TunedMethod)):
        for other in (arm for arm, method in methods.items() if method.is_a_prompt):
            tuning, own = tuning_and_request(costs[arm], unit=unit)
            _, theirs = tuning_and_request(costs[other], unit=unit)
            if tuning is None or own is None or theirs is None:
                found.append(BreakEven(arm, other, None, False, f"not known in {unit}"))
            elif own >= theirs:
                found.append(BreakEven(arm, other, None, True, "serving it is not cheaper"))
            else:
                requests = math.ceil(tuning / (theirs - own) * (1 - _ROUNDING))
                found.append(BreakEven(arm, other, requests, False))
    return tuple(found)


def trial_costs(
    methods: Mapping[str, Method], *, figures: Mapping[str, Mapping[str, Any]], prices: Prices, requests: int
) -> Costs:
    """What each of a trial's arms costs, in the first unit that is known of every arm that was tuned here or not at
    all."""
    costs = {arm: arm_cost(method, figures=figures.get(arm, {}), prices=prices) for arm, method in methods.items()}
    here = [arm for arm, method in methods.items() if not method.is_from_elsewhere]
    watt_hours = {
        arm: _product(_total(cost, unit="seconds", requests=requests), prices.watts, 1 / 3600)
        for arm, cost in costs.items()
        if prices.watts is not None
    }
    for unit in UNITS:
        totals = {arm: _total(cost, unit=unit, requests=requests) for arm, cost in costs.items()}
        if here and all(totals[arm] is not None for arm in here):
            serving = f" plus {requests:,} request{'s' * (requests != 1)}" if requests else " alone"
            basis = f"tuning{serving}, in {unit}"
            paid = _break_even(costs, methods=methods, unit=unit)
            return Costs(basis, unit, requests, costs, totals, watt_hours, paid)
    return Costs("method", None, requests, costs, dict.fromkeys(methods), watt_hours, ())


def cost_order(methods: Mapping[str, Method], *, costs: Costs) -> CostOrder | None:
    """A trial's arms, cheapest first; arms that cost the same stand in the order of their methods.

    None where every arm was tuned elsewhere and not all are called after methods.
    """
    rank = {arm: cost_rank(method) for arm, method in methods.items()}
    elsewhere = [arm for arm, method in methods.items() if method.is_from_elsewhere]
    unknown = tuple(arm for arm in elsewhere if costs.totals[arm] is None)
    if len(elsewhere) == len(methods):
        return order_by_names(tuple(methods))
    order = sorted(methods, key=lambda arm: (arm in unknown, costs.totals[arm] or 0.0, rank[arm]))
    return CostOrder(tuple(order), costs.basis, unknown)


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
    known = [method.name for method in METHODS if not method.is_from_elsewhere]
    if len(arms) < 2 or not set(arms) <= set(known):
        return None
    return CostOrder(tuple(sorted(arms, key=known.index)), "the arms' names")
