"""Encode each held-out prompt as an arm is shown it.

The same text and tokens as in training, and never more than leave room for the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from finetrial.errors import FinetrialError, UserError
from finetrial.models.encode import Overlong, encode_prompt
from finetrial.sampling.prompt_task import PromptTask
from finetrial.trial.chats import readable
from finetrial.trial.examples import Encoded, Example, Splits
from finetrial.trial.prompted import choose_shots, with_shot_turns, with_shots
from finetrial.trial.resolve import SampledArm
from finetrial.trial.schema import Data, Trial

_LISTED = 10  # prompts that a line names


def arm_prompts(
    arm: SampledArm,
    examples: Sequence[Example],
    *,
    data: Data,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Example],
    context: int | None,
) -> list[PromptTask]:
    """The prompts of one arm, in the examples' order.

    A prompt that is too long for `data.max_tokens`, or for the context less the answer, is refused or cut as the
    trial file says; behind solved examples the context alone is its limit. Raises UserError that counts those that
    are refused and names the first of them, and for a prompt without tokens.
    """
    decoding = arm.decoding
    if arm.method.is_answered_elsewhere:
        return [_sent(arm, example, train=train) for example in examples]
    in_context = None if context is None else context - decoding.max_new_tokens
    room = in_context if arm.shots else min(r for r in (data.max_tokens, in_context) if r is not None)
    tasks = []
    faults: list[tuple[Example, Overlong]] = []
    for example in examples:
        shots = choose_shots(example, shots=arm.shots, train=train, seed=decoding.seed) if arm.shots else ()
        try:
            prompt = encode_prompt(
                example,
                tokenizer=tokenizer,
                form=arm.form,
                max_tokens=room,
                overlong=data.overlong,
                shots=shots,
                separator=arm.separator,
            )
        except Overlong as fault:
            faults.append((example, fault))
            continue
        if not prompt.token_ids:
            raise UserError(
                f"the prompt of {example.origin} is empty as {arm.name} is shown it",
                got="no tokens, and this tokenizer begins a text with none",
                fix="Give the row a prompt, or the trial a template with text of its own.",
            )
        tasks.append(
            PromptTask(
                prompt_id=example.id,
                group=example.group,
                text=prompt.text,
                token_ids=prompt.token_ids,
                references=example.references,
                source=example.prompt,
                turns=prompt.turns,
                tools=arm.form.tools_of(example) if prompt.turns else (),
                cut_tokens=prompt.cut_tokens,
            )
        )
    if faults:
        raise _refused(faults, of=len(examples))
    return tasks


def _sent(arm: SampledArm, example: Example, *, train: Sequence[Example]) -> PromptTask:
    """The prompt as it is sent to whoever answers elsewhere: whole, for how long it may be is for them to say."""
    form, decoding = arm.form, arm.decoding
    shots = choose_shots(example, shots=arm.shots, train=train, seed=decoding.seed) if arm.shots else ()
    turns = with_shot_turns(example, shots=shots, form=form) if form.chat else ()
    text = readable(turns)
    if not form.chat:
        text = with_shots(example, shots=shots, template=form.template, separator=arm.separator)
    return PromptTask(
        prompt_id=example.id,
        group=example.group,
        text=text,
        token_ids=(),
        references=example.references,
        source=example.prompt,
        turns=turns,
        tools=form.tools_of(example) if form.chat else (),
    )


def _refused(faults: Sequence[tuple[Example, Overlong]], *, of: int) -> UserError:
    """One error for all prompts that are too long, the longest of which says how long."""
    _, longest = max(faults, key=lambda pair: pair[1].tokens)
    if len(faults) == 1:
        return longest
    listed = _listed([example.origin for example, _ in faults])
    behind = f"; most of all {longest.what.removesuffix(' is too long to be answered')}"
    return UserError(
        f"{len(faults):,} of {of:,} prompts are too long to be answered: {listed}{behind}",
        got=longest.got,
        expected=longest.expected,
        fix=longest.fix,
    )


def cut_text(ids: Sequence[str], *, of: int) -> str:
    """How many prompts were cut to leave the answer room, and which; the first of many."""
    return f"{len(ids):,} of {of:,} prompts are cut to leave the answer room: {_listed(ids)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else "")


def behind_prompt(encoded: Encoded, prompt: PromptTask, *, context: int | None) -> Encoded:
    """The example's reference behind the very prompt that an arm is sampled from, for the loss of that arm.

    Only the reference carries loss; where both exceed the context, the prompt loses its oldest tokens.
    """
    start = len(encoded.trained)
    while (
        start and encoded.trained[start - 1]
    ):  # the last run of trained tokens: a chat's earlier answers are shown
        start -= 1
    reference = encoded.token_ids[start:]
    shown = prompt.token_ids if context is None else prompt.token_ids[-max(1, context - len(reference)) :]
    return Encoded(
        example_id=encoded.example_id,
        token_ids=shown + reference,
        trained=(False,) * len(shown) + (True,) * len(reference),
    )


def shown_prompts(
    arms: Mapping[str, SampledArm],
    splits: Splits,
    *,
    trial: Trial,
    tokenizer_of: Callable[[str], PreTrainedTokenizerBase],
    positions_of: Callable[[str], int | None],
) -> dict[str, str]:
    """The first held-out prompt as every arm is shown it, as text with its special tokens. An arm that cannot be
    shown it is left out: the gate says why."""
    shown = {}
    for name, arm in arms.items():
        try:
            tokenizer = tokenizer_of(name)
            (task,) = arm_prompts(
                arm,
                splits.heldout[:1],
                data=trial.data,
                tokenizer=tokenizer,
                train=splits.train,
                context=positions_of(name),
            )
        except FinetrialError:
            continue
        if not task.token_ids:
            shown[name] = task.text
            continue
        shown[name] = str(
            tokenizer.decode(list(task.token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )
    return shown
