"""Lay out what is graded blind: items without arms, pairs of them, and the key that joins them with samples.

Nothing is written here: `judging.blinding` writes what `set_aside` lays out, and verification lays it out again.
Equal texts for one prompt are one item, graded once and counted for each. Item ids come from content alone, so
laying out the same samples again changes nothing, and a grade stays with its text when other arms are sampled anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from finetrial.errors import UserError
from finetrial.store.grade_key import Key, KeyedPair, KeyedSample, key_hash
from finetrial.store.grade_records import GradeScale, GradingSettings
from finetrial.store.hashes import hash_value
from finetrial.store.records import Item, ItemPair, Sample, Turns, as_object
from finetrial.trial.schema import Judging, OwnLabels
from finetrial.trial.subset import flipped_prompts, grading_prompts, unit_name

REFERENCES_ARM = "references"
# The two best of five: "top-two-box", the usual reading of five-point answers.
FIVE = GradeScale(labels=("1", "2", "3", "4", "5"), good=("4", "5"))


@dataclass(frozen=True, slots=True)
class SetAside:
    """What is graded, the key to it, and the settings that stand before anybody grades."""

    items: tuple[Item, ...]
    pairs: tuple[ItemPair, ...]
    key: Key
    settings: GradingSettings
    n_samples: int  # more than items where texts are equal


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A text to grade, before it loses its arm."""

    sample: KeyedSample
    index: int
    item: Item


def scale_of(judging: Judging) -> GradeScale | None:
    """The trial file's scale with its rule of what counts as good; None for good or bad."""
    if isinstance(judging.scale, OwnLabels):
        return GradeScale(labels=judging.scale.labels, good=judging.scale.good)
    return FIVE if judging.scale == "1-5" else None


def item_id(prompt: str, text: str) -> str:
    """The name of an item: 16 hexadecimal digits of SHA-256 over prompt and text; it says nothing of the arm."""
    return hashlib.sha256(f"{prompt}\0{text}".encode(errors="surrogatepass")).hexdigest()[:16]


def _shown_prompts(samples: Sequence[Sample]) -> dict[str, str]:
    """What a rater reads as the prompt: the data's own text, the same for all arms.

    Where samples came without it, the shortest prompt that any arm was shown: templates and shots only add text.
    """
    shown: dict[str, str] = {}
    for sample in samples:
        text = sample.source if sample.source is not None else sample.prompt
        held = shown.get(sample.prompt_id)
        if held is None or (len(text), text) < (len(held), held):
            shown[sample.prompt_id] = text
    return shown


def _shown_turns(samples: Sequence[Sample], *, shown: dict[str, str]) -> dict[str, Turns]:
    """The turns of the prompts that are chats."""
    return {s.prompt_id: s.turns for s in samples if s.turns and s.source == shown[s.prompt_id]}


def _candidate(
    sample: KeyedSample, *, index: int, prompt: str, text: str, turns: Turns | None, for_people: bool
) -> _Candidate:
    return _Candidate(sample, index, Item(item_id(prompt, text), prompt, text, turns, for_people))


def _content(item: Item) -> dict[str, object]:
    """What the settings' hash holds of an item; without turns and for people, it hashes as it always did."""
    usual = {"turns": None, "for_people": True}
    return {name: value for name, value in as_object(item).items() if name not in usual or value != usual[name]}


def items_hash(items: Iterable[Item]) -> str:
    """What the settings keep of the items: enough to prove that no text was exchanged."""
    return hash_value([_content(item) for item in items])


def _units(samples: Sequence[Sample]) -> int:
    return len({("prompt", s.prompt_id) if s.group is None else ("group", s.group) for s in samples})


def _reference_candidates(
    samples: Sequence[Sample], *, shown: dict[str, str], turns: dict[str, Turns], chosen: Collection[str]
) -> list[_Candidate]:
    if any(sample.arm == REFERENCES_ARM for sample in samples):
        raise UserError(
            f"an arm is called {REFERENCES_ARM!r}, which names the references that are mixed in",
            fix="Rename the arm, or set judging.grade_references to false.",
        )
    references = {sample.prompt_id: sample.references for sample in samples}
    if not any(references.values()):
        raise UserError(
            "there are no references to mix in", fix="Set judging.grade_references to false, or give references."
        )
    return [
        _candidate(
            KeyedSample(f"{REFERENCES_ARM}/{prompt_id}/{index}", prompt_id, REFERENCES_ARM),
            index=index,
            prompt=shown[prompt_id],
            text=text,
            turns=turns.get(prompt_id),
            for_people=prompt_id in chosen,
        )
        for prompt_id, texts in references.items()
        for index, text in enumerate(texts)
    ]


def _pairs(candidates: Sequence[_Candidate]) -> tuple[list[ItemPair], list[KeyedPair]]:
    """For every prompt and every two arms, sample i of one beside sample i of the other.

    Only samples of one index meet, so the pairs of a prompt do not show which texts come from one arm.
    """
    cells: dict[tuple[str, int], list[_Candidate]] = {}
    for candidate in candidates:
        cells.setdefault((candidate.sample.prompt_id, candidate.index), []).append(candidate)
    rows: dict[str, ItemPair] = {}
    keyed: list[KeyedPair] = []
    for cell in cells.values():
        for one, other in combinations(sorted(cell, key=lambda c: c.sample.sample_id), 2):
            first, second = sorted((one, other), key=lambda c: c.item.item_id)
            if first.item.item_id == second.item.item_id:
                keyed.append(KeyedPair(None, first.sample, second.sample))
                continue
            pair_id = item_id(first.item.item_id, second.item.item_id)
            rows[pair_id] = ItemPair(pair_id, first.item.item_id, second.item.item_id)
            keyed.append(KeyedPair(pair_id, first.sample, second.sample))
    return sorted(rows.values(), key=lambda p: p.pair_id), keyed


def _for_people(
    samples: Sequence[Sample], *, judging: Judging, seed: int
) -> tuple[frozenset[str], dict[str, float] | None]:
    """The prompts for people, and the rule by which grading may stop.

    A fixed number of prompts; but a coin's flip for each unit where a judge helps grading that may stop at any time
    (stats/assisted_any_time.py), with that number in expectation. The rule then names the coin's `share`.
    """
    prompts = {s.prompt_id: unit_name(s.prompt_id, group=s.group) for s in samples}
    count = judging.grade_prompts
    assert count != "auto", "settled before (trial/graded_prompts.py)"
    stopping = None if judging.stopping is None else judging.stopping.model_dump()
    if stopping is None or judging.estimator == "people" or not prompts:
        return grading_prompts(prompts, count=count, seed=seed), stopping
    share = min(1.0, count / len(prompts))
    return flipped_prompts(prompts, share=share, seed=seed), {**stopping, "share": share}


def set_aside(samples: Iterable[Sample], *, judging: Judging, seed: int, title: str) -> SetAside:
    """Lay out the prompts to grade.

    `samples` are those of all arms; `judging.grade_prompts` of their prompts are for people, chosen by `seed`.
    Where models judge, every other prompt is laid out for them; the settings count what people are asked. `title`
    names the trial on the page. Raises UserError where references are to be mixed in and there are none.
    """
    rows = list(samples)
    chosen, stopping = _for_people(rows, judging=judging, seed=seed)
    if not judging.judges:
        rows = [sample for sample in rows if sample.prompt_id in chosen]
    shown = _shown_prompts(rows)
    turns = _shown_turns(rows, shown=shown)
    candidates = [
        _candidate(
            KeyedSample(s.id, s.prompt_id, s.arm),
            index=s.index,
            prompt=shown[s.prompt_id],
            text=s.text,
            turns=turns.get(s.prompt_id),
            for_people=s.prompt_id in chosen,
        )
        for s in rows
    ]
    if judging.grade_references:
        candidates += _reference_candidates(rows, shown=shown, turns=turns, chosen=chosen)
    candidates.sort(key=lambda c: c.sample.sample_id)  # the order of samples changes nothing
    items: dict[str, Item] = {}
    for one in sorted(candidates, key=lambda c: c.item.for_people):
        items[one.item.item_id] = one.item  # what is for people anywhere is for people
    ordered = [items[name] for name in sorted(items)]
    keyed: dict[str, list[KeyedSample]] = {}
    for candidate in candidates:
        keyed.setdefault(candidate.item.item_id, []).append(candidate.sample)
    pairs, keyed_pairs = _pairs(candidates)
    key = Key({name: tuple(members) for name, members in keyed.items()}, tuple(keyed_pairs))
    settings = GradingSettings(
        title=title,
        criterion=judging.criterion,
        seed=seed,
        raters=judging.raters,
        repeats=judging.repeats,
        arms=tuple(sorted({candidate.sample.arm for candidate in candidates})),
        prompts=len({item.prompt for item in ordered if item.for_people}),
        items=sum(item.for_people for item in ordered),
        items_hash=items_hash(ordered),
        key_hash=key_hash(key),
        scale=scale_of(judging),
        units=_units([sample for sample in rows if sample.prompt_id in chosen]),
        estimator=judging.estimator,
        stopping=stopping,
    )
    return SetAside(tuple(ordered), tuple(pairs), key, settings, len(candidates))
