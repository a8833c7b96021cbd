"""Resolve the arms of a trial: what each starts from, how it is shown an example, and how it is sampled.

Whoever encodes, tunes, samples or reports takes a `ResolvedArm`, never the trial file's `auto`. It is made without
reading any data: tuning needs no more, and never looks at held-out rows. A `SampledArm` adds what `auto` chose from
the data; the manifest keeps that under `resolved`, beside the names of the keys that were left to `auto`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from finetrial.methods.method import Method
from finetrial.trial.arms import Arm
from finetrial.trial.autos import (
    choose_max_new_tokens,
    choose_per_prompt,
    choose_separator,
    choose_stops,
    choose_temperature,
    one_right_answer,
)
from finetrial.trial.examples import Example
from finetrial.trial.form import Form
from finetrial.trial.schema import Trial
from finetrial.trial.trial_file import LoadedTrial

PrecisionKey = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedArm:
    """One arm of one trial, its paths and the trial's defaults filled in."""

    name: str
    keys: Arm  # as the trial file has them
    method: Method
    model: str  # that it starts from: a folder or GGUF file by its absolute path, or a hub id
    base: str  # the same; of an arm from elsewhere the trial's model
    has_own_model: bool  # the arm brings the model; else it is the trial's
    adapter: Path | None  # made elsewhere
    form: Form
    shots: int
    learning_rate: float | Literal["auto"] | None  # None: the method's default
    epochs: float
    precision: PrecisionKey
    runs: int  # training runs; 0: it is not tuned
    file: Path | None = None  # that its answers stand in, or that is run for them

    @property
    def tuned(self) -> bool:
        """Whether this trial trains it."""
        return self.runs > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How answers are drawn from a model."""

    per_prompt: int
    max_new_tokens: int
    temperature: float  # 0 is greedy
    top_p: float = 0.95
    top_k: int | None = None
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    strip: str | None = None  # taken off before scoring: blocks by their tag, or a regular expression
    stop: tuple[str, ...] = ()  # each counts only behind the first character that is not white space
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledArm(ResolvedArm):
    """An arm with everything that `auto` chose from the data for sampling it."""

    separator: str  # between two examples in a prompt of running text
    decoding: Decoding
    chosen: tuple[str, ...]  # the keys that the trial file left to `auto`

    def as_dict(self) -> dict[str, Any]:
        """What stands in the manifest."""
        decoding = self.decoding
        return {
            "chat": self.form.chat,
            "stop": list(decoding.stop),
            "separator": self.separator if self.shots and not self.form.chat else None,
            "max_new_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "per_prompt": decoding.per_prompt,
            "auto": list(self.chosen),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """What the rules for lengths need and only a tokenizer can say. Lengths are in tokens."""

    completions: Sequence[int]  # of the training completions, end token included
    context: int | None  # the model's number of positions; None: no limit
    longest_prompts: Sequence[int]  # of held-out prompts as they are shown, one an arm; empty: longer ones are cut


def resolve_arms(loaded: LoadedTrial, *, forms: Mapping[str, Form]) -> dict[str, ResolvedArm]:
    """Every arm of a trial. `forms` says how each is shown an example."""
    trial = loaded.trial
    return {
        name: ResolvedArm(
            name=name,
            keys=arm,
            method=arm.method,
            model=loaded.model_source(trial.model_of(name)),
            base=loaded.base_source(name),
            has_own_model=shown.model is not None,
            adapter=loaded.path(shown.adapter) if shown.adapter else None,
            form=forms[name],
            shots=shown.shots or 0,
            learning_rate=trial.rate_of(name),
            epochs=trial.epochs_of(name),
            precision=shown.precision or trial.training.precision,
            runs=trial.runs_of(name),
            file=loaded.path(named) if (named := arm.method.answers_file) else None,
        )
        for name, arm in trial.arms.items()
        for shown in (trial.shown_as(name),)
    }


def _all_completions(train: Sequence[Example]) -> list[str]:
    return [text for example in train for text in example.references]


def _new_tokens(measured: Measurements) -> int:
    return choose_max_new_tokens(
        measured.completions, context=measured.context, longest_prompts=measured.longest_prompts
    )


def _sampled(arm: ResolvedArm, **chosen: Any) -> SampledArm:
    return SampledArm(**{field.name: getattr(arm, field.name) for field in fields(ResolvedArm)}, **chosen)


def resolve_sampling(
    trial: Trial,
    arms: Mapping[str, ResolvedArm],
    *,
    train: Sequence[Example],
    measured: Measurements | None,
    on_other_bases: Mapping[str, Measurements] = MappingProxyType({}),
) -> dict[str, SampledArm]:
    """Every arm with the choices of every `auto`. `measured` is needed where `max_new_tokens` is `auto`.

    `on_other_bases` has the measurements of arms that start from another model than the trial's: a text has another
    number of tokens there, and answers may grow as long as text. There is one separator, one set of default stops
    and one way of sampling a trial; an arm differs in its form and where the trial file gives it stops of its own.
    """
    sampling, completions = trial.sampling, _all_completions(train)
    separator = choose_separator(completions)
    prompted = any(arm.shots for arm in arms.values())
    default_stop = choose_stops(completions, separator=separator if prompted else None)
    first = [example.references[0] for example in train]
    one_answer = one_right_answer([example.prompt for example in train], first) is not None
    given = None if sampling.per_prompt == "auto" else sampling.per_prompt
    temperature = sampling.temperature
    if temperature == "auto":
        temperature = choose_temperature(one_answer=one_answer, per_prompt=given)
    new_tokens = sampling.max_new_tokens
    if new_tokens == "auto":
        assert measured is not None
        new_tokens = _new_tokens(measured)
    keys = ("max_new_tokens", "temperature", "per_prompt")
    left = tuple(key for key in keys if getattr(sampling, key) == "auto")
    resolved = {}
    for name, arm in arms.items():
        own = trial.shown_as(name).stop
        asked = sampling.stop if own is None else own
        resolved[name] = _sampled(
            arm,
            separator=separator,
            decoding=Decoding(
                per_prompt=choose_per_prompt(temperature=temperature) if given is None else given,
                max_new_tokens=_new_tokens(on_other_bases[name]) if name in on_other_bases else new_tokens,
                temperature=temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                min_p=sampling.min_p,
                repetition_penalty=sampling.repetition_penalty,
                strip=sampling.strip,
                stop=default_stop if asked == "auto" else asked,
                seed=sampling.seed,
            ),
            chosen=(
                *(("chat",) if trial.chat_of(name) == "auto" else ()),
                *(("stop",) if asked == "auto" else ()),
                *left,
            ),
        )
    return resolved
