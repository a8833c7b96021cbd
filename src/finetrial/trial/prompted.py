"""Put solved training examples before a prompt.

The shots of a prompt depend on the seed and the prompt's id alone. Every prompt draws its own, so the arm's result
does not hang on one lucky choice, and no shot repeats the prompt that is asked.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

from finetrial.errors import UserError
from finetrial.trial.examples import Example, Message
from finetrial.trial.form import SYSTEM, Form
from finetrial.trial.template import render_prompt, seam


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


def with_shots(example: Example, *, shots: Sequence[Example], template: str, separator: str) -> str:
    """The prompt as text with solved examples before it, each in the same template, `separator` between them."""
    solved: list[str] = []
    for shot in shots:
        prompt, completion = render_prompt(shot, template=template), shot.references[0]
        solved.append((prompt + seam(prompt, completion) + completion).strip())
    return separator.join([*solved, render_prompt(example, template=template)])


def with_shot_turns(example: Example, *, shots: Sequence[Example], form: Form) -> tuple[Message, ...]:
    """The turns of a prompt with solved examples as earlier turns; only its own system turn stays, in front."""
    asked = form.prompt_turns(example)
    system = [turn for turn in asked if turn.role == SYSTEM]
    earlier = [turn for shot in shots for turn in form.answered_turns(shot) if turn.role != SYSTEM]
    return (*system, *earlier, *(turn for turn in asked if turn.role != SYSTEM))
