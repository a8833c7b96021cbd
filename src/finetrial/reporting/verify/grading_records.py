"""Check what was graded: items, pairs and key against the samples, every event against what the rater was shown.

`finetrial unblind` asks this before it locks anything, `finetrial verify` whenever there is something.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from finetrial.reporting.verify.tally import Tally
from finetrial.store.grade_key import key_content
from finetrial.store.grade_records import MODEL, GradeEvent, GradingSettings
from finetrial.store.grades import (
    REASONS,
    grading_state,
    read_events,
    rubric_hash,
    text_hash,
)
from finetrial.store.grades_file import reading
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.store.records import Item, ItemPair, Sample, adapter_of, as_object, read_rows
from finetrial.trial.graded_prompts import settled_judging
from finetrial.trial.schema import Trial
from finetrial.trial.set_aside import REFERENCES_ARM, SetAside, items_hash, set_aside

Row = TypeVar("Row")


def check_grading(folder: TrialFolder, trial: Trial, samples: Sequence[Sample], *, tally: Tally) -> None:
    """Check everything that grading reads and wrote; nothing where no text was set aside."""
    state = grading_state(folder)
    if state.settings is None:
        return
    first = [sample for sample in samples if not sample.run]  # people grade the first training run
    judging = settled_judging(trial.judging, manifest=Manifest(folder.manifest).content)
    laid = set_aside(first, judging=judging, seed=trial.sampling.seed, title=state.settings.title)
    _check_settings(state.settings, laid.settings, tally=tally)
    _check_items(folder, laid, state.settings, tally=tally)
    _check_events(folder, laid, locked_at=state.locked_at, tally=tally)


def _check_settings(noted: GradingSettings, laid: GradingSettings, *, tally: Tally) -> None:
    for field in dataclasses.fields(GradingSettings):
        said, found = getattr(noted, field.name), getattr(laid, field.name)
        if field.name == "units" and said is None:  # an older version did not count them
            continue
        tally.compare(f"grades.sqlite: settings, {field.name}", said, found, kind="grading")


def _check_items(folder: TrialFolder, laid: SetAside, settings: GradingSettings, *, tally: Tally) -> None:
    items = list(read_rows(folder.items, Item)) if folder.items.exists() else []
    tally.compare(
        "items.jsonl, by the hash that was sealed", items_hash(items), settings.items_hash, kind="grading"
    )
    _compare_rows("items.jsonl", items, laid.items, name=lambda item: item.item_id, tally=tally)
    pairs = list(read_rows(folder.pairs, ItemPair)) if folder.pairs.exists() else []
    _compare_rows("pairs.jsonl", pairs, laid.pairs, name=lambda pair: pair.pair_id, tally=tally)
    if not folder.key.exists():
        tally.differs("key.json", None, "the key to the items")
        return
    try:
        key = json.loads(folder.key.read_text(encoding="utf-8"))
    except ValueError as error:
        tally.differs("key.json", f"not JSON: {error}", "the key to the items")
        return
    own = json.loads(json.dumps(key_content(laid.key)))
    if not isinstance(key, dict) or not isinstance(key.get("items"), dict):
        tally.differs("key.json", "something else", "the key to the items")
        return
    key, own = ({name: part for name, part in side.items() if name != "note"} for side in (key, own))
    if key == own:
        tally.agreed["grading"] += 1
        return
    for name in own["items"].keys() | key["items"].keys():
        said, found = key["items"].get(name), own["items"].get(name)
        if said != found:
            tally.differs(f"key.json: {name}", said, found)
    if key["items"] == own["items"]:
        tally.differs("key.json: the pairs", "other pairs", "those of the samples")


def _compare_rows(
    what: str, said: Sequence[Row], found: Sequence[Row], *, name: Callable[[Row], str], tally: Tally
) -> None:
    held, own = ({name(row): as_object(row) for row in rows} for rows in (said, found))
    for key in dict.fromkeys((*held, *own)):
        if held.get(key) != own.get(key):
            tally.differs(f"{what}: {key}", held.get(key), own.get(key))
        else:
            tally.agreed["grading"] += 1


def _every_settings(folder: TrialFolder) -> tuple[GradingSettings, ...]:
    """All that was ever fixed: before the lock the criterion may have been worded anew."""
    with reading(folder.grades) as connection:
        rows = connection.execute("SELECT content FROM settings ORDER BY seq").fetchall()
    return tuple(adapter_of(GradingSettings).validate_json(row[0]) for row in rows)


def _check_events(folder: TrialFolder, laid: SetAside, *, locked_at: str | None, tally: Tally) -> None:
    events = read_events(folder)
    settings = _every_settings(folder)
    rubrics = {rubric_hash(s.criterion, scale=s.scale) for s in settings}
    texts = {item.item_id: text_hash(item.text) for item in laid.items}
    pairs = {pair.pair_id for pair in laid.pairs}
    arms = {*laid.settings.arms, REFERENCES_ARM}
    uids = {event.uid: event for _, event in events}
    gone = 0
    for place, (number, event) in enumerate(events, start=1):
        where = f"grades.sqlite: event {number}"
        if number != place:
            tally.differs(f"{where}, its number", number, place)
            return  # every later number is another, too
        known = texts if event.mode == "single" else pairs
        if event.item_id is not None and event.item_id not in known:
            gone += 1
            continue
        found = list(_faults(event, texts=texts, rubrics=rubrics, arms=arms, uids=uids, locked_at=locked_at))
        found += _scale_faults(event, settings=settings)
        for what, said, expected in found:
            tally.differs(f"{where}, {what}", said, expected)
        tally.agreed["events"] += not found
    _check_numbering(folder, events=len(events), tally=tally)
    if gone and locked_at is not None:
        tally.differs("grades.sqlite: events of texts that are not among the items", gone, 0)
    elif gone:
        tally.not_looked_at(f"{gone} grading events of texts that are no longer among the items")


def _faults(
    event: GradeEvent,
    *,
    texts: Mapping[str, str],
    rubrics: set[str],
    arms: set[str],
    uids: Mapping[str, GradeEvent],
    locked_at: str | None,
) -> Iterator[tuple[str, object, object]]:
    """What of an event cannot be: (what, as it stands, as it must be)."""
    shown = texts.get(event.item_id or "") if event.mode == "single" and event.kind != "undo" else None
    if shown is not None and event.text_hash != shown:
        yield "the hash of its text", event.text_hash, shown
    if event.rater_kind != MODEL and event.rubric_hash not in rubrics:  # a model's follows from its questions
        yield "the hash of its criterion", event.rubric_hash, sorted(rubrics)[0] if rubrics else None
    if strange := [reason for reason in event.reasons if reason not in REASONS]:
        yield "its reasons", strange, list(REASONS)
    if locked_at is not None and event.at is not None and event.at > locked_at:
        yield "its time", event.at, f"no later than the lock, {locked_at}"
    if event.kind == "guess" and event.value not in arms:
        yield "the arm that was guessed", event.value, sorted(arms)
    undone = None if event.undoes is None else uids.get(event.undoes)
    if event.undoes is not None and (undone is None or undone.rater != event.rater):
        yield "what it undoes", event.undoes, "an event of the same rater"


def _scale_faults(event: GradeEvent, *, settings: Sequence[GradingSettings]) -> list[tuple[str, object, object]]:
    """An answer of a scale that counts otherwise than the scale says."""
    if event.kind != "grade" or event.label is None or event.rater_kind == MODEL:
        return []  # a model's scale is its own, and its grades are held against its answers
    scales = [row.scale for row in settings if row.scale is not None and event.label in row.scale.labels]
    if not scales:
        return [("its answer", event.label, "one of the scale")]
    values = {scale.value_of(event.label) for scale in scales}
    return [] if event.value in values else [("what its answer counts as", event.value, sorted(values)[0])]


def _check_numbering(folder: TrialFolder, *, events: int, tally: Tally) -> None:
    """Compare the number of events with how many were ever written: one that was taken out leaves a gap."""
    with reading(folder.grades) as connection:
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        locks = connection.execute("SELECT count(*) FROM log WHERE kind = 'lock'").fetchone()[0]
        later = connection.execute("SELECT max(after_seq) FROM log").fetchone()[0]
    tally.compare("grades.sqlite: events", events, 0 if row is None else row[0], kind="grading")
    if locks > 1:
        tally.differs("grades.sqlite: locks", locks, 1)
    if later is not None and later > events:
        tally.differs("grades.sqlite: events before the last line of the log", events, later)
