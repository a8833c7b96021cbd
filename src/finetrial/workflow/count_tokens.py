"""Count what every arm of a trial reads and writes, by its own tokenizer, for the plan. Needs no weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from finetrial.errors import FinetrialError
from finetrial.planning.token_counts import (
    BYTES_A_TOKEN,
    ArmTokens,
    TrialTokens,
    estimate_tokens,
    text_bytes,
    with_answers,
)
from finetrial.sampling.prompts import arm_prompts
from finetrial.trial.examples import EncodedSplit, Example, Splits
from finetrial.trial.resolve import ResolvedArm, SampledArm
from finetrial.trial.schema import Trial
from finetrial.trial.subset import sampled_examples, tuned_rows, unit_count
from finetrial.workflow.resolve_trial import completion_tokens

Encode = Callable[[ResolvedArm, Sequence[Example]], EncodedSplit]  # an arm's examples as training sees them


def count_tokens(
    trial: Trial,
    splits: Splits,
    *,
    arms: Mapping[str, SampledArm],
    tokenizer_of: Callable[[str], Any],
    encode: Encode,
    positions_of: Callable[[str], int | None],
    retained_bytes: int = 0,
) -> TrialTokens:
    """The counts of all arms. Those of an arm that will fail are estimated: what is wrong is said when it runs."""
    heldout = sampled_examples(splits.heldout, sampling=trial.sampling)
    found: dict[str, ArmTokens] = {}
    for name, arm in arms.items():
        try:
            found[name] = _count(
                trial,
                splits,
                name=name,
                arm=arm,
                heldout=heldout,
                tokenizer=tokenizer_of(name),
                encode=encode,
                context=positions_of(name),
            )
        except FinetrialError:
            found[name] = estimate_tokens(trial, splits).arms[name]
    return TrialTokens(
        arms=found,
        counted=True,
        text_bytes=text_bytes(splits),
        retained_tokens=round(retained_bytes / BYTES_A_TOKEN),
        greedy=all(arm.decoding.temperature == 0 for arm in arms.values()),
        units=unit_count(heldout),
    )


def _count(
    trial: Trial,
    splits: Splits,
    *,
    name: str,
    arm: SampledArm,
    heldout: Sequence[Example],
    tokenizer: Any,
    encode: Encode,
    context: int | None,
) -> ArmTokens:
    is_tuned = trial.arms[name].tuned
    train = encode(arm, splits.train).examples if is_tuned else ()
    train = tuned_rows(train, count=trial.arms[name].rows, seed=trial.data.seed)
    validation = encode(arm, splits.validation).examples if is_tuned else ()
    prompts = arm_prompts(arm, heldout, data=trial.data, tokenizer=tokenizer, train=splits.train, context=context)
    return ArmTokens(
        train=tuple(len(example.token_ids) for example in train),
        train_loss=sum(example.trained_tokens for example in train),
        validation=tuple(len(example.token_ids) for example in validation),
        validation_loss=sum(example.trained_tokens for example in validation),
        prompts=tuple(len(prompt.token_ids) for prompt in prompts),
        answers=tuple(
            completion_tokens(
                (e.references[0] for e in with_answers(heldout, train=splits.train)), tokenizer=tokenizer
            )
        ),
        max_new_tokens=arm.decoding.max_new_tokens,
        per_prompt=arm.decoding.per_prompt,
    )
