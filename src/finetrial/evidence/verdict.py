"""Say which arm is better, by how much and how surely, or why that is not known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from finetrial.evidence.duels import Duel, Duels, ranking
from finetrial.evidence.findings import Interval, Power
from finetrial.evidence.words import about, figure, listing, p_value, signed
from finetrial.metrics.all import metric_name
from finetrial.metrics.grades import GRADE
from finetrial.stats.power import fewest_prompts


@dataclass(frozen=True, slots=True)
class Ground:
    """The comparisons that a verdict rests on."""

    metric: str
    sign: float  # -1 where less is better
    intervals: Mapping[str, Interval]
    new: Duels
    these: Duels
    retrained: Duels
    powers: Sequence[Power]
    trained: Collection[str] | None  # arms whose weights were tuned; None: not known
    grouped: bool

    @property
    def more(self) -> str:
        return "more" if self.sign > 0 else "less"

    def units(self, count: int) -> str:
        noun = "group" if self.grouped else "prompt"
        return f"{count} {noun}{'s' * (count != 1)}"

    def needed(self, duel: Duel) -> int | None:
        """The prompts that would show a difference as large as this one."""
        found = (p.prompts_needed for p in self.powers if {p.a, p.b} == {duel.arm, duel.other})
        return next(found, None)


def _bounds(duel: Duel) -> str:
    known = duel.low is not None and duel.high is not None
    return f"95 % interval {signed(duel.low)} to {signed(duel.high)}, " if known else ""


def _by_how_much(duel: Duel, ground: Ground) -> str:
    assert duel.gain is not None and duel.p_holm is not None
    corrected = " after Holm" if len(ground.new.all) > 1 else ""
    return f"by {figure(abs(duel.gain))} ({_bounds(duel)}{p_value(duel.p_holm)}{corrected})"


def _would_show(ground: Ground, duel: Duel) -> str:
    needed = ground.needed(duel)
    return f"; about {about(needed)} prompts would show a difference of this size" if needed else ""


def _weights(ground: Ground, duel: Duel) -> str:
    """Of which weights does it speak?"""
    again = ground.retrained.find(duel.arm, duel.other)
    if again is not None and again.p_holm is not None:
        if again.is_told and (again.gain or 0) > 0:
            return f" Other training runs would show it too ({p_value(again.p_holm)})."
        return f" Whether other training runs would show it cannot be told ({p_value(again.p_holm)})."
    if ground.trained is None:
        return " It speaks of the weights that wrote these texts, not of another training run."
    tuned = [arm for arm in (duel.arm, duel.other) if arm in ground.trained]
    if not tuned:
        return ""
    return f" It speaks of these weights: {listing(tuned)} {'was' if len(tuned) == 1 else 'were'} trained once."


def _these(ground: Ground, duel: Duel) -> str:
    here = ground.these.find(duel.arm, duel.other)
    if here is None or not here.is_told or here.p_holm is None:
        return ""
    return (
        f" On these very prompts {duel.arm} over {duel.other} is beyond the noise of sampling "
        f"({p_value(here.p_holm)}); that says nothing of new ones."
    )


def _shown(ground: Ground, *, best: str, others: Sequence[Duel]) -> str:
    """The sentence where the best arm is better than at least one other."""
    name = metric_name(ground.metric)
    beaten = [duel for duel in others if duel.is_told and (duel.gain or 0) > 0]
    open_ones = [duel for duel in others if duel not in beaten]
    parts = listing([f"{duel.other} {_by_how_much(duel, ground)}" for duel in beaten])
    text = f"{best} is better than {parts} in {name}, on {ground.units(beaten[0].n_units)}."
    for duel in open_ones:
        text += f" Whether it is better than {duel.other} cannot be told{_why_not(ground, duel)}."
    return text + _weights(ground, beaten[0])


def _why_not(ground: Ground, duel: Duel) -> str:
    if duel.gain is None or duel.p_holm is None:
        return f": {duel.pair.reason}" if duel.pair.reason else ""
    if duel.ties == duel.n_units:
        return ": they score the same on every prompt"
    corrected = " after Holm" if len(ground.new.all) > 1 else ""
    amount = f" ({signed(duel.gain)}, {_bounds(duel)}{p_value(duel.p_holm)}{corrected})"
    return amount + _would_show(ground, duel)


def _unreachable(ground: Ground, duel: Duel) -> str | None:
    """The reason where no outcome could have reached .05."""
    least = ground.new.smallest_reachable
    if least is None or least < 0.05:
        return None
    n_pairs = sum(d.p is not None for d in ground.new.all)
    pairs = f" for {n_pairs} pairs" if n_pairs > 1 else ""
    differing = duel.n_units - duel.ties
    where = ground.units(duel.n_units)
    if differing < duel.n_units:
        where += f", of which {differing} differ{'s' * (differing == 1)},"
    text = f"with {where} no test can reach .05{pairs}"
    needed = max(ground.needed(duel) or 0, fewest_prompts(n_pairs=max(1, n_pairs)))
    return f"{text}; about {about(needed)} would"


def _not_shown(ground: Ground, *, best: str, others: Sequence[Duel]) -> str:
    """The sentence where the best arm is better than no other."""
    name = metric_name(ground.metric)
    told = [d if (d.gain or 0) > 0 else d.turned() for d in ground.new.all if d.is_told]
    known = [duel for duel in others if duel.p_holm is not None]
    if told:
        parts = listing([f"{d.arm} is better than {d.other} {_by_how_much(d, ground)}" for d in told])
        return (
            f"Cannot tell which arm is best by {name}: {best} has the best mean, yet only {parts} is beyond chance."
        )
    if not known:
        reason = others[0].pair.reason or "no prompt was answered by two arms"
        return f"Cannot tell which arm is better by {name}: {reason}."
    widest = max(known, key=lambda duel: (abs(duel.gain or 0), duel.other))
    if all(duel.ties == duel.n_units for duel in known):
        return (
            f"Cannot tell which arm is better by {name}: they score the same on every one of "
            f"{ground.units(widest.n_units)} (p = 1)."
        )
    start = f"Cannot tell which arm is better by {name}"
    if widest.n_units < 2:
        text = f"{start}: with {ground.units(widest.n_units)} there is nothing to test."
    elif (unreachable := _unreachable(ground, widest)) is not None:
        text = f"{start}: {unreachable}."
    else:
        where = f"on {ground.units(widest.n_units)} the largest difference is within chance"
        text = f"{start}: {where}, {widest.arm} over {widest.other}{_why_not(ground, widest)}."
    return text + _these(ground, widest)


def verdict(ground: Ground) -> str:
    """The verdict by the primary metric, as sentences."""
    order = ranking(ground.intervals, sign=ground.sign)
    name = metric_name(ground.metric)
    if not order:
        if ground.metric == GRADE:
            return "Cannot tell yet: people's grades decide, and none are open."
        return f"Cannot tell: no sample has a {name}."
    best = order[0]
    if len(order) == 1:
        row = ground.intervals[best]
        within = (
            ""
            if row.low is None or row.high is None
            else f" (95 % interval {figure(row.low)} to {figure(row.high)})"
        )
        assert row.mean is not None
        alone = f"{best} has a mean {name} of {figure(row.mean)}{within} on {ground.units(row.n_units)}"
        if len(ground.intervals) > 1:
            return f"{alone}; no other arm has a mean to compare it with."
        return f"{alone}; there is no other arm to compare it with."
    others = [duel for arm in order[1:] if (duel := ground.new.find(best, arm)) is not None]
    has_shown = any(duel.is_told and (duel.gain or 0) > 0 for duel in others)
    return (_shown if has_shown else _not_shown)(ground, best=best, others=others)
