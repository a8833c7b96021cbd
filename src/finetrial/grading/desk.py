"""What does one rater see next, and what becomes of a key press?

The desk reads items.jsonl, pairs.jsonl and grades.sqlite and nothing else: it could not tell an arm if asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from finetrial import __version__
from finetrial.errors import UserError
from finetrial.grading.dealing import Block, PlannedCell, left_of, plan_blocks
from finetrial.grading.events import CellState, GradeBook, Rater, now
from finetrial.store.grades import GRADE_VALUES, PAIR_VALUES, REASONS, rubric_hash, text_hash
from finetrial.store.layout import TrialFolder
from finetrial.store.records import GradeEvent, GradingSettings, Item, ItemPair, read_rows

Mode = Literal["single", "pairs"]
NOTE_LENGTH = 10_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that one rater is asked in one mode, in order."""

    rater: Rater
    mode: Mode
    blocks: tuple[Block, ...]
    positions: Mapping[PlannedCell, int]  # every cell's place, from 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the page learns after an event is on the disk."""

    seq: int
    cells: tuple[CellState, ...]  # every cell that changed since the page last heard
    undone: PlannedCell | None


class Desk:
    """The grading of one trial, for any number of raters."""

    def __init__(self, folder: TrialFolder) -> None:
        if not folder.items.exists() or not folder.grades.exists():
            raise UserError(
                f"there is nothing to grade in {folder.root} yet",
                fix="`finetrial run` samples the arms and sets samples aside; `finetrial grade FILE.jsonl` "
                "takes outputs from elsewhere.",
            )
        self.book = GradeBook(folder.grades)
        settings = self.book.settings()
        self.items: dict[str, Item] = {item.item_id: item for item in read_rows(folder.items, Item)}
        if settings is None or not self.items:
            self.book.close()
            raise UserError(
                f"no sample of {folder.root} was set aside for grading",
                fix="Set judging.grade_prompts in the trial file to 1 or more and run it again.",
            )
        self.settings: GradingSettings = settings
        pairs = read_rows(folder.pairs, ItemPair) if folder.pairs.exists() else ()
        self.pairs: dict[str, ItemPair] = {pair.pair_id: pair for pair in pairs}
        self._rubric = rubric_hash(settings.criterion)
        self._plans: dict[tuple[str, Mode], Plan] = {}

    def close(self) -> None:
        """Close the database."""
        self.book.close()

    def _cells_by_prompt(self, mode: Mode) -> dict[str, list[str]]:
        cells: dict[str, list[str]] = {}
        if mode == "single":
            for item in self.items.values():
                cells.setdefault(item.prompt, []).append(item.item_id)
        else:
            for pair in self.pairs.values():
                cells.setdefault(self.items[pair.first].prompt, []).append(pair.pair_id)
        return cells

    def prompt_of(self, cell_id: str) -> str | None:
        """The prompt of an item or a pair; None for an id that is neither."""
        if cell_id in self.pairs:
            cell_id = self.pairs[cell_id].first
        item = self.items.get(cell_id)
        return None if item is None else item.prompt

    def plan(self, rater: Rater, *, mode: Mode) -> Plan:
        """Everything a rater who has joined is asked."""
        known = self._plans.get((rater.name, mode))
        if known is None:
            begun = {self.prompt_of(cell_id) for cell_id in self.book.begun(rater.name, mode=mode)}
            kept = frozenset(prompt for prompt in begun if prompt is not None)
            known = self.plan_for(rater, mode=mode, raters=self.settings.raters, kept=kept)
            self._plans[rater.name, mode] = known
        return known

    def plan_for(self, rater: Rater, *, mode: Mode, raters: int, kept: frozenset[str] = frozenset()) -> Plan:
        """What a rater would be asked if `raters` took part; `kept` prompts belong to the plan in any case."""
        cells = self._cells_by_prompt(mode)
        if not cells:
            raise UserError("this trial has no pairs to compare", fix="Pairs need two arms on one prompt.")
        blocks = plan_blocks(
            cells,
            seed=self.settings.seed,
            rater=rater.name,
            slot=rater.slot,
            raters=raters,
            repeats=self.settings.repeats if mode == "single" else 0.0,
            kept=kept,
        )
        order = [cell for block in blocks for cell in block.cells]
        return Plan(rater, mode, blocks, {cell: place for place, cell in enumerate(order)})

    def block_content(self, plan: Plan, number: int) -> dict[str, Any]:
        """One block as the page shows it: the prompt and each cell's text, or left and right text."""
        block = plan.blocks[number]
        return {"prompt": block.prompt, "cells": [self._shown(plan, cell) for cell in block.cells]}

    def _shown(self, plan: Plan, cell: PlannedCell) -> dict[str, Any]:
        if plan.mode == "single":
            return {"text": self.items[cell.item_id].text}
        pair = self.pairs[cell.item_id]
        left = left_of(cell.item_id, seed=self.settings.seed, rater=plan.rater.name)
        first, second = self.items[pair.first].text, self.items[pair.second].text
        shown = (first, second) if left == "first" else (second, first)
        return {"left": shown[0], "right": shown[1], "left_is": left}

    def record(self, payload: Mapping[str, Any]) -> Answer:
        """Put what the page sent on the disk and say what stands now.

        Raises UserError for an event that cannot be meant, GradesLocked, or NotWritten.
        """
        event = self.event_from(payload, source="page")
        self.book.append(event)
        stored = self.book.find(event.uid)
        assert stored is not None
        undone = None
        if stored.kind == "undo" and stored.undoes is not None and stored.item_id is not None:
            undone = PlannedCell(stored.item_id, stored.occurrence)
        after = payload.get("after")
        cells = self.book.cells(stored.rater, mode=stored.mode, after_seq=after if isinstance(after, int) else 0)
        return Answer(self.book.last_seq(), cells, undone)

    def event_from(self, payload: Mapping[str, Any], *, source: str, rater: str | None = None) -> GradeEvent:
        """The event that a page or a bundle reports, checked. Raises UserError naming what is wrong."""
        kind, mode = payload.get("kind"), payload.get("mode", "single")
        uid = payload.get("uid")
        if not isinstance(uid, str) or not 8 <= len(uid) <= 100:
            raise UserError("an event has no identity of its own", got=repr(uid))
        if kind not in ("grade", "note", "undo", "guess") or mode not in ("single", "pairs"):
            raise UserError("unknown kind of event", got=f"{kind!r} in mode {mode!r}")
        name = rater if rater is not None else payload.get("rater")
        if not isinstance(name, str) or self.book.find_rater(name) is None:
            raise UserError("unknown rater", got=repr(name), fix="Reload the page and give your name.")
        item_id, occurrence = payload.get("item_id"), payload.get("occurrence", 1)
        known = self.items if mode == "single" else self.pairs
        if kind != "undo" and (item_id not in known or occurrence not in (1, 2)):
            raise UserError("this text is not part of the trial any more", fix="Reload the page.")
        left = payload.get("left")
        return GradeEvent(
            uid=uid,
            kind=kind,
            mode=mode,
            rater=name,
            item_id=item_id if isinstance(item_id, str) else None,
            occurrence=occurrence if occurrence in (1, 2) else 1,
            value=self._value(payload, kind=kind, mode=mode),
            reasons=_reasons(payload),
            note=str(payload.get("note") or "")[:NOTE_LENGTH] if kind == "note" else None,
            undoes=payload["undoes"] if source != "page" and isinstance(payload.get("undoes"), str) else None,
            left=left if left in ("first", "second") else None,
            position=payload["position"] if isinstance(payload.get("position"), int) else None,
            shown_ms=_milliseconds(payload.get("shown_ms")),
            client_at=str(payload["client_at"])[:40] if payload.get("client_at") else None,
            at=now(),
            text_hash=self._text_hash(item_id, mode=mode) if kind != "undo" else "",
            rubric_hash=self._rubric,
            version=__version__,
            source=source,
        )

    def _value(self, payload: Mapping[str, Any], *, kind: str, mode: str) -> str | None:
        if kind not in ("grade", "guess"):
            return None
        allowed = self.settings.arms if kind == "guess" else GRADE_VALUES if mode == "single" else PAIR_VALUES
        if payload.get("value") not in allowed:
            raise UserError(f"unknown {kind}", got=repr(payload.get("value")), expected=", ".join(allowed))
        return payload["value"]

    def _text_hash(self, cell_id: Any, *, mode: str) -> str:
        if mode == "single":
            return text_hash(self.items[cell_id].text)
        pair = self.pairs[cell_id]
        return text_hash(self.items[pair.first].text + "\0" + self.items[pair.second].text)


def _reasons(payload: Mapping[str, Any]) -> tuple[str, ...]:
    given = payload.get("reasons") or ()
    if not isinstance(given, (list, tuple)) or any(reason not in REASONS for reason in given):
        raise UserError("unknown reason", got=repr(given), expected=", ".join(REASONS))
    return tuple(reason for reason in REASONS if reason in given)


def _milliseconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        return None
    return float(value)
