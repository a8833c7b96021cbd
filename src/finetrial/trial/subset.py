"""Choose the held-out prompts that are sampled, and those of them that people grade.

Both choices depend on the prompts' ids and a seed alone, so they are fixed before anything is sampled and do not
move when rows are added elsewhere: every id gets a pseudo-random rank, and the lowest ranks are taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from finetrial.errors import UserError
from finetrial.trial.examples import Example
from finetrial.trial.schema import Sampling


def _rank(prompt_id: str, *, seed: int, purpose: str) -> bytes:
    return hashlib.sha256(f"{purpose}\0{seed}\0{prompt_id}".encode()).digest()


def sampled_prompts(prompt_ids: Sequence[str], *, count: int, seed: int) -> tuple[str, ...]:
    """The `count` prompts to sample, in the data's order; all of them when there are no more."""
    chosen = set(sorted(prompt_ids, key=lambda p: _rank(p, seed=seed, purpose="sample"))[:count])
    return tuple(p for p in prompt_ids if p in chosen)


def check_prompt_count(sampling: Sampling, *, heldout: int) -> None:
    """Raises UserError where more prompts are asked for than are held out; a default takes what there is."""
    if "prompts" in sampling.model_fields_set and sampling.prompts > heldout:
        raise UserError(
            "sampling.prompts asks for more prompts than are held out",
            got=f"{sampling.prompts:,}",
            expected=f"at most {heldout:,}",
            fix="Lower sampling.prompts or raise data.heldout.",
        )


def sampled_examples(heldout: Sequence[Example], *, sampling: Sampling) -> tuple[Example, ...]:
    """The held-out examples whose prompts are sampled, in the data's order."""
    chosen = set(sampled_prompts([e.id for e in heldout], count=sampling.prompts, seed=sampling.seed))
    return tuple(example for example in heldout if example.id in chosen)


def grading_prompts(prompt_ids: Iterable[str], *, count: int, seed: int) -> frozenset[str]:
    """The `count` of the sampled prompts that await blind grades."""
    return frozenset(sorted(set(prompt_ids), key=lambda p: _rank(p, seed=seed, purpose="grade"))[:count])
