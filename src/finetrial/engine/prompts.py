"""What exactly is an arm shown for each held-out prompt?

The same text and tokens as in training, and never more than leave room for the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from finetrial.engine.encode import encode_prompt, prompt_text, shown_as_chat
from finetrial.engine.sample import PromptTask
from finetrial.engine.tokenise import prompt_ids
from finetrial.errors import UserError
from finetrial.trial.examples import Encoded, Example
from finetrial.trial.findings import counted
from finetrial.trial.prompted import with_shot_turns, with_shots
from finetrial.trial.schema import Trial


def _shown(
    example: Example,
    *,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    shots: int | None,
    train: Sequence[Example],
) -> str:
    if not shots:
        return prompt_text(example, tokenizer=tokenizer, template=template)
    if shown_as_chat(example, template=template):
        turns = with_shot_turns(example, shots=shots, train=train, seed=0)
        return prompt_text(turns, tokenizer=tokenizer, template=template)
    return with_shots(example, shots=shots, train=train, template=template, seed=0)


def arm_prompts(
    trial: Trial,
    arm: str,
    examples: Sequence[Example],
    *,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Example],
    context: int | None,
) -> list[PromptTask]:
    """The prompts of one arm, in the examples' order.

    A prompt that is too long for `data.max_tokens`, or for the context less the answer, is refused or cut as the
    trial file says. Before shots the shots lose their oldest tokens; the prompt itself stays whole.
    """
    shots, template = trial.arms[arm].shots, trial.template_of(arm)
    in_context = None if context is None else context - trial.sampling.max_new_tokens
    room = in_context if shots else min(r for r in (trial.data.max_tokens, in_context) if r is not None)
    tasks = []
    for example in examples:
        text = _shown(example, tokenizer=tokenizer, template=template, shots=shots, train=train)
        ids = prompt_ids(text, tokenizer=tokenizer, chat=shown_as_chat(example, template=template))
        if room is not None and len(ids) > room:
            if trial.data.overlong == "refuse":
                behind = f" behind {counted(shots, 'solved example')}" if shots else ""
                raise UserError(
                    f"{example.origin}{behind} is too long to be answered",
                    got=f"{len(ids):,} prompt tokens",
                    expected=f"at most {room:,}",
                    fix="Set data.overlong: cut, or use " + ("fewer shots." if shots else "shorter prompts."),
                )
            if shots:
                ids = ids[-room:]
                text = tokenizer.decode(ids)
            else:
                prompt = encode_prompt(
                    example, tokenizer=tokenizer, template=template, max_tokens=room, overlong="cut"
                )
                text, ids = prompt.text, prompt.token_ids
        tasks.append(
            PromptTask(
                prompt_id=example.id,
                group=example.group,
                text=text,
                token_ids=ids,
                references=example.references,
                source=example.prompt,
            )
        )
    return tasks


def behind_shots(encoded: Encoded, prompt: PromptTask, *, context: int | None) -> Encoded:
    """The example's reference behind the prompt that a prompted arm is shown, for the loss of that arm.

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
