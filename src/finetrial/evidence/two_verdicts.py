"""Set people's grades and a metric beside each other: two verdicts, and how far the two agree.

What was named before there were samples gives the first verdict; the other stands beside it and says whether it was
named too. A recommendation that the grades contradict is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from finetrial.evidence.findings import BesideVerdict, GoodShare, MetricVsPeople, Recommendation
from finetrial.evidence.phrases import p_value, signed
from finetrial.evidence.verdict import Basis, verdict
from finetrial.metrics.mean_grade import GRADE
from finetrial.stats.comparison import Comparison
from finetrial.units import listing


def beside_verdict(
    decides: Basis, beside: Basis, *, named: bool, people: Mapping[str, MetricVsPeople]
) -> BesideVerdict | None:
    """The second verdict; None where it has no arm's mean to speak of."""
    if not beside.ranking:
        return None
    metric = beside.metric.name if decides.metric.name == GRADE else decides.metric.name
    said = [
        how_they_agree(decides, beside),
        _within_prompts(people.get(metric), title=_named(metric, decides, beside)),
    ]
    return BesideVerdict(beside.metric.name, verdict(beside), named, " ".join(filter(None, said)))


def _named(metric: str, *bases: Basis) -> str:
    return next(basis.metric.title for basis in bases if basis.metric.name == metric)


def _said_by(basis: Basis) -> str:
    return "the grades" if basis.metric.name == GRADE else basis.metric.title


def _shown(basis: Basis) -> dict[tuple[str, str], Comparison]:
    """Every pair that is told apart on new prompts, the better arm first."""
    told = (pair for pair in basis.new.all if pair.is_significant)
    turned = (pair if pair.is_better else pair.reversed() for pair in told)
    return {pair.arms: pair for pair in turned}


def how_they_agree(decides: Basis, beside: Basis) -> str:
    """Which differences between arms both show, which only one of them, and which they turn round."""
    if not decides.ranking:
        return ""
    first, second = _shown(decides), _shown(beside)
    said = []
    if against := [pair for pair in first if pair[::-1] in second]:
        said.append(
            f"The two contradict each other: by {_said_by(decides)} {_better(against)}, and by {_said_by(beside)} "
            "it is the other way round."
        )
    if both := [pair for pair in first if pair in second]:
        said.append(f"Both show that {_better(both)}.")
    for mine, basis, theirs, other in ((first, decides, second, beside), (second, beside, first, decides)):
        if alone := [pair for pair in mine if pair not in theirs and pair[::-1] not in theirs]:
            said.append(f"That {_better(alone)} is shown by {_said_by(basis)} alone, not by {_said_by(other)}.")
    return " ".join(said) or f"Neither tells the arms apart{_best_means(decides, beside)}."


def _better(pairs: list[tuple[str, str]]) -> str:
    return listing([f"{a} is better than {b}" for a, b in pairs])


def _best(basis: Basis) -> tuple[str, ...]:
    return basis.metric.best({arm: row.mean for arm, row in basis.intervals.items()})


def _best_means(*bases: Basis) -> str:
    """; by ROUGE-1 base and lora share the best mean, by the grades full has it"""
    found = [(basis, _best(basis)) for basis in bases]
    if not all(best for _, best in found) or set(found[0][1]) == set(found[1][1]):
        return ""
    said = [
        f"by {_said_by(basis)} {listing(list(best))} {'share' if len(best) > 1 else 'has'} the best mean"
        for basis, best in found
    ]
    return f"; {', '.join(said)}"


def _within_prompts(row: MetricVsPeople | None, *, title: str) -> str:
    if row is None or row.concordance.value is None:
        return ""
    share = 100 * row.concordance.value
    return (
        f"Of two answers to one prompt that were graded differently, {title} ranks {share:.0f} % as the grades do; "
        "50 % is chance."
    )


def against_grades(
    found: Recommendation | None, *, decides: Basis, grades: Basis, good: Mapping[str, GoodShare]
) -> Recommendation | None:
    """The recommendation, taken back where the grades show another arm to be better than the one named.

    They show it on new prompts, or on these: few prompts can never reach new ones, and 15 good answers of 15
    against 1 of 15 are no chance of sampling. Where no arm is recommended because none lies above the floor, and
    most answers of one were called good, that is said.
    """
    if found is None or decides.metric.name == GRADE:
        return found
    if found.arm is None:
        if found.outcome != "floor" or (praised := _praised(grades, good)) is None:
            return found
        said = f"{_count(praised, good)} were called good: {decides.metric.title} may not see what raters see."
        return replace(found, text=f"{found.text} The grades contradict this: of {praised} {said}")
    better = _better_by_grades(grades, than=found.arm)
    if better is None:
        return found
    pair, where = better
    other = pair.arms[0]
    assert pair.gain is not None and pair.p_over_pairs is not None
    counts = ""
    if other in good and found.arm in good:
        counts = (
            f": {_count(other, good)} answers of {other} were called good, {_count(found.arm, good)} of {found.arm}"
        )
    text = (
        f"No arm is recommended. {decides.metric.title} alone would name {found.arm}, and the grades contradict "
        f"that{counts} ({signed(pair.gain)}, {p_value(pair.p_over_pairs)} {where}). See which of the two "
        "measures what you want before you choose."
    )
    return replace(found, arm=None, text=text, outcome="contradicted", bound=None, against=other)


def _count(arm: str, good: Mapping[str, GoodShare]) -> str:
    return f"{good[arm].good} of {good[arm].of}"


def _praised(grades: Basis, good: Mapping[str, GoodShare]) -> str | None:
    """The best arm by the grades, where most of its answers were called good."""
    best = next(iter(grades.ranking), None)
    share = good.get(best) if best is not None else None
    return best if share is not None and 2 * share.good > share.of else None


def _better_by_grades(grades: Basis, *, than: str) -> tuple[Comparison, str] | None:
    """The arm that the grades put farthest above the one named, as a comparison, and on which prompts."""
    for pairs, where in ((grades.new, "on new prompts"), (grades.these, "on these very prompts")):
        found = [pair for arm in grades.ranking if arm != than and (pair := pairs.find(arm, than)) is not None]
        if above := [pair for pair in found if pair.is_better]:
            return max(above, key=lambda pair: pair.gain or 0.0), where
    return None
