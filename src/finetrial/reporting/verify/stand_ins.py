"""Check what can be checked of a trial whose texts were left out: that key, items, grades and samples agree."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from finetrial.metrics.metric import ArmMetric
from finetrial.metrics.metric_table import metric_named
from finetrial.reporting.left_out_texts import is_stand_in
from finetrial.reporting.verify.tally import Tally
from finetrial.store.grades import grading_state, read_events
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Item, Sample, read_rows

# Of results.json, what follows from scores, grades and measurements alone; the rest may rest on the texts.
_FROM_NUMBERS: tuple[str, ...] = (
    "trial",
    "title",
    "base",
    "primary",
    "metrics",
    "prompts",
    "prompt_means",
    "arms",
    "pairs",
    "good",
)
_FROM_NUMBERS += ("good_by_prompt", "grading", "power", "floor", "costs", "signatures", "hashes", "asked")


def check_stand_ins(folder: TrialFolder, samples: Sequence[Sample], *, tally: Tally) -> None:
    """Hold samples, items, key and events to the hashes in the stand-ins."""
    for sample in samples:
        every = (sample.text, sample.prompt, sample.source, *sample.references)
        if not all(text is None or is_stand_in(text) for text in every):
            tally.differs(f"samples: {sample.id}", "a text", "its length and hash, as left_out.json says")
    tally.not_looked_at(
        "scores, diagnostics, items and key anew: the texts are left out, and left_out.json vouches "
        "for the files that held them"
    )
    if grading_state(folder).settings is None or not folder.items.exists() or not folder.key.exists():
        return
    texts = {sample.id: sample.text for sample in samples}
    items = {item.item_id: item.text for item in read_rows(folder.items, Item)}
    key = json.loads(folder.key.read_text(encoding="utf-8"))
    for item_id, keyed in key["items"].items():
        for sample_id, _, arm in keyed:
            if sample_id in texts and arm != sample_id.partition("/")[0].partition("@")[0]:
                tally.differs(f"key.json: {item_id}, the arm of {sample_id}", arm, sample_id.partition("/")[0])
            elif sample_id in texts:
                tally.compare(f"key.json: {item_id}", items.get(item_id), texts[sample_id], kind="grading")
    for number, event in read_events(folder):
        if event.mode == "single" and event.kind != "undo" and event.item_id in items:
            shown = items[event.item_id].rpartition(" ")[2]
            where = f"grades.sqlite: event {number}, the hash of its text"
            tally.compare(where, event.text_hash, shown, kind="events")


def rests_on_texts(path: str, results: Mapping[str, Any]) -> bool:
    """Whether a value of results.json, by its path, may rest on texts."""
    top, _, rest = path.partition(".")
    top = top.partition("[")[0]
    if top == "metrics":
        name = next((name for name in results["metrics"] if rest.startswith(f"{name}.")), None)
        return name is not None and isinstance(metric_named(name), ArmMetric)
    return top not in _FROM_NUMBERS
