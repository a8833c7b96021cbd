"""Make preference pairs of people's grades, as DPO trainers read them: {prompt, chosen, rejected}.

Where raters chose between two texts, the majority's choice is the chosen one. Else every text that people call good
is chosen before every text under the same prompt that they call bad. A prompt that is a chat, and its answers, are
turns. Models' grades are left out, and no arm is named.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from finetrial.store.grade_records import MODEL, Grade, PairGrade
from finetrial.store.records import Item, ItemPair


def _of_choices(choices: Sequence[PairGrade], *, pairs: Mapping[str, ItemPair]) -> Iterator[tuple[str, str] | None]:
    """(chosen, rejected) of each pair that was judged; None where the votes are even."""
    votes: dict[str, int] = defaultdict(int)
    for choice in choices:
        votes[choice.pair_id] += {"first": 1, "second": -1}.get(choice.value, 0)
    for pair_id, vote in sorted(votes.items()):
        pair = pairs[pair_id]
        yield None if vote == 0 else (pair.first, pair.second) if vote > 0 else (pair.second, pair.first)


def _of_grades(grades: Sequence[Grade], *, items: Mapping[str, Item]) -> Iterator[tuple[str, str]]:
    votes: dict[str, int] = defaultdict(int)
    for grade in grades:
        if not grade.repeat:
            votes[grade.item_id] += {"good": 1, "bad": -1}.get(grade.value, 0)
    by_prompt: dict[object, list[str]] = defaultdict(list)
    for item_id in sorted(votes):
        by_prompt[items[item_id].prompt, items[item_id].turns].append(item_id)
    for same in by_prompt.values():
        for good in (item for item in same if votes[item] > 0):
            yield from ((good, bad) for bad in same if votes[bad] < 0)


def _row(chosen: Item, rejected: Item) -> dict[str, object]:
    if chosen.turns is None:
        return {"prompt": chosen.prompt, "chosen": chosen.text, "rejected": rejected.text}
    answers = ([{"role": "assistant", "content": item.text}] for item in (chosen, rejected))
    prompt = [{"role": role, "content": content} for role, content in chosen.turns]
    return {"prompt": prompt, **dict(zip(("chosen", "rejected"), answers, strict=True))}


def preference_pairs(
    grades: Sequence[Grade],
    choices: Sequence[PairGrade],
    *,
    items: Mapping[str, Item],
    pairs: Mapping[str, ItemPair],
) -> tuple[str, int, int]:
    """The pairs as JSON Lines, how many, and how many pairs of texts that were chosen between gave none."""
    of_people = [choice for choice in choices if choice.rater_kind != MODEL and choice.pair_id in pairs]
    found: list[tuple[str, str] | None] = list(_of_choices(of_people, pairs=pairs))
    if not found:
        found = list(_of_grades([g for g in grades if g.rater_kind != MODEL], items=items))
    rows = [_row(items[pair[0]], items[pair[1]]) for pair in found if pair is not None]
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), len(rows), len(found) - len(rows)
