"""Warn of what could overturn the verdict and the recommendation: typed, and shown before them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from finetrial.evidence.findings import Floor, Interval, VerdictWarning
from finetrial.evidence.phrases import figure
from finetrial.metrics.metric_table import metric_name
from finetrial.store.records import Sample
from finetrial.units import listing

HEADING = "Could overturn the verdict and the recommendation"
CUT_GAP = 0.25  # between the highest and the lowest rate of truncated samples; assumption

_NAMED = 5  # prompts that a warning names


def _endings(samples: Sequence[Sample]) -> dict[str, Counter[str]]:
    """arm -> how its samples ended; arms without a recorded ending are left out."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        if sample.end_reason is not None:
            found[sample.arm][sample.end_reason] += 1
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _cut(endings: Mapping[str, Counter[str]]) -> Iterable[VerdictWarning]:
    rates = {arm: row["length"] / row.total() for arm, row in endings.items()}
    if rates and max(rates.values()) - min(rates.values()) >= CUT_GAP:
        by_rate = sorted(rates, key=lambda arm: -rates[arm])
        alike: dict[str, list[str]] = defaultdict(list)
        for arm in by_rate:
            alike[_percent(rates[arm])].append(arm)
        said = "; ".join(f"{listing(arms)} {rate}" for rate, arms in alike.items())
        often = tuple(arm for arm in by_rate if rates[arm] - min(rates.values()) >= CUT_GAP)
        text = (
            f"Samples were truncated at the limit of new tokens, at different rates ({said}). The end of a "
            "truncated sample was not scored."
        )
        yield VerdictWarning("cut_unevenly", text, often)
    never = tuple(arm for arm, row in endings.items() if row["length"] == row.total())
    if never:
        many = "none of their samples" if len(never) > 1 else "none of its samples"
        text = (
            f"{listing(never)} never stopped: {many} ended before the limit of new tokens. What was scored is no "
            "whole answer."
        )
        yield VerdictWarning("never_ended", text, never)


def _at_floor(
    floor: Floor | None, *, metric: str, sign: float, intervals: Mapping[str, Interval]
) -> Iterable[VerdictWarning]:
    if floor is None or floor.value is None or floor.above or not floor.at:
        return
    means = listing([f"{arm} {figure(intervals[arm].mean or 0.0)}" for arm in floor.at])
    beyond = f"more than {figure(floor.margin)} {'above' if sign > 0 else 'below'} {figure(floor.value)}"
    text = (
        f"No arm does this task, as far as {floor.n_prompts} prompts show: none's 95 % interval lies {beyond}, the "
        f"{metric_name(metric)} of other prompts' references given as answers ({means})."
    )
    yield VerdictWarning("at_floor", text, floor.at)


def _rates(at_default_rate: Sequence[str]) -> Iterable[VerdictWarning]:
    """Methods prefer learning rates ten times apart (Schulman et al. 2025), and so do variants of one method (Lee
    et al. 2026, arXiv 2602.04998): at one default rate each, a comparison of arms is also one of rates."""
    if at_default_rate:
        text = (
            f"The learning rate of {listing(at_default_rate)} is the method's default, neither searched nor given: "
            "a difference from another arm may be one of learning rates (learning_rate: auto searches)."
        )
        yield VerdictWarning("untuned_rate", text, tuple(at_default_rate))


def _seen(external: Sequence[str]) -> Iterable[VerdictWarning]:
    if external:
        verb, own = ("was", "its") if len(external) == 1 else ("were", "their")
        text = (
            f"{listing(external)} {verb} trained elsewhere, on rows that are not known here. If the held-out rows "
            f"were among them, {own} scores are too high."
        )
        yield VerdictWarning("may_have_seen_heldout", text, tuple(external))


def _unknown_bases(reasons: Mapping[str, str]) -> Iterable[VerdictWarning]:
    for arm, reason in reasons.items():
        text = f"The adapter of {arm} may have been trained on another base: {reason}."
        yield VerdictWarning("base_unknown", text, (arm,))


def _unanswered(prompts: Mapping[str, Sequence[str]]) -> Iterable[VerdictWarning]:
    for arm, missing in prompts.items():
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        text = (
            f"{arm} has no answer to {len(missing)} of the sampled prompts ({', '.join(missing[:_NAMED])}{more}): "
            "it is compared on the others alone."
        )
        yield VerdictWarning("unanswered", text, (arm,))


def _failed(checks: Mapping[str, Sequence[str]]) -> Iterable[VerdictWarning]:
    for arm, texts in checks.items():
        for text in texts:
            yield VerdictWarning("failed_check", f"{arm} was sampled although {text}.", (arm,))


def verdict_warnings(
    samples: Sequence[Sample],
    *,
    metric: str,
    sign: float,
    intervals: Mapping[str, Interval],
    unseen: str | None = None,
    floor: Floor | None = None,
    exploratory: Sequence[str] = (),
    at_default_rate: Sequence[str] = (),
    external: Sequence[str] = (),
    base_unknown: Mapping[str, str] | None = None,
    unanswered: Mapping[str, Sequence[str]] | None = None,
    failed_checks: Mapping[str, Sequence[str]] | None = None,
) -> tuple[VerdictWarning, ...]:
    """Everything that could overturn the verdict, the gravest first.

    `unseen` says which letters the deciding metric does not see, `exploratory` what was changed after the first
    scores, `at_default_rate` names arms tuned at a rate that was neither searched nor given, `external` arms whose
    training rows are not known, `base_unknown` says of arms why their adapter's base may be another,
    `unanswered` which prompts an arm has no answer to, and `failed_checks` what was found wrong before sampling.
    """
    changed = (VerdictWarning("judging_changed", f"Exploratory: {change}.", ()) for change in exploratory)
    return (
        *((VerdictWarning("letters_not_seen", unseen, ()),) if unseen else ()),
        *_failed(failed_checks or {}),
        *_at_floor(floor, metric=metric, sign=sign, intervals=intervals),
        *changed,
        *_cut(_endings(samples)),
        *_rates(at_default_rate),
        *_seen(external),
        *_unknown_bases(base_unknown or {}),
        *_unanswered(unanswered or {}),
    )
