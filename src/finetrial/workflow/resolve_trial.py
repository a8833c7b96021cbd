"""Resolve the arms of a trial with its tokenizers at hand.

Needs tokenizers and no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from finetrial.errors import FinetrialError
from finetrial.models.encode import encode_prompt
from finetrial.models.loading import load_tokenizer
from finetrial.models.tokenise import continuation_ids, end_token_id, traits_of
from finetrial.trial.autos import choose_separator
from finetrial.trial.examples import Splits
from finetrial.trial.form import Form, forms_of
from finetrial.trial.prompted import choose_shots
from finetrial.trial.resolve import Measurements, ResolvedArm, SampledArm, resolve_arms, resolve_sampling
from finetrial.trial.schema import Trial
from finetrial.trial.template import seam
from finetrial.trial.trial_file import LoadedTrial

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenizer_source(loaded: LoadedTrial, arm: str) -> tuple[str, tuple[str, ...]]:
    """Where an arm's tokenizer stands, and the special tokens it is given: an external model's own, else the
    base's, with the trial's special tokens for arms that are tuned."""
    chosen = loaded.trial.shown_as(arm)
    source = loaded.model_source(loaded.trial.model_of(arm))
    if chosen.adapter and any(loaded.path(chosen.adapter).glob("tokenizer*")):
        source = str(loaded.path(chosen.adapter))
    return source, loaded.trial.data.special_tokens if chosen.tuned else ()


class Tokenizers:
    """The tokenizers of a trial's arms, each read once."""

    def __init__(self, loaded: LoadedTrial) -> None:
        self._loaded = loaded
        self._read: dict[tuple[str, tuple[str, ...]], PreTrainedTokenizerBase] = {}

    def of(self, arm: str) -> PreTrainedTokenizerBase:
        key = tokenizer_source(self._loaded, arm)
        if key not in self._read:
            source, special = key
            trusted = self._loaded.trial.trust_remote_code
            self._read[key] = load_tokenizer(source, special_tokens=special, trust_remote_code=trusted)
        return self._read[key]

    def of_trial(self) -> PreTrainedTokenizerBase:
        """The one that training uses: with the special tokens where any arm is tuned."""
        arms = self._loaded.trial.arms
        own = [name for name, arm in arms.items() if not (arm.model or arm.adapter or arm.start_from)]
        return self.of(next((name for name in own if arms[name].tuned), next(iter(own or arms))))


def arm_forms(trial: Trial, *, tokenizer_of: Callable[[str], PreTrainedTokenizerBase]) -> dict[str, Form]:
    """How every arm is shown an example: whether as a chat is for its own tokenizer to say.

    Raises UserError where a form that was asked for cannot be had.
    """
    return forms_of(trial, chat_templates=_chat_templates(trial, tokenizer_of=tokenizer_of))


def _chat_templates(trial: Trial, *, tokenizer_of: Callable[[str], PreTrainedTokenizerBase]) -> dict[str, bool]:
    """Which arms' tokenizers have a chat template. One that cannot be read has none, its arm fails alone."""
    found = {}
    for arm in trial.arms:
        if trial.arms[arm].method.is_answered_elsewhere:  # its server makes a prompt of turns
            found[arm] = trial.chat_of(arm) != "never"
            continue
        try:
            found[arm] = bool(tokenizer_of(arm).chat_template)
        except FinetrialError:
            if trial.shown_as(arm).model is None and trial.shown_as(arm).adapter is None:
                raise
            found[arm] = False
    return found


def completion_tokens(texts: Iterable[str], *, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The lengths of completions in tokens, behind a prompt and with their end tokens."""
    end_token_id(tokenizer)  # raises where there is none
    traits = traits_of(tokenizer)
    spaced = (seam("x", text) + text for text in texts)
    return [len(continuation_ids(text, tokenizer=tokenizer, traits=traits)) + 1 for text in spaced]


def _longest_prompts(
    trial: Trial,
    arms: Mapping[str, ResolvedArm],
    splits: Splits,
    *,
    tokenizer_of: Callable[[str], PreTrainedTokenizerBase],
) -> list[int]:
    """The longest held-out prompt of every arm on the trial's own model; empty where longer ones are truncated."""
    if trial.data.overlong == "cut":
        return []
    separator = choose_separator([text for example in splits.train for text in example.references])
    longest = []
    for arm in arms.values():
        if arm.has_own_model or arm.adapter or arm.method.is_answered_elsewhere:
            continue
        shots, seed = arm.shots, trial.sampling.seed
        lengths = [
            len(
                encode_prompt(
                    example,
                    tokenizer=tokenizer_of(arm.name),
                    form=arm.form,
                    shots=choose_shots(example, shots=shots, train=splits.train, seed=seed) if shots else (),
                    separator=separator,
                ).token_ids
            )
            for example in splits.heldout
        ]
        longest.append(max(lengths))
    return longest


def resolve_trial(
    loaded: LoadedTrial, splits: Splits, *, tokenizers: Tokenizers, positions_of: Callable[[str], int | None]
) -> dict[str, SampledArm]:
    """Every arm with what its `auto` keys chose from the data; `positions_of` gives the positions of an arm's base.

    Raises UserError where a form that was asked for cannot be had.
    """
    trial = loaded.trial
    arms = resolve_arms(loaded, forms=arm_forms(trial, tokenizer_of=tokenizers.of))
    if trial.sampling.max_new_tokens != "auto":
        return resolve_sampling(trial, arms, train=splits.train, measured=None)
    by_base: dict[str | None, dict[str, ResolvedArm]] = {None: {}}
    for name, arm in arms.items():
        by_base.setdefault(trial.shown_as(name).start_from, {})[name] = arm
    measured = {
        base: Measurements(
            completions=completion_tokens(
                (example.references[0] for example in splits.train),
                tokenizer=tokenizers.of_trial() if base is None else tokenizers.of(next(iter(own))),
            ),
            context=positions_of(next(iter(own or arms))),
            longest_prompts=_longest_prompts(trial, own, splits, tokenizer_of=tokenizers.of)
            if positions_of(next(iter(own or arms))) is not None
            else (),
        )
        for base, own in by_base.items()
    }
    return resolve_sampling(
        trial,
        arms,
        train=splits.train,
        measured=measured[None],
        on_other_bases={name: measured[base] for base, own in by_base.items() if base is not None for name in own},
    )
