"""Keep what must be chosen before there are samples to look at: by what, and how drawn, the arms are compared.

It stands in judging.json, which is written with the first samples and never again. What differs from it was changed
with the samples in view: every comparison is exploratory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.evidence.sample_scores import computed_metrics, scoring_settings
from finetrial.store.layout import TrialFolder
from finetrial.store.records import JudgedBy, read_object, write_object
from finetrial.trial.schema import Judging, Trial

# Of the sampling settings, those that decide what an answer is. More prompts or samples leave each answer as it was
_DRAWN = ("temperature", "top_p", "max_new_tokens", "stop", "strip", "seed")
_DRAWN_WHERE_SET = ("top_k", "min_p", "repetition_penalty")  # older notes do not name them
_SINCE = "when the first samples were seen"


def judged_by(trial: Trial, *, base: Path) -> JudgedBy:
    """The settings that must be named before there are samples. Files of own metrics are relative to `base`."""
    judging = trial.judging
    return JudgedBy(
        primary=judging.primary,
        margin=judging.margin,
        criterion=judging.criterion,
        sampling=_drawn(trial),
        own_metrics=_own_metrics(judging, base=base),
    )


def _drawn(trial: Trial) -> dict[str, Any]:
    given = trial.sampling.model_dump(mode="json", include=set(_DRAWN))
    given |= trial.sampling.model_dump(mode="json", include=set(_DRAWN_WHERE_SET), exclude_defaults=True)
    stops = {f"arms.{name}.stop": arm.stop for name, arm in trial.arms.items() if arm.stop is not None}
    texts = {name: stop if isinstance(stop, str) else list(stop) for name, stop in stops.items()}
    return {f"sampling.{name}": value for name, value in given.items()} | texts


def _own_metrics(judging: Judging, *, base: Path) -> dict[str, str]:
    """The user's own metrics with the hash of the file that computes each; without those that are not here."""
    settings, found = scoring_settings(judging, base=base), {}
    for metric in computed_metrics(judging):
        try:
            if metric.files:
                found[metric.name] = metric.signature(settings)
        except UserError:
            continue
    return found


def keep_first_judging(folder: TrialFolder, *, trial: Trial, base: Path) -> None:
    """Note by what the first samples are judged; a note that stands already stays as it is."""
    if not folder.judging.exists():
        write_object(folder.judging, judged_by(trial, base=base))


def primary_at_first(folder: TrialFolder) -> str | None:
    """The primary metric when the first samples were seen; None where it was not noted."""
    return read_object(folder.judging, JudgedBy).primary if folder.judging.exists() else None


def changed_since(folder: TrialFolder, *, trial: Trial, base: Path) -> tuple[str, ...]:
    """What was changed since the first samples, in words; empty where nothing was, or nothing was sampled yet."""
    if not folder.judging.exists():
        return ()
    return tuple(_changes(read_object(folder.judging, JudgedBy), judged_by(trial, base=base)))


def _changes(first: JudgedBy, now: JudgedBy) -> Iterator[str]:
    if first.primary != now.primary:
        yield f"judging.primary was {first.primary} {_SINCE} and is {now.primary} now"
    if first.margin != now.margin:
        yield f"judging.margin was {first.margin:g} {_SINCE} and is {now.margin:g} now"
    if first.criterion != now.criterion:
        yield "judging.criterion was changed after the first samples were seen"
    if first.sampling is not None and now.sampling is not None:  # else an older version wrote the note
        yield from _changed_drawing(first.sampling, now.sampling)
    if first.own_metrics is not None and now.own_metrics is not None:
        for name, signature in first.own_metrics.items():
            if now.own_metrics.get(name, signature) != signature:
                yield f"the file of the metric {name} was changed after the first samples were seen"


def _changed_drawing(first: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*first, *now)):
        if name in first and name in now and first[name] != now[name]:
            yield f"{name} was {first[name]} {_SINCE} and is {now[name]} now"
        elif (name in first) != (name in now):
            yield f"{name} was {'given' if name in first else 'not given'} {_SINCE} and now is the other"
