"""What every arm reads and writes, in tokens: counted by a tokenizer, or estimated from the text's length.

Counts are kept in the user's cache once `check` or `run` has made them, under everything that decides them, so that
a plan needs neither the data nor a tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from finetrial.store.files import atomic_text
from finetrial.store.hashes import hash_value
from finetrial.store.user_cache import cache_root
from finetrial.trial.autos import (
    choose_max_new_tokens,
    choose_per_prompt,
    choose_temperature,
    one_right_answer,
)
from finetrial.trial.examples import Example, Splits
from finetrial.trial.schema import LOCAL_SUFFIXES, Source, Trial, is_local
from finetrial.trial.subset import sampled_examples, training_rows, unit_count
from finetrial.trial.template import render_prompt
from finetrial.trial.trial_file import LoadedTrial

# Bytes of UTF-8 to a token of English text: 4.1 to 4.6 for GPT-2's, Llama 3's and Qwen's vocabularies. Assumption
BYTES_A_TOKEN = 4.2
_TURN_TOKENS = 8  # of a chat's turns and of an end token, about. Assumption
_SHOTS = 200  # training examples whose lengths stand for those of shots. Assumption
_COUNTS_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmTokens:
    """What one arm reads and writes. A tuned arm alone has examples to train on."""

    train: tuple[int, ...]  # tokens of each training example
    train_loss: int  # of all of them, those that carry loss
    validation: tuple[int, ...]
    validation_loss: int
    prompts: tuple[int, ...]  # of the sampled held-out prompts as the arm is shown them
    answers: tuple[int, ...]  # of their references, end token included; of training rows' where they have none
    max_new_tokens: int
    per_prompt: int

    @property
    def longest_example(self) -> int:
        return max((*self.train, *self.validation), default=1)

    @property
    def answer_tokens(self) -> float:
        """Of one reference, in the mean."""
        return sum(self.answers) / len(self.answers) if self.answers else float(self.max_new_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTokens:
    """What the arms of a trial read and write."""

    arms: Mapping[str, ArmTokens]
    counted: bool  # by each arm's tokenizer; else estimated from the text
    text_bytes: int  # of all rows, which are read and checked
    retained_tokens: int  # of data.retain
    greedy: bool = False
    units: int | None = None  # of the sampled prompts, those of a group as one; None: as many as prompts


def estimate_tokens(trial: Trial, splits: Splits, *, retained_bytes: int = 0) -> TrialTokens:
    """What the arms read by the length of the text alone, at `BYTES_A_TOKEN`; chats are not told from text."""
    sampling = trial.sampling
    heldout = with_answers(sampled_examples(splits.heldout, sampling=sampling), train=splits.train)
    first = [example.references[0] for example in splits.train]
    one_answer = one_right_answer([example.prompt for example in splits.train], first) is not None
    given = None if sampling.per_prompt == "auto" else sampling.per_prompt
    temperature = sampling.temperature
    if temperature == "auto":
        temperature = choose_temperature(one_answer=one_answer, per_prompt=given)
    per_prompt = choose_per_prompt(temperature=temperature) if given is None else given
    new_tokens = sampling.max_new_tokens
    if new_tokens == "auto":
        new_tokens = choose_max_new_tokens([_tokens(text) + 1 for text in first])
    arms = {}
    for name, arm in trial.arms.items():
        template, most = trial.template_of(name), trial.data.max_tokens
        shown = [_example(e, template=template) for e in heldout]
        shots = [sum(_example(e, template=template)) for e in splits.train[:_SHOTS]] if arm.shots else []
        extra = round((arm.shots or 0) * sum(shots) / max(1, len(shots)))
        rows = training_rows([e.id for e in splits.train], count=arm.rows, seed=trial.data.seed)
        train = [_example(e, template=template) for e in splits.train if e.id in rows] if arm.tuned else []
        validation = [_example(e, template=template) for e in splits.validation] if arm.tuned else []
        arms[name] = ArmTokens(
            train=tuple(min(most, sum(sizes)) for sizes in train),
            train_loss=sum(answer for _, answer in train),
            validation=tuple(min(most, sum(sizes)) for sizes in validation),
            validation_loss=sum(answer for _, answer in validation),
            prompts=tuple(prompt + extra for prompt, _ in shown),
            answers=tuple(answer for _, answer in shown),
            max_new_tokens=new_tokens,
            per_prompt=per_prompt,
        )
    return TrialTokens(
        arms=arms,
        counted=False,
        text_bytes=text_bytes(splits),
        retained_tokens=round(retained_bytes / BYTES_A_TOKEN),
        greedy=temperature == 0,
        units=unit_count(heldout),
    )


def with_answers(heldout: Sequence[Example], *, train: Sequence[Example]) -> list[Example]:
    """The held-out examples, those without a completion with a training row's: answers are about as long."""
    return [
        example if example.references else replace(example, references=train[place % len(train)].references[:1])
        for place, example in enumerate(heldout)
    ]


def _tokens(text: str) -> int:
    return max(1, round(len(text.encode()) / BYTES_A_TOKEN))


def _example(example: Example, *, template: str) -> tuple[int, int]:
    """Tokens of the prompt as it is shown and of the answer, about."""
    return _tokens(render_prompt(example, template=template)) + _TURN_TOKENS, _tokens(example.references[0]) + 1


def text_bytes(splits: Splits) -> int:
    """The bytes of every prompt and reference."""
    rows = (*splits.train, *splits.validation, *splits.heldout)
    return sum(len(text.encode()) for row in rows for text in (row.prompt, *row.references))


def retained_bytes(loaded: LoadedTrial) -> int:
    """The size of the file that data.retain names; 0 where it names none."""
    named = loaded.trial.data.retain
    path = None if named is None else loaded.path(named)
    return path.stat().st_size if path is not None and path.is_file() else 0


def counts_path(loaded: LoadedTrial) -> Path:
    """Where the token counts of a trial are kept: under everything that decides them."""
    return cache_root() / "tokens" / f"{counts_key(loaded)[:32]}.json"


def counts_key(loaded: LoadedTrial) -> str:
    """The hash of what decides the token counts; files by their size and time of change."""
    trial = loaded.trial
    arms = {
        name: {key: arm.common[key] for key in ("template", "chat", "system", "shots", "stop")}
        | {"tuned": arm.tuned, "model": arm.model, "adapter": arm.adapter}
        | ({"from": arm.start_from} if arm.start_from else {})
        | ({"rows": arm.rows} if arm.rows else {})
        for name, arm in trial.arms.items()
    }
    named = [trial.data.source] if isinstance(trial.data.source, str) else list(_sources(trial.data.source))
    if trial.data.retain is not None:
        named.append(trial.data.retain)
    facts = [
        _COUNTS_VERSION,
        trial.data.model_dump(mode="json"),
        arms,
        trial.sampling.model_dump(mode="json"),
        [_stamp(loaded, name) for name in named],
        [_stamp(loaded, loaded.model_source(name)) for name in _models(trial)],
    ]
    return hash_value(facts)


def _sources(source: Source) -> Sequence[str]:
    return [name for name in (source.train, source.validation, source.heldout) if name is not None]


def _models(trial: Trial) -> list[str]:
    others = {source for arm in trial.arms.values() for source in (arm.model or arm.adapter, arm.start_from)}
    return [trial.model, *sorted(name for name in others if name)]


def _stamp(loaded: LoadedTrial, name: str) -> list[Any]:
    """A file's or folder's sizes and times of change; a hub id as it is."""
    path = loaded.path(name.split("[", 1)[0])
    if not is_local(name, base=loaded.base) and not path.exists():
        return [name]
    if path.is_dir():
        wanted = (*LOCAL_SUFFIXES, ".model", ".jinja")
        files = sorted(p for p in path.iterdir() if p.name.endswith(wanted))
    else:
        files = [path] if path.exists() else []
    return [name, *([p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files)]


def keep_tokens(loaded: LoadedTrial, tokens: TrialTokens) -> None:
    """Keep counts for the next plan. Where the cache cannot be written the next plan counts again."""
    try:
        atomic_text(counts_path(loaded), json.dumps(asdict(tokens)))
    except OSError:
        return


def kept_tokens(loaded: LoadedTrial) -> TrialTokens | None:
    """The counts that `check` or `run` kept for exactly this trial; None where there are none."""
    try:
        content = json.loads(counts_path(loaded).read_text(encoding="utf-8"))
        arms = {
            name: _arm_tokens({key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()})
            for name, fields in content.pop("arms").items()
        }
        return TrialTokens(**content, arms=arms)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _arm_tokens(fields: dict[str, Any]) -> ArmTokens:
    return ArmTokens(**fields)
