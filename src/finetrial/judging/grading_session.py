"""Keep what each rater sees next, and record what becomes of a key press.

A session reads items.jsonl, pairs.jsonl and grades.sqlite and nothing else: it could not tell an arm if asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from finetrial import __version__
from finetrial.errors import UserError
from finetrial.judging.assignment import Block, PlannedCell, left_of, plan_blocks
from finetrial.judging.events import CellState, GradeBook
from finetrial.judging.payload import Payload
from finetrial.judging.raters import Rater, now
from finetrial.store.grade_records import MODEL, EventKind, GradeEvent, GradingSettings, RaterKind, Side
from finetrial.store.grades import GRADE_VALUES, PAIR_VALUES, REASONS, rubric_hash, text_hash
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Item, ItemPair, check_records_version, read_rows

Mode = Literal["single", "pairs"]
MODES: tuple[Mode, ...] = ("single", "pairs")
KINDS: tuple[EventKind, ...] = ("grade", "note", "undo", "guess")
SIDES: tuple[Side, ...] = ("first", "second")
NOTE_LENGTH = 10_000


@dataclass(frozen=True, slots=True)
class RaterPlan:
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


class GradingSession:
    """The grading of one trial, for any number of raters."""

    def __init__(self, folder: TrialFolder) -> None:
        check_records_version(folder.manifest)
        if not folder.items.exists() or not folder.grades.exists():
            raise UserError(
                f"there is nothing to grade in {folder.root} yet",
                fix="`finetrial run` samples the arms and sets samples aside; `finetrial grade FILE.jsonl` "
                "takes outputs from elsewhere.",
            )
        self.folder, self.path = folder, folder.grades
        self.book = GradeBook(folder.grades)
        settings = self.book.settings()
        self.every_item: dict[str, Item] = {item.item_id: item for item in read_rows(folder.items, Item)}
        # what people are asked; model judges are asked about every item
        self.items = {name: item for name, item in self.every_item.items() if item.for_people}
        if settings is None or not self.items:
            self.book.close()
            raise UserError(
                f"no sample of {folder.root} was set aside for grading",
                fix="Set judging.grade_prompts in the trial file to 1 or more and run it again.",
            )
        self.settings: GradingSettings = settings
        pairs = read_rows(folder.pairs, ItemPair) if folder.pairs.exists() else ()
        self.every_pair: dict[str, ItemPair] = {pair.pair_id: pair for pair in pairs}
        self.pairs = {name: pair for name, pair in self.every_pair.items() if pair.first in self.items}
        self._rubric = rubric_hash(settings.criterion, scale=settings.scale)
        self._turns = {item.prompt: item.turns for item in self.items.values() if item.turns}
        self._plans: dict[tuple[str, Mode], RaterPlan] = {}

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

    def plan(self, rater: Rater, *, mode: Mode) -> RaterPlan:
        """Everything a rater who has joined is asked."""
        known = self._plans.get((rater.name, mode))
        if known is None:
            begun = {self.prompt_of(cell_id) for cell_id in self.book.begun(rater.name, mode=mode)}
            kept = frozenset(prompt for prompt in begun if prompt is not None)
            known = self.plan_for(rater, mode=mode, raters=self.settings.raters, kept=kept)
            self._plans[rater.name, mode] = known
        return known

    def plan_for(self, rater: Rater, *, mode: Mode, raters: int, kept: frozenset[str] = frozenset()) -> RaterPlan:
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
        return RaterPlan(rater, mode, blocks, {cell: place for place, cell in enumerate(order)})

    @property
    def answers(self) -> tuple[str, ...]:
        """What a rater may say of one sample."""
        scale = self.settings.scale
        return GRADE_VALUES if scale is None else (*scale.labels, "unsure")

    def block_content(self, plan: RaterPlan, number: int) -> dict[str, Any]:
        """One block as the page shows it: the prompt and each cell's text, or left and right text."""
        block = plan.blocks[number]
        turns = self._turns.get(block.prompt)
        return {
            "prompt": block.prompt,
            **({"turns": turns} if turns else {}),
            "cells": [self._shown(plan, cell) for cell in block.cells],
        }

    def _shown(self, plan: RaterPlan, cell: PlannedCell) -> dict[str, Any]:
        if plan.mode == "single":
            return {"text": self.items[cell.item_id].text}
        pair = self.pairs[cell.item_id]
        left = left_of(cell.item_id, seed=self.settings.seed, rater=plan.rater.name)
        first, second = self.items[pair.first].text, self.items[pair.second].text
        shown = (first, second) if left == "first" else (second, first)
        return {"left": shown[0], "right": shown[1], "left_is": left}

    def record(self, payload: Mapping[str, Any], *, rater: str) -> Answer:
        """Put what a rater's page sent on the disk and say what stands now.

        Raises UserError for an event that cannot be meant, GradesLocked, or NotWritten.
        """
        event = self.event_from(payload, source="page", rater=rater, rater_kind=self.book.kind_of(rater))
        self.book.append(event)
        stored = self.book.find(event.uid)
        assert stored is not None
        if stored.rater != rater:
            raise UserError("an event of another rater has this identity", got=repr(event.uid))
        undone = None
        if stored.kind == "undo" and stored.undoes is not None and stored.item_id is not None:
            undone = PlannedCell(stored.item_id, stored.occurrence)
        after = Payload(payload).whole("after") or 0
        cells = self.book.cells(rater, mode=stored.mode, after_seq=after)
        return Answer(self.book.last_seq(), cells, undone)

    def event_from(
        self, payload: Mapping[str, Any], *, source: str, rater: str, rater_kind: RaterKind | None = None
    ) -> GradeEvent:
        """The event that a page or a file reports, checked. Raises UserError naming what is wrong."""
        given = Payload(payload)
        kind = given.one_of("kind", KINDS)
        mode = given.one_of("mode", MODES) if given.text("mode") else "single"
        uid = given.text("uid", longest=100)
        if uid is None or len(uid) < 8:
            raise UserError("an event has no identity of its own", got=given.shown("uid"))
        if kind is None or mode is None:
            raise UserError("unknown kind of event", got=f"{given.shown('kind')} in mode {given.shown('mode')}")
        if rater_kind != MODEL and self.book.find_rater(rater) is None:
            raise UserError("unknown rater", got=repr(rater), fix="Reload the page and give your name.")
        item_id, occurrence = given.text("item_id"), given.whole("occurrence")
        occurrence = 1 if occurrence is None and "occurrence" not in payload else occurrence
        known: Mapping[str, object] = self.items if mode == "single" else self.pairs
        if rater_kind == MODEL:
            known = self.every_item if mode == "single" else self.every_pair
        if kind != "undo" and (item_id not in known or occurrence not in (1, 2)):
            raise UserError("this text is not part of the trial any more", fix="Reload the page.")
        answer = self._answer(given, kind=kind, mode=mode)
        scale = self.settings.scale if kind == "grade" and mode == "single" else None
        return GradeEvent(
            uid=uid,
            kind=kind,
            mode=mode,
            rater=rater,
            item_id=item_id,
            occurrence=occurrence if occurrence in (1, 2) else 1,
            value=answer if scale is None or answer in (None, "unsure") else scale.value_of(answer),
            reasons=_reasons(payload),
            note=(given.text("note") or "")[:NOTE_LENGTH] if kind == "note" else None,
            undoes=given.text("undoes", longest=100) if source != "page" else None,
            left=given.one_of("left", SIDES),
            position=given.whole("position"),
            shown_ms=given.milliseconds("shown_ms"),
            client_at=(given.text("client_at") or "")[:40] or None,
            at=now(),
            text_hash=self._text_hash(item_id, mode=mode) if kind != "undo" else "",
            rubric_hash=self._rubric,
            version=__version__,
            source=source,
            rater_kind=rater_kind,
            label=None if scale is None or answer == "unsure" else answer,
        )

    def _answer(self, given: Payload, *, kind: str, mode: str) -> str | None:
        if kind not in ("grade", "guess"):
            return None
        allowed = self.settings.arms if kind == "guess" else self.answers if mode == "single" else PAIR_VALUES
        answer = given.text("value")
        if answer not in allowed:
            raise UserError(f"unknown {kind}", got=given.shown("value"), expected=", ".join(allowed))
        return answer

    def _text_hash(self, cell_id: Any, *, mode: str) -> str:
        if mode == "single":
            return text_hash(self.every_item[cell_id].text)
        pair = self.every_pair[cell_id]
        return text_hash(self.every_item[pair.first].text + "\0" + self.every_item[pair.second].text)


def _reasons(payload: Mapping[str, Any]) -> tuple[str, ...]:
    given = payload.get("reasons") or ()
    if not isinstance(given, (list, tuple)) or any(reason not in REASONS for reason in given):
        raise UserError("unknown reason", got=repr(given), expected=", ".join(REASONS))
    return tuple(reason for reason in REASONS if reason in given)
