"""Compare tuned arms by the settings in which they differ: what a higher rank gained, all else alike.

A factor is a key that differs between arms of one method. Its levels are compared over pairs of arms that differ in
it alone: prompt by prompt, the mean of their differences. With every combination present that is the main effect of
a factorial design (Box, Hunter & Hunter, "Statistics for Experimenters", 2nd ed. 2005, chapter 5).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from finetrial.stats.intervals import Interval, paired_interval

Settings = Mapping[str, object]
_FEWEST_ARMS = 3  # two arms stand among the paired comparisons already


@dataclass(frozen=True, slots=True)
class Level:
    """One value of a factor and the arms that have it."""

    value: object
    arms: tuple[str, ...]
    mean: float | None  # of the arms' means over prompts; None: not sampled yet
    gain: Interval | None  # over the first level; None: the first, or no two arms differ in this alone
    n_pairs: int  # of arms that `gain` is over


@dataclass(frozen=True, slots=True)
class Factor:
    """A key of the trial file that differs between arms of one method."""

    method: str
    key: str
    levels: tuple[Level, ...]


def factors_of(
    settings: Mapping[str, Settings],
    *,
    methods: Mapping[str, str],
    means: Mapping[str, Mapping[str, float]],
    groups: Mapping[str, str | None],
) -> tuple[Factor, ...]:
    """The factors of the tuned arms and what each level gained.

    `settings` holds each tuned arm's keys, `methods` its method, `means` arm -> prompt -> mean score, `groups` the
    prompts' groups: prompts of one group count as one unit.
    """
    found: list[Factor] = []
    for method in dict.fromkeys(methods[arm] for arm in settings):
        arms = [arm for arm in settings if methods[arm] == method]
        if len(arms) < _FEWEST_ARMS:
            continue
        varied = _varied([settings[arm] for arm in arms])
        for key in varied:
            by_value: dict[str, list[str]] = defaultdict(list)
            for arm in sorted(arms, key=lambda arm: _order(settings[arm].get(key))):
                by_value[repr(settings[arm].get(key))].append(arm)
            first = next(iter(by_value.values()))
            others = [other for other in varied if other != key]
            levels = tuple(
                _level(
                    settings[of_value[0]].get(key),
                    of_value,
                    pairs=[] if of_value is first else _pairs(of_value, first, settings=settings, alike=others),
                    means=means,
                    groups=groups,
                )
                for of_value in by_value.values()
            )
            found.append(Factor(method, key, levels))
    return tuple(found)


def _varied(settings: Sequence[Settings]) -> list[str]:
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if len({repr(one.get(key)) for one in settings}) > 1]


def _order(value: object) -> tuple[int, float]:
    """Numbers by size, behind what is not set; anything else in the order of the file."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return 1, float(value)
    return (0 if value is None else 1), 0.0


def _pairs(
    arms: Sequence[str], first: Sequence[str], *, settings: Mapping[str, Settings], alike: Sequence[str]
) -> list[tuple[str, str]]:
    """The arms and those of the first level that are like them in all other keys."""

    def rest(arm: str) -> str:
        return repr([settings[arm].get(key) for key in alike])

    of_rest = {rest(arm): arm for arm in first}
    return [(arm, of_rest[rest(arm)]) for arm in arms if rest(arm) in of_rest]


def _level(
    value: object,
    arms: Sequence[str],
    *,
    pairs: Sequence[tuple[str, str]],
    means: Mapping[str, Mapping[str, float]],
    groups: Mapping[str, str | None],
) -> Level:
    own = [fmean(means[arm].values()) for arm in arms if means.get(arm)]
    known = [(a, b) for a, b in pairs if means.get(a) and means.get(b)]
    gain = None
    if known:
        by_unit: dict[str, list[float]] = defaultdict(list)
        for prompt in means[known[0][0]]:
            here = [(means[a].get(prompt), means[b].get(prompt)) for a, b in known]
            gaps = [a - b for a, b in here if a is not None and b is not None]
            if gaps:
                by_unit[groups.get(prompt) or f"\0{prompt}"].append(fmean(gaps))
        gain = paired_interval([fmean(values) for values in by_unit.values()])
    return Level(value, tuple(arms), fmean(own) if own else None, gain, len(known))
