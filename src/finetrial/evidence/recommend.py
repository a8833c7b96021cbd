"""Recommend the cheapest arm that is shown to be within the margin of the best, or say what is missing.

An arm that is not shown to lie above what other prompts' references score is never recommended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from finetrial.evidence.cost import CostOrder
from finetrial.evidence.duels import Duel, ranking
from finetrial.evidence.findings import Floor, MetricVsPeople, Recommendation
from finetrial.evidence.verdict import Ground
from finetrial.evidence.words import about, figure, listing
from finetrial.metrics.all import metric_name
from finetrial.metrics.grades import GRADE

_NO_COSTS = "Which arm is cheapest is not known here; `finetrial score FILE --cost` names the order."

# a comparison and how far its true difference lies from the bound in question -> the prompts that would settle it
Settle = Callable[[Duel, float], int | None]


def _people_disagree(ground: Ground, *, people: Mapping[str, MetricVsPeople]) -> str:
    """The clause where the grades and the metric name different arms."""
    metric = next(iter(people), None) if ground.metric == GRADE else ground.metric
    found = people.get(metric) if metric is not None else None
    if found is None or metric is None or not found.ranking.best_by_grade:
        return ""
    by_score, by_grade = found.ranking.best_by_score, found.ranking.best_by_grade
    if set(by_score) & set(by_grade):
        return ""
    if ground.metric == GRADE:
        return f", although {metric_name(metric)} is highest for {listing(by_score)}"
    return f", although people's grades name {listing(by_grade)} best and not {listing(by_score)}"


def _at_worst(duel: Duel) -> float:
    """How far the arm may fall short of the other, by the lower bound of the 95 % interval."""
    return max(0.0, -(duel.low or 0.0))


def _shortfall(duel: Duel) -> str:
    """lora is 0.050 short, at worst 0.061"""
    assert duel.gain is not None
    text = f"{duel.arm} is {figure(abs(duel.gain))} {'short' if duel.gain < 0 else 'ahead'}"
    return text if duel.low is None else f"{text}, at worst {figure(_at_worst(duel))}"


def _missing(duel: Duel, *, margin: float, settle: Settle) -> str:
    """What would settle whether a cheaper arm is good enough."""
    if duel.gain is None or duel.low is None:
        return f"{duel.arm} has no bound against {duel.other}: {duel.pair.reason}"
    distance = duel.gain + margin
    prompts = settle(duel, distance if distance > 0 else duel.gain)
    text = f"{duel.arm} may be up to {figure(_at_worst(duel))} short of {duel.other}, by the 95 % interval"
    if prompts is None or prompts <= duel.n_units:  # the rule of thumb says that these should have done
        return text
    return f"{text}; about {about(prompts)} prompts would settle it"


def _is_worse(duel: Duel) -> bool:
    """Whether the arm is shown to be worse than the other."""
    return duel.is_told and (duel.gain or 0) < 0


def _no_arm(floor: Floor, *, name: str, sign: float) -> str:
    assert floor.value is not None
    beyond = f"more than {figure(floor.margin)} {'above' if sign > 0 else 'below'} that"
    return (
        f"No arm does this task, and none is recommended: other prompts' references given as answers score "
        f"{figure(floor.value)} {name}, and no arm's 95 % interval lies {beyond}."
    )


def recommend(
    ground: Ground,
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
    order = ranking(ground.intervals, sign=ground.sign)
    known = () if costs is None else tuple(arm for arm in costs.arms if arm in order)
    shape: dict[str, Any] = {
        "margin": margin,
        "cost_order": known,
        "cost_basis": None if costs is None else costs.basis,
    }
    at_floor = () if floor is None else floor.at
    if order and floor is not None and set(order) <= set(at_floor):
        text = _no_arm(floor, name=metric_name(ground.metric), sign=ground.sign)
        return Recommendation(None, text, outcome="floor", **shape)
    if len(order) < 2:
        return None
    best = order[0]
    duels = {arm: duel for arm in order[1:] if (duel := ground.new.find(arm, best)) is not None}
    holds = {arm for arm, duel in duels.items() if duel.low is not None and duel.low > -margin} - set(at_floor)
    aside = _people_disagree(ground, people=people)
    if best in at_floor:
        text = f"No arm can be recommended yet: {best} has the best mean, and is not shown to do this task{aside}."
        return Recommendation(None, text, **shape)
    if costs is None:
        return _by_quality(ground, best=best, duels=duels, holds=holds, aside=aside, shape=shape)
    return _by_cost(
        ground, best=best, duels=duels, holds=holds, aside=aside, costs=costs, settle=settle, shape=shape
    )


def _by_quality(
    ground: Ground,
    *,
    best: str,
    duels: Mapping[str, Duel],
    holds: Collection[str],
    aside: str,
    shape: Mapping[str, Any],
) -> Recommendation:
    """Where the order of costs is not known."""
    others = [arm for arm in ranking(ground.intervals, sign=ground.sign) if arm != best]
    if len(duels) == len(others) and all(_is_worse(duel) for duel in duels.values()) and not holds:
        worse = listing([_shortfall(duel) for duel in duels.values()])
        text = f"Take {best} by quality alone: every other arm is shown to be worse ({worse}){aside}. {_NO_COSTS}"
        return Recommendation(best, text, outcome="take", **shape)
    within = f"within {figure(shape['margin'])} {metric_name(ground.metric)} of {best}"
    said = f"No other arm is shown to be {within}"
    if holds:
        named = [arm for arm in others if arm in holds]
        bounds = listing([f"{arm} at worst {figure(_at_worst(duels[arm]))} short" for arm in named])
        said = f"{listing(named)} {'is' if len(named) == 1 else 'are'} {within} ({bounds})"
    return Recommendation(None, f"{said}{aside}. {_NO_COSTS}", outcome="costs_unknown", **shape)


def _by_cost(
    ground: Ground,
    *,
    best: str,
    duels: Mapping[str, Duel],
    holds: Collection[str],
    aside: str,
    costs: CostOrder,
    settle: Settle,
    shape: Mapping[str, Any],
) -> Recommendation:
    """The cheapest arm that is good enough, in the order of costs."""
    known, margin, name = shape["cost_order"], shape["margin"], metric_name(ground.metric)
    below = [arm for arm in known[: known.index(best)] if arm not in costs.unknown]
    cheaper = [duels[arm] for arm in below if arm in duels]
    found = next((arm for arm in below if arm in holds), None)
    if found is not None:
        duel = duels[found]
        text = (
            f"Take {found}, the cheapest arm that is shown to be good enough: at worst it is "
            f"{figure(_at_worst(duel))} {name} short of {best} (lower bound of the 95 % interval), and the margin "
            f"is {figure(margin)}{aside}. Cheapest by {costs.basis}."
        )
        for other in (d for d in cheaper if known.index(d.arm) < known.index(found) and not _is_worse(d)):
            if other.arm in holds or other.low is None or other.low <= -margin:
                missing = _missing(other, margin=margin, settle=settle)
                text += f" Whether {other.arm}, which is cheaper, is good enough is open: {missing}."
            else:
                text += f" {other.arm}, which is cheaper, is within the margin too, but not shown to do this task."
        return Recommendation(found, text, outcome="take", bound=duel.low, against=best, **shape)
    if not cheaper:
        text = f"Take {best}: it has the best mean {name}, and {_dearer(costs, best=best, among=known)}{aside}."
        return Recommendation(best, text, outcome="take", **shape)
    if all(_is_worse(duel) for duel in cheaper):
        worse = listing([_shortfall(duel) for duel in cheaper])
        text = f"Take {best}: no cheaper arm is good enough ({worse}; the margin is {figure(margin)}){aside}."
        text += f" Cheaper by {costs.basis}."
        return Recommendation(best, text, outcome="take", **shape)
    first = next(duel for duel in cheaper if not _is_worse(duel))
    text = (
        f"No arm can be recommended yet: {best} has the best mean, and no cheaper arm (by {costs.basis}) is "
        f"shown to be within {figure(margin)} {name} of it{aside}. {_missing(first, margin=margin, settle=settle)}."
    )
    return Recommendation(None, text, bound=first.low, against=best, **shape)


def _dearer(costs: CostOrder, *, best: str, among: tuple[str, ...]) -> str:
    """What is known of the cost of the arms that are not the best one, which is the cheapest."""
    unknown = [arm for arm in among if arm in costs.unknown and arm != best]
    others = [arm for arm in among if arm not in costs.unknown and arm != best]
    missing = f"what {listing(unknown)} cost is not known" if unknown else ""
    if not others:
        return missing
    subject = "the others cost" if len(others) > 1 else f"{others[0]} costs"
    return f"{subject} more (by {costs.basis})" + (f"; {missing}" if unknown else "")
