"""Put the trial file and the manifest into words: what was asked of a trial, and how it is asked again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.metrics.all import metric_name
from finetrial.reporting.answer import listing
from finetrial.reporting.gather import TrialRecords
from finetrial.reporting.numbers import power_of_ten, whole
from finetrial.store.records import as_object
from finetrial.trial.schema import Arm, Data, Method, Source, Trial

_RULES = {
    "best_primary": "the reference best by the primary metric",
    "best": "the best reference for each metric",
    "mean": "the mean over the references",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A label and what there is to say."""

    label: str
    text: str


def _short(source: str) -> str:
    """A local path by its last part, for a report may travel; a hub id as it is."""
    return Path(source).name or source if source.startswith(("/", ".", "~")) else source


def describe_arm(arm: Arm) -> str:
    """What an arm is: `LoRA, rank 4 on q and v`."""
    match arm.kind:
        case Method.BASE:
            text = "the model as it is"
        case Method.PROMPTED:
            text = _describe_prompt(arm)
        case Method.FULL:
            text = "every parameter tuned"
        case Method.LORA:
            name = "DoRA" if arm.dora else "LoRA"
            text = f"{name}, rank {arm.rank} on {listing(list(arm.targets))}, alpha {arm.scaling_alpha:g}"
            if arm.quantize:
                text += f", base in {arm.quantize}"
        case Method.EXTERNAL:
            text = f"tuned elsewhere: {_short(arm.adapter or arm.model or '')}"
    if arm.shots and arm.kind is not Method.PROMPTED:
        text += f", {arm.shots} examples in the prompt"
    return text


def _describe_prompt(arm: Arm) -> str:
    """What a prompted arm is shown beside the prompt."""
    parts = [f"{arm.shots} example{'s' * (arm.shots != 1)} in the prompt"] if arm.shots else []
    parts += [f"the prompt of {_short(arm.prompt_file)}"] if arm.prompt_file else []
    parts += ["a template of its own"] if arm.template else []
    return f"the model with {listing(parts)}" if parts else "the model with a prompt of its own"


def _describe_source(data: Data) -> str:
    if isinstance(data.source, Source):
        parts = [data.source.train, data.source.validation, data.source.heldout]
        named = zip(("train", "validation", "held out"), parts, strict=True)
        return "; ".join(f"{name}: {_short(part)}" for name, part in named if part)
    return _short(data.source) + (f" at revision {data.revision}" if data.revision else "")


def _resolved(records: TrialRecords, key: str) -> dict[str, tuple[Any, bool]]:
    """What a key came to in each arm, and whether an `auto` chose it; where the manifest does not say, what the
    trial file has."""
    trial, written = records.trial, records.manifest.get("resolved")
    found = {}
    for name, arm in trial.arms.items():
        row = _part(written or {}, name)
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
    sampling = records.trial.sampling
    samples = _by_arm(_resolved(records, "per_prompt"), lambda n: f"{n} sample{'s' * (n != 1)} a prompt")
    temperatures = _resolved(records, "temperature")
    parts = [
        samples,
        _by_arm(_resolved(records, "max_new_tokens"), lambda n: f"at most {n} new tokens"),
        _by_arm(temperatures, _say_temperature),
    ]
    if any(value != 0 for value, _ in temperatures.values()):
        parts.append(f"top-p {sampling.top_p:g}")
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


def _describe_judging(trial: Trial) -> str:
    judging = trial.judging
    others = [metric_name(m) for m in judging.metrics if m != judging.primary]
    text = f"{metric_name(judging.primary)} decides"
    if others:
        text += f", {listing(others)} beside it"
    text += f". Several references: {_RULES[judging.references]}."
    text += f" Up to {judging.margin:g} less than the best still counts as good enough."
    many = "s" * (judging.requests != 1)
    return f"{text} Serving counts in an arm’s cost for {judging.requests:,} request{many}."


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


def _part(content: Mapping[str, Any], *names: str) -> Any:
    """What stands at a path of a JSON object; None where the path ends early."""
    for name in names:
        content = content.get(name) if isinstance(content, Mapping) else None  # type: ignore[assignment]
    return content


def _describe_examples(data: Mapping[str, Any]) -> str | None:
    """How many examples each split has after the cut, and what was dropped on the way."""
    rows = _part(data, "text", "rows")
    if not isinstance(rows, Mapping):
        return None
    named = (("train", "to train on"), ("validation", "for validation"), ("heldout", "held out"))
    text = ", ".join(f"{whole(rows[name])} {words}" for name, words in named if rows.get(name))
    notes = _part(data, "text", "notes") or ()
    return "; ".join([text, *map(str, notes)]) or None


def data_findings(data: Mapping[str, Any]) -> tuple[str, ...]:
    """What the data gate let pass but wants known, each thing once."""
    gates = [_part(data, "text"), *(_part(data, "tokens") or {}).values()]
    messages = [f"Data: {finding['message']}." for gate in gates for finding in (_part(gate, "findings") or ())]
    return tuple(dict.fromkeys(messages))


def failures(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Why an arm stopped, as the run recorded it."""
    stopped = manifest.get("failures")
    return tuple(f"{arm} stopped: {_part(error, 'what')}." for arm, error in (stopped or {}).items())


def asked(records: TrialRecords) -> tuple[Fact, ...]:
    """The trial file in words."""
    trial = records.trial
    stored = records.manifest.get("base_format")
    model = _short(trial.model) + (f" ({stored})" if stored else "")
    facts = [Fact("Model", model), Fact("Data", _describe_source(trial.data))]
    if examples := _describe_examples(records.data):
        facts.append(Fact("Examples", examples))
    n_prompts = len({sample.prompt_id for sample in records.samples})
    facts.append(Fact("Prompts", f"{n_prompts} held-out prompts, chosen by seed {trial.sampling.seed}"))
    if shown := _describe_showing(records):
        facts.append(Fact("Shown as", shown))
    if any(arm.tuned for arm in trial.arms.values()):
        facts.append(Fact("Tuning", _describe_training(trial)))
    facts += [Fact("Sampling", _describe_sampling(records)), Fact("Judged by", _describe_judging(trial))]
    if prices := _describe_prices(trial):
        facts.append(Fact("Prices", prices))
    if trial.judging.criterion:
        facts.append(Fact("A good answer", trial.judging.criterion))
    return tuple(facts)


def _flat(value: Any) -> str:
    """A manifest's value in words; nested ones as `name value, name value`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, (list, tuple)):
        return " ".join(_flat(item) for item in value)
    return power_of_ten(value) if isinstance(value, float) else str(value)


# What of the manifest stands elsewhere in the report.
_NOT_LISTED = ("steps", "seeds", "failures", "resolved", "base_format")


def recompute(records: TrialRecords) -> tuple[Fact, ...]:
    """The command, versions, seeds and device that the manifest recorded, under the names it gives them."""
    trial = records.trial
    facts = [
        Fact(str(name).replace("_", " ").capitalize(), _flat(value))
        for name, value in records.manifest.items()
        if name not in _NOT_LISTED and value not in (None, "", {}, [])
    ]
    seeds = f"data {trial.data.seed}, training {trial.training.seed}, sampling and grading {trial.sampling.seed}"
    fast = [Fact(f"Fast paths, {names}", text) for text, names in _fast_paths(records).items()]
    return (*facts, Fact("Seeds", seeds), *fast)


def _fast_paths(records: TrialRecords) -> dict[str, str]:
    """Which fast ways of computing were on, and why one was not: what there is to say -> the arms it is said of."""
    arms: dict[str, list[str]] = {}
    for arm in records.arms:
        paths = () if arm.measured is None else as_object(arm.measured)["fast_paths"] or ()
        on = [path["name"] for path in paths if path["on"]]
        off = [f"{path['name']} ({path['reason']})" for path in paths if not path["on"]]
        text = "; ".join([f"on: {', '.join(on)}"] * bool(on) + [f"off: {', '.join(off)}"] * bool(off))
        if text:
            arms.setdefault(text, []).append(arm.name)
    return {text: listing(names) for text, names in arms.items()}
