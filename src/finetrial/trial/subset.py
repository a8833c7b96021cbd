"""Choose the held-out prompts that are sampled, those that people grade, and an arm's training rows.

The choices depend on the prompts' ids and a seed alone, so they are fixed before anything is sampled and do not
move when rows are added elsewhere: every id gets a pseudo-random rank, and the lowest ranks are taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from finetrial.errors import UserError
from finetrial.trial.examples import Encoded, Example
from finetrial.trial.schema import Sampling


def _rank(prompt_id: str, *, seed: int, purpose: str) -> bytes:
    return hashlib.sha256(f"{purpose}\0{seed}\0{prompt_id}".encode()).digest()


def sampled_prompts(prompt_ids: Sequence[str], *, count: int, seed: int) -> tuple[str, ...]:
    """The `count` prompts to sample, in the data's order; all of them when there are no more."""
    chosen = set(sorted(prompt_ids, key=lambda p: _rank(p, seed=seed, purpose="sample"))[:count])
    return tuple(p for p in prompt_ids if p in chosen)


def training_rows(row_ids: Sequence[str], *, count: int | None, seed: int) -> frozenset[str]:
    """The `count` rows that an arm with `rows` is tuned on, None for all: fewer rows stand among more of them."""
    if count is None:
        return frozenset(row_ids)
    return frozenset(sorted(row_ids, key=lambda row: _rank(row, seed=seed, purpose="train"))[:count])


def tuned_rows(encoded: Sequence[Encoded], *, count: int | None, seed: int) -> tuple[Encoded, ...]:
    """Of the encoded training split, the examples that an arm with `rows` is tuned on, in the data's order."""
    chosen = training_rows([example.example_id for example in encoded], count=count, seed=seed)
    return tuple(example for example in encoded if example.example_id in chosen)


def check_row_count(arm: str, *, asked: int | None, rows: int) -> None:
    """Raises UserError where an arm is to be tuned on more rows than the training split has."""
    if asked is not None and asked > rows:
        raise UserError(
            f"arms.{arm}.rows asks for more rows than the training split has",
            got=f"{asked:,}",
            expected=f"at most {rows:,}",
            fix="Lower it, or raise data.train.",
        )


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


def unit_count(examples: Iterable[Example]) -> int:
    """How many units examples are: those of one group count as one."""
    return len({("prompt", e.id) if e.group is None else ("group", e.group) for e in examples})


def unit_name(prompt_id: str, *, group: str | None) -> str:
    """The unit that a prompt belongs to: its group, or itself."""
    return f"prompt {prompt_id}" if group is None else f"group {group}"


def flipped_prompts(units: Mapping[str, str], *, share: float, seed: int) -> frozenset[str]:
    """The prompts that await blind grades where a coin of its own decides over each unit: with probability `share`.

    `units` maps each prompt to the unit that it belongs to, itself or its group.
    """
    limit = share * 2**64
    return frozenset(
        prompt_id
        for prompt_id, unit in units.items()
        if int.from_bytes(_rank(unit, seed=seed, purpose="flip")[:8], "big") < limit
    )


def unit_order(units: Iterable[str], *, seed: int) -> list[str]:
    """Units in an order that the seed draws, and that knows nothing of who grades them."""
    return sorted(units, key=lambda unit: _rank(unit, seed=seed, purpose="order"))


def grading_prompts(prompt_ids: Iterable[str], *, count: int, seed: int) -> frozenset[str]:
    """The `count` of the sampled prompts that await blind grades."""
    return frozenset(sorted(set(prompt_ids), key=lambda p: _rank(p, seed=seed, purpose="grade"))[:count])
