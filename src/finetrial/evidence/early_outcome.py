"""Set what pilots forecast beside what the arms came to, and what the pilots took beside what they saved."""

from __future__ import annotations

from dataclasses import dataclass

from finetrial.evidence.early_findings import EarlyFindings, early_findings
from finetrial.store.layout import TrialFolder
from finetrial.store.pilots import EarlyRecord, PilotRecord
from finetrial.store.plan_record import read_plan_or_none
from finetrial.store.records import Measured, read_object
from finetrial.trial.schema import Trial
from finetrial.units import listing


@dataclass(frozen=True, slots=True)
class EarlyArm:
    """One arm that had pilots. Losses are nats a validation token, of the rows that all pilots share."""

    arm: str
    rows: tuple[int, ...]  # of its pilots, ascending
    losses: tuple[float | None, ...]  # of each; None: it diverged
    full_rows: int
    forecast: float | None  # of the loss on all rows, when it was last asked; None: it never was
    low: float | None  # 95 %
    high: float | None
    probability: float | None  # that it was the best of those that were still in
    dropped_after: int | None  # one in so many of its rows; None: it was not
    tuned: (
        float | None
    )  # the validation loss that it came to on all its rows, on all validation rows; None: not tuned
    full_tokens: int  # that its steps on all rows process
    tokens: int  # that those of its pilots did
    seconds: float  # of its pilots
    planned_seconds: float | None  # of tuning it on all rows, by the plan


@dataclass(frozen=True, slots=True)
class EarlyOutcome:
    """What pilots decided, and what came of it."""

    record: EarlyRecord
    validation_rows: int
    arms: tuple[EarlyArm, ...]

    @property
    def dropped(self) -> dict[str, EarlyArm]:
        """The arms that were dropped and not tuned on all their rows since."""
        return {row.arm: row for row in self.arms if row.dropped_after is not None and row.tuned is None}

    @property
    def tokens(self) -> int:
        """Of all pilots."""
        return sum(row.tokens for row in self.arms)

    @property
    def full_tokens(self) -> int:
        """Of all arms on all their rows."""
        return sum(row.full_tokens for row in self.arms)

    @property
    def seconds(self) -> float:
        """Of all pilots."""
        return sum(row.seconds for row in self.arms)


def early_outcome(folder: TrialFolder, trial: Trial) -> EarlyOutcome | None:
    """What the pilots decided; None where the trial was not run with --early.

    Everything is made anew from the pilots' records.
    """
    found = early_findings(folder, trial) if folder.early.exists() else None
    if found is None:
        return None
    plan = read_plan_or_none(folder.plan)
    planned = {} if plan is None else {step.arm: step.seconds for step in plan.steps if step.kind == "tune"}
    arms = tuple(
        _arm(found, arm, own, folder=folder, planned_seconds=planned.get(arm)) for arm, own in found.pilots.items()
    )
    return EarlyOutcome(found.record(), found.rows, arms)


def _arm(
    found: EarlyFindings,
    arm: str,
    pilots: tuple[PilotRecord, ...],
    *,
    folder: TrialFolder,
    planned_seconds: float | None,
) -> EarlyArm:
    asked = [rung.standings[arm] for rung in found.decision.rungs if arm in rung.standings]
    last = asked[-1] if asked else None
    measured = folder.measured(arm)
    return EarlyArm(
        arm=arm,
        rows=tuple(pilot.rows for pilot in pilots),
        losses=tuple(_loss(found, place, arm) for place in range(len(pilots))),
        full_rows=pilots[0].full_rows,
        forecast=None if last is None else last.forecast,
        low=None if last is None else last.low,
        high=None if last is None else last.high,
        probability=None if last is None else last.probability,
        dropped_after=next((row.part for row in found.dropped if row.arm == arm), None),
        tuned=read_object(measured, Measured).validation_loss if measured.exists() else None,
        full_tokens=pilots[0].full_tokens,
        tokens=sum(pilot.tokens for pilot in pilots),
        seconds=sum(pilot.seconds for pilot in pilots),
        planned_seconds=planned_seconds,
    )


def _loss(found: EarlyFindings, place: int, arm: str) -> float | None:
    rungs = found.decision.rungs
    return rungs[place].losses.get(arm) if place < len(rungs) else None


def dropped_note(early: EarlyOutcome | None) -> tuple[str, ...]:
    """What a comparison lacks for it; empty where every arm was tuned."""
    if early is None or not early.dropped:
        return ()
    names = list(early.dropped)
    were, they = ("was", "it stands") if len(names) == 1 else ("were", "they stand")
    return (
        f"{listing(names)} {were} dropped early, by pilots on a part of the rows, and {they} in no comparison: a "
        "cheaper arm among them may have been good enough.",
    )
