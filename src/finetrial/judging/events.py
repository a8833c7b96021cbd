"""Write each grade to the disk, exactly once, before the page moves on.

Events are rows that are only ever added. Each carries an identity of its own (`uid`), made where the key was
pressed, so that a retry after a lost answer is the same event. An undo is an event too: it names what it undoes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass

from finetrial.errors import UserError
from finetrial.judging.database import GradesLocked
from finetrial.judging.raters import RaterBook, now
from finetrial.store.grade_records import MODEL, GradeEvent, GradingSettings
from finetrial.store.grades import event_of, latest_settings
from finetrial.store.grades_file import event_columns

_STANDS = "NOT EXISTS (SELECT 1 FROM events WHERE undoes = e.uid AND rater = e.rater)"  # e: an event not undone


@dataclass(frozen=True, slots=True)
class CellState:
    """What stands for one item (or pair) of one rater after all events so far. None: open."""

    item_id: str
    occurrence: int
    value: str | None  # as the page offers it: a label of the scale, else good, bad or unsure
    reasons: tuple[str, ...]
    note: str | None
    guess: str | None


class GradeBook(RaterBook):
    """The one writer's view of grades.sqlite; several processes may hold one each."""

    # settings and the log

    def settings(self) -> GradingSettings | None:
        """What was fixed before anybody graded."""
        return latest_settings(self.connection)

    def fix_settings(self, settings: GradingSettings) -> None:
        """Put settings in force. The same settings again change nothing; others are refused once locked."""
        held = self.settings()
        if held is not None and held in (settings, dataclasses.replace(settings, units=None)):
            return  # an older finetrial did not count units
        if self.locked_at() is not None:
            raise GradesLocked(
                "the grades are locked and the samples they belong to have changed",
                fix="Run the changed trial in another folder (--out).",
            )
        if held is not None and held.scale != settings.scale and self.done_counts(mode="single"):
            raise UserError(
                "grades were given on another scale",
                got=settings.scale.rule() if settings.scale else "judging.scale: good_bad",
                expected=held.scale.rule() if held.scale else "judging.scale: good_bad",
                fix="What counts as good is fixed before anybody grades: run the changed trial in another folder "
                "(--out).",
            )
        if held is not None and (held.estimator, held.stopping) != (settings.estimator, settings.stopping):
            self._refuse_after_first_grade(held, settings)
        content = json.dumps(dataclasses.asdict(settings), ensure_ascii=False, sort_keys=True)
        with self.transaction() as connection:
            connection.execute("INSERT INTO settings (at, content) VALUES (?, ?)", (now(), content))

    def _refuse_after_first_grade(self, held: GradingSettings, settings: GradingSettings) -> None:
        """Raise UserError where people have graded: who has seen grades may not choose how they are counted."""
        if self.done_counts(mode="single") or self.done_counts(mode="pairs"):
            raise UserError(
                "judging.estimator and judging.stopping are fixed before the first grade",
                got=f"{settings.estimator}, stopping {settings.stopping}",
                expected=f"{held.estimator}, stopping {held.stopping}",
                fix="Run the changed trial in another folder (--out).",
            )

    def locked_at(self) -> str | None:
        """When the grades were locked; None while they can be added."""
        at: str | None = self.connection.execute("SELECT min(at) FROM log WHERE kind = 'lock'").fetchone()[0]
        return at

    def write_log(self, kind: str, detail: str) -> None:
        """Add a line to the log: lock, export, import."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO log (at, kind, detail, after_seq) SELECT ?, ?, ?, coalesce(max(seq), 0) FROM events",
                (now(), kind, detail),
            )

    def lock(self) -> bool:
        """Lock the grades for good. False when they were locked before."""
        if self.locked_at() is not None:
            return False
        self.write_log("lock", "the grades are locked and the key may be read")
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return True

    # events

    def append(self, event: GradeEvent) -> bool:
        """Put one event on the disk; an undo names here what it undoes. False: it stood there already.

        Raises GradesLocked, or NotWritten when the disk did not take it (nothing was written then).
        """
        return self.append_all([event]) == 1

    def append_all(self, events: Iterable[GradeEvent]) -> int:
        """Put events on the disk, all or none. Returns how many were new."""
        added = 0
        with self.transaction() as connection:
            for event in events:
                if connection.execute("SELECT 1 FROM events WHERE uid = ?", (event.uid,)).fetchone():
                    continue
                if event.kind == "undo" and event.undoes is None:
                    event = self._aimed(event)
                row = list(dataclasses.astuple(event))
                row[7] = json.dumps(row[7]) if row[7] else None
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO events ({event_columns()}) VALUES ({marks})", row)
                added += 1
        return added

    def _aimed(self, undo: GradeEvent) -> GradeEvent:
        """The undo with its target: the rater's latest grade or note in this mode that still counts."""
        row = self.connection.execute(
            "SELECT uid, item_id, occurrence FROM events AS e WHERE rater = ? AND mode = ? "
            f"AND kind IN ('grade', 'note') AND {_STANDS} ORDER BY seq DESC LIMIT 1",
            (undo.rater, undo.mode),
        ).fetchone()
        if row is None:
            return undo
        return dataclasses.replace(undo, undoes=row[0], item_id=row[1], occurrence=row[2])

    def last_seq(self) -> int:
        """The number of the latest event, 0 before the first."""
        return int(self.connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])

    def find(self, uid: str) -> GradeEvent | None:
        """The event with that uid."""
        row = self.connection.execute(f"SELECT {event_columns()} FROM events WHERE uid = ?", (uid,)).fetchone()
        return None if row is None else event_of(row)

    def done_counts(self, *, mode: str) -> dict[str, int]:
        """How many cells each rater has graded in a mode; model judges are left out."""
        return dict(
            self.connection.execute(
                "SELECT rater, count(DISTINCT item_id || '/' || occurrence) FROM events AS e "
                f"WHERE kind = 'grade' AND mode = ? AND coalesce(rater_kind, '') <> ? AND {_STANDS} GROUP BY rater",
                (mode, MODEL),
            ).fetchall()
        )

    def begun(self, rater: str, *, mode: str) -> frozenset[str]:
        """The items (or pairs) that a rater has ever touched."""
        rows = self.connection.execute(
            "SELECT DISTINCT item_id FROM events WHERE mode = ? AND rater = ? AND item_id IS NOT NULL",
            (mode, rater),
        )
        return frozenset(row[0] for row in rows)

    def cells(self, rater: str, *, mode: str, after_seq: int = 0) -> tuple[CellState, ...]:
        """The state of every cell of a rater that an event after `after_seq` touched."""
        touched = (
            "JOIN (SELECT DISTINCT item_id, occurrence FROM events WHERE seq > :after AND rater = :rater "
            "AND mode = :mode) AS t ON t.item_id = e.item_id AND t.occurrence = e.occurrence "
        )
        rows = self.connection.execute(
            "SELECT e.uid, e.kind, e.undoes, e.item_id, e.occurrence, coalesce(e.label, e.value), e.reasons, "
            "e.note "
            f"FROM events AS e {touched if after_seq else ''}"
            "WHERE e.rater = :rater AND e.mode = :mode AND e.item_id IS NOT NULL ORDER BY e.seq",
            {"rater": rater, "mode": mode, "after": after_seq},
        ).fetchall()
        undone = {undoes for _, kind, undoes, *_ in rows if kind == "undo"}
        # (item, occurrence) -> kind -> (value, reasons, note) of the latest event that stands
        states: dict[tuple[str, int], dict[str, tuple[str | None, str | None, str | None]]] = {}
        for uid, kind, _, item_id, occurrence, value, reasons, note in rows:
            state = states.setdefault((item_id, occurrence), {})
            if kind != "undo" and uid not in undone:
                state[kind] = (value, reasons, note)
        nothing = (None, None, None)
        return tuple(
            CellState(
                item_id=item_id,
                occurrence=occurrence,
                value=state.get("grade", nothing)[0],
                reasons=tuple(json.loads(state.get("grade", nothing)[1] or "[]")),
                note=state.get("note", nothing)[2] or None,
                guess=state.get("guess", nothing)[0],
            )
            for (item_id, occurrence), state in states.items()
        )
