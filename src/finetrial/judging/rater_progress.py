"""Say who has graded how much. Nothing here knows an arm, so nothing here can say which one leads."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass

from finetrial.judging.grading_session import GradingSession, Mode
from finetrial.store.grade_records import RaterKind
from finetrial.store.grades import FAST_SECONDS, FEWEST_TIMED, counting, read_events


@dataclass(frozen=True, slots=True)
class RaterProgress:
    """How far one rater is. Times are UTC."""

    rater: str
    kind: RaterKind | None  # None: not declared
    graded: int
    of: int  # of the rater's own share, hidden repeats among it
    median_seconds: float | None  # of a grade on screen
    latest_at: str | None  # None: has not graded yet

    @property
    def too_fast(self) -> bool:
        """True where the grades came faster than the texts can be read. Said from five grades on."""
        return (
            self.graded >= FEWEST_TIMED and self.median_seconds is not None and self.median_seconds < FAST_SECONDS
        )


def progress_of(session: GradingSession, *, mode: Mode) -> tuple[RaterProgress, ...]:
    """Every rater's progress in a mode, in the order of joining."""
    counted = counting(read_events(session.folder), kind="grade", mode=mode)
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    latest: dict[str, str | None] = {}
    done: Counter[str] = Counter()
    for (_, rater, _, _), (_, event) in sorted(counted.items(), key=lambda entry: entry[1][0]):
        done[rater] += 1
        latest[rater] = event.at
        if event.shown_ms is not None:
            seconds[rater].append(event.shown_ms / 1000)
    return tuple(
        RaterProgress(
            rater=rater.name,
            kind=session.book.kind_of(rater.name),
            graded=done[rater.name],
            of=len(session.plan(rater, mode=mode).positions),
            median_seconds=statistics.median(seconds[rater.name]) if seconds[rater.name] else None,
            latest_at=latest.get(rater.name),
        )
        for rater in session.book.raters()
    )
