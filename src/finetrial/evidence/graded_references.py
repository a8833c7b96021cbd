"""Read the references that were mixed into the grading, as samples of an arm of their own."""

from __future__ import annotations

from collections.abc import Collection

from finetrial.store.grade_key import Key, KeyedSample
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Item, Sample, read_rows
from finetrial.trial.set_aside import REFERENCES_ARM


def text_of_item(member: KeyedSample, item: Item) -> Sample:
    """What an item shows, as the sample that stands behind it: of a reference there is no other record."""
    return Sample(
        id=member.sample_id,
        prompt_id=member.prompt_id,
        group=None,
        arm=member.arm,
        index=0,
        prompt=item.prompt,
        text=item.text,
        token_ids=None,
        references=(),
        end_reason=None,
        logprob=None,
        tokens=None,
        seconds=None,
        seed=None,
    )


def graded_references(folder: TrialFolder, key: Key, *, prompts: Collection[str]) -> tuple[Sample, ...]:
    """The references among the texts for people, of these prompts; none where none were mixed in."""
    items = {item.item_id: item for item in read_rows(folder.items, Item) if item.for_people}
    return tuple(
        text_of_item(member, items[item_id])
        for item_id, members in key.items.items()
        if item_id in items
        for member in members
        if member.arm == REFERENCES_ARM and member.prompt_id in prompts
    )
