"""Read and write the sealed key, which says which arm wrote what was graded.

key.json joins items with samples. Before `finetrial unblind` has locked the grades, only an explicit opening reads
it; the opening is logged and every grade after it counts as not blind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from finetrial.errors import AnswerIsNo, UserError
from finetrial.store.files import atomic_text
from finetrial.store.grade_records import (
    RaterKind,
    UnblindedGrade,
    UnblindedGuess,
    UnblindedNote,
    UnblindedPair,
    Winner,
)
from finetrial.store.grades import counting, grading_state, read_events, read_grades, read_guesses, read_pair_grades
from finetrial.store.grades_file import write_log
from finetrial.store.hashes import hash_value
from finetrial.store.layout import TrialFolder

KEY_VERSION = 1


@dataclass(frozen=True, slots=True)
class KeyedSample:
    """A sample that has an item's text."""

    sample_id: str
    prompt_id: str
    arm: str


@dataclass(frozen=True, slots=True)
class KeyedPair:
    """Two samples whose texts are a pair's first and second item; `pair_id` None: the texts are identical."""

    pair_id: str | None
    first: KeyedSample
    second: KeyedSample


@dataclass(frozen=True, slots=True)
class Key:
    """The sealed map from items and pairs to samples."""

    items: Mapping[str, tuple[KeyedSample, ...]]
    pairs: tuple[KeyedPair, ...]


def _fields(sample: KeyedSample) -> list[str]:
    return [sample.sample_id, sample.prompt_id, sample.arm]


def key_content(key: Key) -> dict[str, Any]:
    """The key as JSON holds it."""
    return {
        "version": KEY_VERSION,
        "note": "The sealed key. Who reads it before `finetrial unblind` grades no longer blind.",
        "items": {item: [_fields(s) for s in samples] for item, samples in sorted(key.items.items())},
        "pairs": [[p.pair_id, _fields(p.first), _fields(p.second)] for p in key.pairs],
    }


def key_hash(key: Key) -> str:
    """What the settings keep of the key: enough to prove that it was not exchanged."""
    return hash_value(key_content(key))


def write_key(folder: TrialFolder, key: Key) -> None:
    """Write key.json, readable by its owner alone."""
    atomic_text(folder.key, json.dumps(key_content(key), ensure_ascii=False, indent=1) + "\n")
    folder.key.chmod(0o600)


def _parse_key(content: Any) -> Key:
    return Key(
        items={item: tuple(KeyedSample(*s) for s in samples) for item, samples in content["items"].items()},
        pairs=tuple(KeyedPair(p[0], KeyedSample(*p[1]), KeyedSample(*p[2])) for p in content["pairs"]),
    )


def read_key(folder: TrialFolder, *, open_grades: bool = False) -> Key:
    """The key of a trial whose grades are locked, or of any trial when `open_grades`, which is logged.

    Raises AnswerIsNo before unblinding, UserError when the key is missing or is not the one that was sealed.
    """
    state = grading_state(folder)
    if state.settings is None or not folder.key.exists():
        raise UserError(
            f"there is no key in {folder.root}", fix="Blinding writes it: `finetrial run` after sampling."
        )
    if state.locked_at is None and not open_grades:
        raise AnswerIsNo(
            f"the grades of {folder.root} are still blind",
            fix=f"`finetrial unblind {folder.root}` locks them and opens the key; it cannot be undone.",
        )
    key = _checked_key(folder, sealed_hash=state.settings.key_hash)
    if state.locked_at is None:
        read_events(folder)  # a damaged database is not written to
        at = datetime.now(UTC).isoformat(timespec="seconds")
        write_log(folder.grades, kind="open", detail="the key was read before the lock", at=at)
    return key


def read_sealed_key(folder: TrialFolder) -> Key:
    """The key, for a process that shows nobody anything of it: neither the lock nor the log knows of this.

    Raises UserError where the key is missing or is not the one that was sealed.
    """
    settings = grading_state(folder).settings
    if settings is None or not folder.key.exists():
        raise UserError(
            f"there is no key in {folder.root}", fix="Blinding writes it: `finetrial run` after sampling."
        )
    return _checked_key(folder, sealed_hash=settings.key_hash)


def _checked_key(folder: TrialFolder, *, sealed_hash: str) -> Key:
    try:
        key = _parse_key(json.loads(folder.key.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"{folder.key} is not a key", got=f"{type(error).__name__}: {error}") from None
    if key_hash(key) != sealed_hash:
        raise UserError(
            f"{folder.key} is not the key that was sealed when the items were blinded",
            fix="Restore the file; without it the grades cannot be joined with their arms.",
        )
    return key


def unblinded_grades(folder: TrialFolder, *, open_grades: bool = False) -> tuple[UnblindedGrade, ...]:
    """Every counting grade with each sample that has its text; hidden repeats are left out.

    Raises AnswerIsNo before `finetrial unblind`, unless `open_grades`. Grades of texts that are no longer among the
    samples (the arm was tuned and sampled again) are left out.
    """
    key = read_key(folder, open_grades=open_grades)
    return tuple(
        UnblindedGrade(
            sample_id=sample.sample_id,
            prompt_id=sample.prompt_id,
            arm=sample.arm,
            item_id=grade.item_id,
            rater=grade.rater,
            value=grade.value,
            reasons=grade.reasons,
            note=grade.note,
            seconds=grade.seconds,
            blind=grade.blind,
            rater_kind=grade.rater_kind,
            label=grade.label,
        )
        for grade in read_grades(folder)
        if not grade.repeat
        for sample in key.items.get(grade.item_id, ())
    )


def _result(
    pair: KeyedPair, *, rater: str | None, value: str, rater_kind: RaterKind | None = None
) -> UnblindedPair:
    a, b = pair.first, pair.second
    winners: dict[str, Winner] = {"first": "a", "second": "b", "tie": "tie"}
    if b.arm < a.arm:
        a, b = b, a
        winners = {"first": "b", "second": "a", "tie": "tie"}
    return UnblindedPair(
        prompt_id=a.prompt_id,
        arm_a=a.arm,
        arm_b=b.arm,
        sample_a=a.sample_id,
        sample_b=b.sample_id,
        rater=rater,
        winner=winners[value],
        rater_kind=rater_kind,
    )


def unblinded_pairs(folder: TrialFolder, *, open_grades: bool = False) -> tuple[UnblindedPair, ...]:
    """Every side-by-side choice that counts, arms in alphabetical order; identical texts are ties nobody was asked.

    Empty where nobody compared anything. Raises as `unblinded_grades` does.
    """
    key = read_key(folder, open_grades=open_grades)
    choices = read_pair_grades(folder)
    if not choices:
        return ()
    by_pair: dict[str | None, list[KeyedPair]] = {}
    for pair in key.pairs:
        by_pair.setdefault(pair.pair_id, []).append(pair)
    asked = [
        _result(p, rater=c.rater, value=c.value, rater_kind=c.rater_kind)
        for c in choices
        for p in by_pair.get(c.pair_id, ())
    ]
    return (*asked, *(_result(pair, rater=None, value="tie") for pair in by_pair.get(None, ())))


def unblinded_notes(folder: TrialFolder, *, open_grades: bool = False) -> tuple[UnblindedNote, ...]:
    """Every note that stands, of texts shown first or again, graded or not, and of pairs; in the order of writing.

    Raises as `unblinded_grades` does.
    """
    key, events = read_key(folder, open_grades=open_grades), read_events(folder)
    of_pairs = {pair.pair_id: (pair.first, pair.second) for pair in key.pairs if pair.pair_id is not None}
    found: list[tuple[int, UnblindedNote]] = []
    for mode in ("single", "pairs"):
        for (_, rater, item_id, _), (seq, event) in counting(events, kind="note", mode=mode).items():
            about = of_pairs.get(item_id, ()) if mode == "pairs" else key.items.get(item_id, ())
            if about and event.note:
                note = UnblindedNote(
                    rater=rater,
                    text=event.note,
                    sample_ids=tuple(sample.sample_id for sample in about),
                    arms=tuple(sample.arm for sample in about),
                    prompt_id=about[0].prompt_id,
                    of_pair=mode == "pairs",
                    rater_kind=event.rater_kind,
                )
                found.append((seq, note))
    return tuple(note for _, note in sorted(found, key=lambda row: row[0]))


def unblinded_guesses(folder: TrialFolder, *, open_grades: bool = False) -> tuple[UnblindedGuess, ...]:
    """What raters guessed, with the truth beside it. Raises as `unblinded_grades` does."""
    key = read_key(folder, open_grades=open_grades)
    return tuple(
        UnblindedGuess(
            item_id=guess.item_id,
            rater=guess.rater,
            guessed=guess.arm,
            arms=tuple(sorted({sample.arm for sample in key.items[guess.item_id]})),
        )
        for guess in read_guesses(folder)
        if guess.item_id in key.items
    )
