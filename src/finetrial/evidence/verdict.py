"""Say which arm is better, by how much and how surely, or why that is not known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from finetrial.evidence.findings import Interval, Power
from finetrial.evidence.pairs import Pairs
from finetrial.evidence.phrases import about, figure, p_value, signed
from finetrial.metrics.mean_grade import GRADE
from finetrial.metrics.metric import Metric
from finetrial.stats.comparison import Comparison
from finetrial.stats.power import fewest_prompts
from finetrial.units import listing


@dataclass(frozen=True, slots=True)
class Basis:
    """The comparisons that a verdict rests on."""

    metric: Metric
    intervals: Mapping[str, Interval]
    new: Pairs
    these: Pairs
    retrained: Pairs
    powers: Sequence[Power]
    trained: Collection[str] | None  # arms whose weights were tuned; None: not known
    unit: str  # prompt or group
    repeated: Collection[str] = ()  # arms with several training runs
    unsure: int = 0  # grades that are neither good nor bad

    @property
    def ranking(self) -> tuple[str, ...]:
        """The arms with a mean, the best first."""
        return self.metric.ranking({arm: row.mean for arm, row in self.intervals.items()})

    def units(self, count: int) -> str:
        return f"{count} {self.unit}{'s' * (count != 1)}"

    def every(self, count: int) -> str:
        return f"the one {self.unit}" if count == 1 else f"every one of {count} {self.unit}s"

    def needed(self, pair: Comparison) -> int | None:
        """The prompts that would show a difference as large as this one."""
        found = (p.prompts_needed for p in self.powers if {p.a, p.b} == {pair.a, pair.b})
        return next(found, None)


def _bounds(pair: Comparison) -> str:
    low, high = pair.gain_low, pair.gain_high
    return "" if low is None or high is None else f"95 % interval {signed(low)} to {signed(high)}, "


def _by_how_much(pair: Comparison, basis: Basis) -> str:
    assert pair.gain is not None and pair.p_over_pairs is not None
    corrected = " after Holm" if len(basis.new.all) > 1 else ""
    return f"by {figure(abs(pair.gain))} ({_bounds(pair)}{p_value(pair.p_over_pairs)}{corrected})"


def _would_show(basis: Basis, pair: Comparison) -> str:
    needed = basis.needed(pair)
    return f"; about {about(needed)} prompts would show a difference of this size" if needed else ""


def _weights(basis: Basis, pair: Comparison) -> str:
    """The sentence on whether the difference is one of these weights or of other training runs too."""
    again = basis.retrained.find(*pair.arms)
    if again is not None and again.p_over_pairs is not None:
        if again.is_better:
            return f" Other training runs would show it too ({p_value(again.p_over_pairs)})."
        return f" Whether other training runs would show it cannot be told ({p_value(again.p_over_pairs)})."
    if basis.trained is None:
        return " This holds for the weights that wrote these texts, not for another training run."
    tuned = [arm for arm in pair.arms if arm in basis.trained]
    if not tuned:
        return ""
    if any(arm in basis.repeated for arm in tuned):
        return f" Whether other training runs would show it is not tested for {basis.metric.title}."
    which = "each arm" if len(tuned) > 1 else tuned[0]
    return f" This holds for these weights only: {which} was trained once."


def _these(basis: Basis, pair: Comparison) -> str:
    here = basis.these.find(*pair.arms)
    if here is None or not here.is_significant or here.p_over_pairs is None:
        return ""
    return (
        f" On these very prompts {pair.a} over {pair.b} is beyond the noise of sampling "
        f"({p_value(here.p_over_pairs)}); that says nothing of new ones."
    )


def _shown(basis: Basis, *, best: str, others: Sequence[Comparison]) -> str:
    """The sentence where the best arm is better than at least one other."""
    name = basis.metric.title
    beaten = [pair for pair in others if pair.is_better]
    open_ones = [pair for pair in others if pair not in beaten]
    parts = listing([f"{pair.b} {_by_how_much(pair, basis)}" for pair in beaten])
    text = f"{best} is better than {parts} in {name}, on {basis.units(beaten[0].n_units)}."
    for pair in open_ones:
        text += f" Whether it is better than {pair.b} cannot be told{_why_not(basis, pair)}."
    return text + _weights(basis, beaten[0])


def _why_not(basis: Basis, pair: Comparison) -> str:
    if pair.gain is None or pair.p_over_pairs is None:
        return f": {pair.reason}" if pair.reason else ""
    if pair.all_tie:
        return ": they score the same on every prompt"
    corrected = " after Holm" if len(basis.new.all) > 1 else ""
    amount = f" ({signed(pair.gain)}, {_bounds(pair)}{p_value(pair.p_over_pairs)}{corrected})"
    return amount + _would_show(basis, pair)


def _unreachable(basis: Basis, pair: Comparison) -> str | None:
    """The reason where no outcome could have reached .05."""
    least = basis.new.smallest_reachable
    if least is None or least < 0.05:
        return None
    n_pairs = sum(d.p is not None for d in basis.new.all)
    corrected = f" after correcting for {n_pairs} comparisons" if n_pairs > 1 else ""
    differing = pair.n_units - (pair.ties or 0)
    where = basis.units(pair.n_units)
    if differing < pair.n_units:
        where += f", of which {differing} differ{'s' * (differing == 1)},"
    verb = "is" if pair.n_units == 1 else "are"
    text = f"{where} {verb} too few: no result could reach p < .05{corrected}"
    needed = max(basis.needed(pair) or 0, fewest_prompts(n_pairs=max(1, n_pairs)))
    return f"{text}; about {about(needed)} would be needed"


def _not_shown(basis: Basis, *, best: str, others: Sequence[Comparison]) -> str:
    """The sentence where the best arm is better than no other."""
    name = basis.metric.title
    shown = [pair if pair.is_better else pair.reversed() for pair in basis.new.all if pair.is_significant]
    known = [pair for pair in others if pair.p_over_pairs is not None]
    if shown:
        parts = listing([f"{pair.a} is better than {pair.b} {_by_how_much(pair, basis)}" for pair in shown])
        return (
            f"Cannot tell which arm is best by {name}: {best} has the best mean, yet only this is significant: "
            f"{parts}."
        )
    if not known:
        reason = others[0].reason or "no prompt was answered by two arms"
        return f"Cannot tell which arm is better by {name}: {reason}."
    widest = max(known, key=lambda pair: (abs(pair.gain or 0), pair.b))
    if all(pair.all_tie for pair in known):
        return (
            f"Cannot tell which arm is better by {name}: they score the same on "
            f"{basis.every(widest.n_units)} (p = 1)."
        )
    start = f"Cannot tell which arm is better by {name}"
    if all(pair.gain == 0 for pair in known) and widest.n_units > 1:
        value = basis.intervals[best].mean
        assert value is not None and widest.p_over_pairs is not None
        same = f"they have the same mean, {figure(value)}, on {basis.units(widest.n_units)}"
        return f"{start}: {same} ({p_value(widest.p_over_pairs)}).{_these(basis, widest)}"
    if widest.n_units < 2:
        text = f"{start}: with {basis.units(widest.n_units)} there is nothing to test."
    elif (unreachable := _unreachable(basis, widest)) is not None:
        text = f"{start}: {unreachable}."
    else:
        where = f"on {basis.units(widest.n_units)} the largest difference is not significant"
        text = f"{start}: {where}, {widest.a} over {widest.b}{_why_not(basis, widest)}."
    return text + _these(basis, widest)


def verdict(basis: Basis) -> str:
    """The verdict by the primary metric, as sentences."""
    order = basis.ranking
    name = basis.metric.title
    if not order:
        if basis.metric.name == GRADE:
            if basis.unsure:
                return f"Cannot tell: grades decide, and all {basis.unsure} say that nobody could tell."
            return "Cannot tell yet: grades decide, and none are open."
        return f"Cannot tell: no sample has a {name}."
    best = order[0]
    if len(order) == 1:
        row = basis.intervals[best]
        within = (
            ""
            if row.low is None or row.high is None
            else f" (95 % interval {figure(row.low)} to {figure(row.high)})"
        )
        assert row.mean is not None
        alone = f"{best} has a mean {name} of {figure(row.mean)}{within} on {basis.units(row.n_units)}"
        if len(basis.intervals) > 1:
            return f"{alone}; no other arm has a mean to compare it with."
        return f"{alone}; there is no other arm to compare it with."
    others = [pair for arm in order[1:] if (pair := basis.new.find(best, arm)) is not None]
    has_shown = any(pair.is_better for pair in others)
    return (_shown if has_shown else _not_shown)(basis, best=best, others=others)
