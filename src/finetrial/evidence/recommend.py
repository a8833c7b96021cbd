"""Which way? The cheapest arm that is within the margin of the best, or what is missing to say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from finetrial.evidence.cost import CostOrder
from finetrial.evidence.duels import Duel, ranking
from finetrial.evidence.findings import MetricVsPeople, Recommendation
from finetrial.evidence.measures import GRADE, metric_name
from finetrial.evidence.verdict import Ground
from finetrial.evidence.words import about, figure, listing, signed

_NO_COSTS = "Which arm is cheapest is not known here; `finetrial score FILE --cost` names the order."

# a duel and how far its true difference lies from the bound in question -> the prompts that would settle it
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


def _shortfall(duel: Duel) -> str:
    assert duel.gain is not None
    return f"{duel.arm} is {figure(abs(duel.gain))} {'short' if duel.gain < 0 else 'ahead'}"


def _missing(duel: Duel, *, margin: float, settle: Settle) -> str:
    """What would settle whether a cheaper arm holds up."""
    if duel.gain is None or duel.low is None:
        return f"{duel.arm} has no bound against {duel.other}: {duel.pair.reason}"
    distance = duel.gain + margin
    needed = settle(duel, distance if distance > 0 else duel.gain)
    text = f"{duel.arm} may be up to {figure(max(0.0, -duel.low))} short of {duel.other}"
    return f"{text}; about {about(needed)} prompts would settle it" if needed else text


def recommend(
    ground: Ground,
    *,
    margin: float,
    costs: CostOrder | None,
    people: Mapping[str, MetricVsPeople],
    settle: Settle,
) -> Recommendation | None:
    """The cheapest arm whose lower bound against the best exceeds minus the margin; None with fewer than two arms.

    The best arm itself is recommended only where every cheaper one is shown to be worse. Where the order of costs
    is not known quality alone decides: the best arm is recommended where every other one is shown to be worse, and
    otherwise the text says which arms are within the margin.
    """
    order = ranking(ground.intervals, sign=ground.sign)
    if len(order) < 2:
        return None
    best = order[0]
    duels = {arm: duel for arm in order[1:] if (duel := ground.new.find(arm, best)) is not None}
    holds = [arm for arm, duel in duels.items() if duel.low is not None and duel.low > -margin]
    name, aside = metric_name(ground.metric), _people_disagree(ground, people=people)
    within = f"within {figure(margin)} {name} of {best}"
    if costs is None:
        if len(duels) == len(order) - 1 and all(_is_worse(duel) for duel in duels.values()) and not holds:
            worse = listing([_shortfall(duel) for duel in duels.values()])
            text = (
                f"Take {best} by quality alone: every other arm is shown to be worse ({worse}){aside}. {_NO_COSTS}"
            )
            return Recommendation(best, text, margin, (), None)
        said = f"No other arm is shown to be {within}"
        if holds:
            said = f"{listing(holds)} {'is' if len(holds) == 1 else 'are'} {within}"
        text = f"{said}{aside}. {_NO_COSTS}"
        return Recommendation(None, text, margin, (), None)
    known = tuple(arm for arm in costs.arms if arm in order)
    below = [arm for arm in known[: known.index(best)] if arm not in costs.unknown]
    found = next((arm for arm in below if arm in holds), None)
    cheaper = [duels[arm] for arm in below if arm in duels]
    shape = {"margin": margin, "cost_order": known, "cost_basis": costs.basis}
    if found is not None:
        low = duels[found].low
        assert low is not None
        open_ones = [d for d in cheaper if known.index(d.arm) < known.index(found) and not _is_worse(d)]
        text = f"Take {found}: the cheapest arm shown to be {within} (at worst {signed(min(low, 0.0))}){aside}."
        for duel in open_ones:
            text += (
                f" Whether the cheaper {duel.arm} holds up is open: {_missing(duel, margin=margin, settle=settle)}."
            )
        return Recommendation(found, text, **shape)
    if not cheaper:
        text = f"Take {best}: it has the best mean {name}, and {_dearer(costs, best=best, among=known)}{aside}."
        return Recommendation(best, text, **shape)
    if all(_is_worse(duel) for duel in cheaper):
        worse = listing([_shortfall(duel) for duel in cheaper])
        text = f"Take {best}: no cheaper arm holds up ({worse}; the margin is {figure(margin)}){aside}."
        return Recommendation(best, text, **shape)
    first = next(duel for duel in cheaper if not _is_worse(duel))
    text = f"No arm can be recommended yet: {best} has the best mean, and no cheaper one is shown to be {within}"
    text += f"{aside}. Of those, {_missing(first, margin=margin, settle=settle)}."
    return Recommendation(None, text, **shape)


def _dearer(costs: CostOrder, *, best: str, among: tuple[str, ...]) -> str:
    """What is known of the cost of the arms that are not the best one, which is the cheapest."""
    unknown = [arm for arm in among if arm in costs.unknown and arm != best]
    others = [arm for arm in among if arm not in costs.unknown and arm != best]
    missing = f"what {listing(unknown)} cost is not known" if unknown else ""
    if not others:
        return missing
    subject = "the others cost" if len(others) > 1 else f"{others[0]} costs"
    return f"{subject} more (by {costs.basis})" + (f"; {missing}" if unknown else "")


def _is_worse(duel: Duel) -> bool:
    """Shown to be worse than the best."""
    return duel.is_told and (duel.gain or 0) < 0
