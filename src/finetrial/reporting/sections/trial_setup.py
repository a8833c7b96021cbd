"""Say what was compared and how: the trial file, and what its `auto` values came to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from finetrial.metrics.metric_table import metric_name
from finetrial.reporting.describe import at_path, short_source
from finetrial.reporting.document import Block, Fact, Facts, SectionMaker
from finetrial.reporting.formats import whole
from finetrial.reporting.gather import TrialRecords
from finetrial.reporting.results import Material
from finetrial.reporting.safe_text import plural
from finetrial.trial.graded_prompts import RESOLVED_KEY
from finetrial.trial.schema import Data, Source, Trial
from finetrial.trial.setting_types import tag_of
from finetrial.units import listing

_RULES = {
    "best_primary": "the reference best by the primary metric",
    "best": "the best reference for each metric",
    "mean": "the mean over the references",
}


def describe_source(data: Data) -> str:
    """The data by the last parts of their paths, or by their id with its revision."""
    if isinstance(data.source, Source):
        parts = [data.source.train, data.source.validation, data.source.heldout]
        named = zip(("train", "validation", "held out"), parts, strict=True)
        return "; ".join(f"{name}: {short_source(part)}" for name, part in named if part)
    return short_source(data.source) + (f" at revision {data.revision}" if data.revision else "")


def _resolved(records: TrialRecords, key: str) -> dict[str, tuple[Any, bool]]:
    """What a key came to in each arm, and whether an `auto` chose it; where the manifest does not say, what the
    trial file has."""
    trial, written = records.trial, records.manifest.get("resolved")
    found = {}
    for name, arm in trial.arms.items():
        row = at_path(written or {}, name)
        if isinstance(row, Mapping) and key in row:
            found[name] = (row[key], key in row.get("auto", ()))
        else:
            own = getattr(arm, key, None)
            found[name] = (getattr(trial.sampling, key, None) if own is None else own, False)
    return found


def _by_arm(values: Mapping[str, tuple[Any, bool]], say: Callable[[Any], str]) -> str:
    """What all arms have in common, or each value with its arms. What the data chose is said to be so."""
    told: dict[str, list[str]] = {}
    for name, (value, chosen) in values.items():
        told.setdefault(say(value) + (" (from the data)" if chosen else ""), []).append(name)
    if len(told) == 1:
        return next(iter(told))
    return "; ".join(f"{text}: {listing(names)}" for text, names in told.items())


def _say_temperature(value: Any) -> str:
    return "greedy" if value == 0 else "temperature " + (value if isinstance(value, str) else f"{value:g}")


def _say_stops(value: Any) -> str:
    if value == "auto" or not value:
        return "no stop string" if not value else "stop auto"
    return "stop at " + listing([json.dumps(stop, ensure_ascii=False) for stop in value])


def _describe_sampling(records: TrialRecords) -> str:
    """How answers were drawn; of answers that another program made only what the file itself shows."""
    if records.manifest.get("outputs_only"):
        counts = Counter((sample.arm, sample.prompt_id) for sample in records.samples).values()
        fewest, most = min(counts, default=0), max(counts, default=0)
        many = plural(most, "answer") if fewest == most else f"{fewest} to {most} answers"
        return f"not known: the answers were made elsewhere; {many} a prompt"
    sampling = records.trial.sampling
    samples = _by_arm(_resolved(records, "per_prompt"), lambda n: f"{plural(n, 'sample')} a prompt")
    temperatures = _resolved(records, "temperature")
    parts = [
        samples,
        _by_arm(_resolved(records, "max_new_tokens"), lambda n: f"at most {n} new tokens"),
        _by_arm(temperatures, _say_temperature),
    ]
    if any(value != 0 for value, _ in temperatures.values()):
        parts += [] if sampling.top_k is None else [f"top-k {sampling.top_k}"]
        parts.append(f"top-p {sampling.top_p:g}")
        parts += [f"min-p {sampling.min_p:g}"] if sampling.min_p else []
    if sampling.repetition_penalty != 1:
        parts.append(f"repetition penalty {sampling.repetition_penalty:g}")
    if sampling.strip is not None:
        what = f"{sampling.strip} blocks" if tag_of(sampling.strip) else f"what matches {sampling.strip}"
        parts.append(f"{what} taken off before scoring")
    parts += [
        _by_arm(_resolved(records, "stop"), _say_stops),
        f"seed {sampling.seed}, the same random numbers in every arm",
    ]
    return ", ".join(parts)


def _describe_showing(records: TrialRecords) -> str | None:
    """Whether the arms are shown text or a chat; None where the manifest does not say."""
    if not isinstance(records.manifest.get("resolved"), Mapping):
        return None
    return _by_arm(
        _resolved(records, "chat"),
        lambda chat: "turns of the tokenizer's chat template" if chat else "running text",
    )


def _describe_checks(records: TrialRecords) -> str | None:
    """What was looked at before each arm was sampled, those of one outcome together; None where nothing was."""
    told: dict[tuple[str, str], list[str]] = {}
    for arm in records.arms:
        if arm.measured is None:
            continue
        for check in arm.measured.sampling_checks or ():
            said = {True: check.text, False: f"no, {check.text}", None: f"not known, {check.text}"}[check.holds]
            told.setdefault((check.name, said), []).append(arm.name)
        for found, text in ((arm.measured.cut_prompts, "cut to leave the answer room"),):
            if found:
                told.setdefault(("prompts", f"{len(found):,} {text}"), []).append(arm.name)
        if arm.measured.near_ties:
            said = f"{arm.measured.near_ties:,} tokens that rounding could have chosen otherwise"
            told.setdefault(("near-ties", said), []).append(arm.name)
    return "; ".join(f"{name}: {said} ({listing(arms)})" for (name, said), arms in told.items()) or None


def _describe_judging(records: TrialRecords) -> str:
    judging = records.trial.judging
    others = [metric_name(m) for m in judging.metrics if m != judging.primary]
    text = f"{metric_name(judging.primary)} decides"
    if others:
        text += f", {listing(others)} beside it"
    text += f". Several references: {_RULES[judging.references]}."
    text += f" Up to {judging.margin:g} less than the best still counts as good enough."
    chosen = at_path(records.manifest, "resolved", RESOLVED_KEY)
    if isinstance(chosen, Mapping) and chosen.get("needed"):
        text += (
            f" {plural(chosen['prompts'], 'prompt')} for blind grading: a true difference of "
            f"{100 * chosen['difference']:g} points in 100 takes {chosen['needed']} ({chosen['assumption']})."
        )
    return f"{text} Serving counts in an arm’s cost for {plural(judging.requests, 'request')}."


def _describe_prices(trial: Trial) -> str | None:
    prices = trial.prices
    named = (
        ("an hour of the machine", prices.hour),
        ("a million prompt tokens", prices.input_million),
        ("a million generated tokens", prices.output_million),
    )
    parts = [f"{name} {price:g}" for name, price in named if price is not None]
    parts += [f"the machine draws {prices.watts:g} watts"] if prices.watts is not None else []
    return ", ".join(parts) or None


def _describe_training(trial: Trial) -> str:
    training = trial.training
    parts = [
        f"{training.epochs:g} epoch{'s' * (training.epochs != 1)}",
        f"{training.batch_tokens} tokens a batch",
        f"{training.schedule} schedule",
        f"seed {training.seed}",
    ]
    if training.seeds > 1:
        parts.append(f"{training.seeds} seeds")
    return ", ".join(parts)


def _describe_examples(data: Mapping[str, Any]) -> str | None:
    """How many examples each split has after the cut, and what was dropped on the way."""
    rows = at_path(data, "text", "rows")
    if not isinstance(rows, Mapping):
        return None
    named = (("train", "to train on"), ("validation", "for validation"), ("heldout", "held out"))
    text = ", ".join(f"{whole(rows[name])} {words}" for name, words in named if rows.get(name))
    notes = at_path(data, "text", "notes") or ()
    return "; ".join([text, *map(str, notes)]) or None


def _other_bases(trial: Trial) -> Iterable[str]:
    """The arms that start from another model than the trial's, by that model."""
    bases: dict[str, list[str]] = {}
    for name, arm in trial.arms.items():
        if arm.start_from is not None:
            bases.setdefault(arm.start_from, []).append(name)
    for base, names in bases.items():
        yield f"{listing(names)} start{'s' * (len(names) == 1)} from {short_source(base)}"


def _compared(material: Material) -> Iterable[Block]:
    records, trial = material.records, material.records.trial
    stored = records.manifest.get("base_format")
    model = short_source(trial.model) + (f" ({stored})" if stored else "")
    facts = [Fact("Model", "; ".join((model, *_other_bases(trial)))), Fact("Data", describe_source(trial.data))]
    if examples := _describe_examples(records.data):
        facts.append(Fact("Examples", examples))
    n_prompts = plural(len(records.prompt_ids), "held-out prompt")
    if records.manifest.get("outputs_only"):
        facts.append(Fact("Prompts", f"{plural(len(records.prompt_ids), 'prompt')}, as the file gives them"))
    else:
        facts.append(Fact("Prompts", f"{n_prompts}, chosen by seed {trial.sampling.seed}"))
    if shown := _describe_showing(records):
        facts.append(Fact("Shown as", shown))
    if any(arm.tuned for arm in trial.arms.values()):
        facts.append(Fact("Tuning", _describe_training(trial)))
    facts += [Fact("Sampling", _describe_sampling(records)), Fact("Judged by", _describe_judging(records))]
    if checks := _describe_checks(records):
        facts.append(Fact("Checked before sampling", checks))
    if prices := _describe_prices(trial):
        facts.append(Fact("Prices", prices))
    if trial.judging.criterion:
        facts.append(Fact("A good answer", trial.judging.criterion))
    yield Facts(tuple(facts))


COMPARED = SectionMaker("compared", "What was compared", _compared)
