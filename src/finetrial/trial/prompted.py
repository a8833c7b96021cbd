"""What does the prompted arm see: which examples of the training data stand before the prompt?

The shots of a prompt depend on the seed and the prompt's id alone. Every prompt draws its own, so the arm's result
does not hang on one lucky choice, and no shot repeats the prompt that is asked.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace

from finetrial.errors import UserError
from finetrial.trial.examples import Example
from finetrial.trial.template import render_prompt, seam

# Between one shot and the next: a blank line, as in GPT-3's few-shot prompts (Brown et al. 2020, appendix G).
SHOT_JOINT = "\n\n"


def choose_shots(example: Example, *, shots: int, train: Sequence[Example], seed: int) -> tuple[Example, ...]:
    """The training examples that are shown before this example, in their order. Fewer than asked is an error."""
    key = hashlib.sha256(f"shots\0{seed}\0{example.id}".encode()).digest()
    picked = random.Random(key).sample(range(len(train)), min(len(train), shots + 1))
    chosen = [train[i] for i in picked if train[i].prompt != example.prompt][:shots]
    if len(chosen) < shots:
        chosen = [other for other in train if other.prompt != example.prompt][:shots]
    if len(chosen) < shots:
        raise UserError(
            "there are too few training examples for the prompted arm's shots",
            got=f"{len(chosen)}",
            expected=f"{shots}",
            fix="Lower `shots` or raise data.train.",
        )
    return tuple(chosen)


def with_shots(example: Example, *, shots: int, train: Sequence[Example], template: str, seed: int) -> str:
    """The prompt as text with `shots` solved training examples before it, each in the same template."""
    solved: list[str] = []
    for shot in choose_shots(example, shots=shots, train=train, seed=seed):
        prompt, completion = render_prompt(shot, template=template), shot.references[0]
        solved.append((prompt + seam(prompt, completion) + completion).strip())
    return SHOT_JOINT.join([*solved, render_prompt(example, template=template)])


def with_shot_turns(example: Example, *, shots: int, train: Sequence[Example], seed: int) -> Example:
    """A chat with `shots` solved training chats as earlier turns; only its own system turn stays, in front."""
    assert example.messages is not None, "shots become turns in chats only"
    chosen = choose_shots(example, shots=shots, train=train, seed=seed)
    own = [turn for turn in example.messages if turn.role != "system"]
    system = [turn for turn in example.messages if turn.role == "system"]
    earlier = [turn for shot in chosen for turn in shot.messages or () if turn.role != "system"]
    return replace(example, messages=(*system, *earlier, *own))
