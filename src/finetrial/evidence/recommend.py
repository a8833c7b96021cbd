"""Recommend the cheapest arm that is shown to be within the margin of the best, or say what is missing.

An arm that is not shown to lie above what other prompts' references score is never recommended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from finetrial.evidence.cost import CostOrder
from finetrial.evidence.findings import Floor, MetricVsPeople, Recommendation
from finetrial.evidence.phrases import about, figure
from finetrial.evidence.verdict import Basis
from finetrial.metrics.mean_grade import GRADE
from finetrial.metrics.metric_table import metric_name
from finetrial.stats.comparison import Comparison
from finetrial.units import listing

_NO_COSTS = "Which arm is cheapest is not known here; `finetrial score FILE --cost` names the order."

# a comparison and how far its true difference lies from the bound in question -> the prompts that would settle it
Settle = Callable[[Comparison, float], int | None]


def _people_disagree(basis: Basis, *, people: Mapping[str, MetricVsPeople]) -> str:
    """The clause where the grades and the metric name different arms."""
    metric = next(iter(people), None) if basis.metric.name == GRADE else basis.metric.name
    found = people.get(metric) if metric is not None else None
    if found is None or metric is None or not found.ranking.best_by_grade:
        return ""
    by_score, by_grade = found.ranking.best_by_score, found.ranking.best_by_grade
    if set(by_score) & set(by_grade):
        return ""
    if basis.metric.name == GRADE:
        return f", although {metric_name(metric)} is best for {listing(by_score)}"
    return f", although the grades name {listing(by_grade)} best and not {listing(by_score)}"


def _at_worst(pair: Comparison) -> float:
    """How far the arm may fall short of the other, by the lower bound of the 95 % interval."""
    return max(0.0, -(pair.gain_low or 0.0))


def _shortfall(pair: Comparison) -> str:
    """lora is 0.050 lower, at worst 0.061"""
    assert pair.gain is not None
    worse = "higher" if pair.lower_is_better else "lower"
    text = f"{pair.a} is {figure(abs(pair.gain))} {worse if pair.gain < 0 else 'ahead'}"
    return text if pair.gain_low is None else f"{text}, at worst {figure(_at_worst(pair))}"


def _missing(pair: Comparison, *, margin: float, settle: Settle) -> str:
    """What would settle whether a cheaper arm is good enough."""
    if pair.gain is None or pair.gain_low is None:
        return f"{pair.a} has no bound against {pair.b}: {pair.reason}"
    distance = pair.gain + margin
    prompts = settle(pair, distance if distance > 0 else pair.gain)
    text = f"{pair.a} may be up to {figure(_at_worst(pair))} short of {pair.b}, by the 95 % interval"
    if prompts is None or prompts <= pair.n_units:  # the rule of thumb says that these should have done
        return text
    return f"{text}; about {about(prompts)} prompts would settle it"


def _no_arm(floor: Floor, basis: Basis) -> str:
    """The text where every arm is at the floor, with the bound that comes nearest to leaving it."""
    assert floor.value is not None
    name, sign = basis.metric.title, basis.metric.factor
    rows = {arm: basis.intervals[arm] for arm in floor.at if arm in basis.intervals}
    bounds = {arm: row.low if sign > 0 else row.high for arm, row in rows.items()}
    known = {arm: bound for arm, bound in bounds.items() if bound is not None}
    nearest = ""
    if known:
        arm = max(known, key=lambda name: sign * known[name])
        nearest = f" ({arm}'s comes nearest and {'begins' if sign > 0 else 'ends'} at {figure(known[arm])})"
    beyond = f"more than {figure(floor.margin)} {'above' if sign > 0 else 'below'} that"
    return (
        f"No arm does this task, and none is recommended: other prompts' references given as answers score "
        f"{figure(floor.value)} {name}, and no arm's 95 % interval lies {beyond}{nearest}."
    )


def recommend(
    basis: Basis,
    *,
    margin: float,
    costs: CostOrder | None,
    people: Mapping[str, MetricVsPeople],
    settle: Settle,
    floor: Floor | None = None,
) -> Recommendation | None:
    """The cheapest arm whose lower 95 % bound against the best exceeds minus the margin.

    No arm where all are at the floor, and never one that is. The best arm itself is recommended only where every
    cheaper one is shown to be worse. Where the order of costs is not known quality alone decides: the best arm is
    recommended where every other one is shown to be worse, and otherwise the text says which arms are within the
    margin. None with fewer than two arms.
    """
    order = basis.ranking
    known = () if costs is None else tuple(arm for arm in costs.arms if arm in order)
    shape: dict[str, Any] = {
        "margin": margin,
        "cost_order": known,
        "cost_basis": None if costs is None else costs.basis,
    }
    at_floor = () if floor is None else floor.at
    if order and floor is not None and set(order) <= set(at_floor):
        text = _no_arm(floor, basis)
        return Recommendation(None, text, outcome="floor", **shape)
    if len(order) < 2:
        return None
    best = order[0]
    pairs = {arm: pair for arm in order[1:] if (pair := basis.new.find(arm, best)) is not None}
    within = {arm for arm, pair in pairs.items() if pair.gain_low is not None and pair.gain_low > -margin}
    holds = within - set(at_floor)
    aside = _people_disagree(basis, people=people)
    if best in at_floor:
        text = f"No arm can be recommended yet: {best} has the best mean, and is not shown to do this task{aside}."
        return Recommendation(None, text, **shape)
    if costs is None:
        return _by_quality(basis, best=best, pairs=pairs, holds=holds, aside=aside, shape=shape)
    return _by_cost(
        basis, best=best, pairs=pairs, holds=holds, aside=aside, costs=costs, settle=settle, shape=shape
    )


def _by_quality(
    basis: Basis,
    *,
    best: str,
    pairs: Mapping[str, Comparison],
    holds: Collection[str],
    aside: str,
    shape: Mapping[str, Any],
) -> Recommendation:
    """Where the order of costs is not known."""
    others = [arm for arm in basis.ranking if arm != best]
    if len(pairs) == len(others) and all(pair.is_worse for pair in pairs.values()) and not holds:
        worse = listing([_shortfall(pair) for pair in pairs.values()])
        text = f"Take {best} by quality alone: every other arm is shown to be worse ({worse}){aside}. {_NO_COSTS}"
        return Recommendation(best, text, outcome="take", **shape)
    within = f"within {figure(shape['margin'])} {basis.metric.title} of {best}"
    known = {arm: pairs[arm].gain_low for arm in others if arm in pairs}
    nearest = max(
        (arm for arm, low in known.items() if low is not None), key=lambda arm: known[arm] or 0.0, default=None
    )
    said = f"No other arm is shown to be {within}"
    if nearest is not None and not holds:
        said += f" (the nearest, {nearest}, is at worst {figure(_at_worst(pairs[nearest]))} short)"
        shape = {**shape, "bound": known[nearest], "against": best}
    if holds:
        named = [arm for arm in others if arm in holds]
        bounds = listing([f"{arm} at worst {figure(_at_worst(pairs[arm]))} short" for arm in named])
        said = f"{listing(named)} {'is' if len(named) == 1 else 'are'} {within} ({bounds})"
    return Recommendation(None, f"{said}{aside}. {_NO_COSTS}", outcome="costs_unknown", **shape)


def _by_cost(
    basis: Basis,
    *,
    best: str,
    pairs: Mapping[str, Comparison],
    holds: Collection[str],
    aside: str,
    costs: CostOrder,
    settle: Settle,
    shape: Mapping[str, Any],
) -> Recommendation:
    """The cheapest arm that is good enough, in the order of costs."""
    known, margin, name = shape["cost_order"], shape["margin"], basis.metric.title
    below = [arm for arm in known[: known.index(best)] if arm not in costs.unknown]
    cheaper = [pairs[arm] for arm in below if arm in pairs]
    found = next((arm for arm in below if arm in holds), None)
    if found is not None:
        pair = pairs[found]
        text = (
            f"Take {found}, the cheapest arm that is shown to be good enough: at worst it is "
            f"{figure(_at_worst(pair))} {name} short of {best} (lower bound of the 95 % interval), and the margin "
            f"is {figure(margin)}{aside}. Cheapest by {costs.basis}."
        )
        for other in (d for d in cheaper if known.index(d.a) < known.index(found) and not d.is_worse):
            if other.a in holds or other.gain_low is None or other.gain_low <= -margin:
                missing = _missing(other, margin=margin, settle=settle)
                text += f" Whether {other.a}, which is cheaper, is good enough is open: {missing}."
            else:
                text += f" {other.a}, which is cheaper, is within the margin too, but not shown to do this task."
        return Recommendation(found, text, outcome="take", bound=pair.gain_low, against=best, **shape)
    if not cheaper:
        text = f"Take {best}: it has the best mean {name}, and {_dearer(costs, best=best, among=known)}{aside}."
        return Recommendation(best, text, outcome="take", **shape)
    if all(pair.is_worse for pair in cheaper):
        worse = listing([_shortfall(pair) for pair in cheaper])
        text = f"Take {best}: no cheaper arm comes within {figure(margin)} ({worse}){aside}."
        text += f" Cheaper by {costs.basis}."
        bound = max((pair.gain_low for pair in cheaper if pair.gain_low is not None), default=None)
        return Recommendation(best, text, outcome="take", bound=bound, against=best, **shape)
    first = next(pair for pair in cheaper if not pair.is_worse)
    text = (
        f"No arm can be recommended yet: {best} has the best mean, and no cheaper arm (by {costs.basis}) is "
        f"shown to be within {figure(margin)} {name} of it{aside}. {_missing(first, margin=margin, settle=settle)}."
    )
    return Recommendation(None, text, bound=first.gain_low, against=best, **shape)


def _dearer(costs: CostOrder, *, best: str, among: tuple[str, ...]) -> str:
    """What is known of the cost of the arms that are not the best one, which is the cheapest."""
    unknown = [arm for arm in among if arm in costs.unknown and arm != best]
    others = [arm for arm in among if arm not in costs.unknown and arm != best]
    missing = f"what {listing(unknown)} cost is not known" if unknown else ""
    if not others:
        return missing
    subject = "the others cost" if len(others) > 1 else f"{others[0]} costs"
    return f"{subject} more (by {costs.basis})" + (f"; {missing}" if unknown else "")
