"""Know early: make pilots of the tuned arms on growing shares of their rows, and drop the arms that cannot win.

Pilots decide by validation rows alone; no held-out row is read. After each share the arms that are not worth going
on with are dropped (scaling/early_decision.py), and only the others have a pilot on the next one.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetrial.errors import EndsRun, FinetrialError, UserError
from finetrial.evidence.early_findings import RULE, EarlyFindings, early_findings, found_of, pilots_of
from finetrial.scaling.early_decision import RISK
from finetrial.store.hashes import hash_file
from finetrial.store.records import write_object
from finetrial.units import format_seconds, listing
from finetrial.workflow.context import TrialContext
from finetrial.workflow.executors import Session
from finetrial.workflow.forecast import Forecast, Job
from finetrial.workflow.keeping import set_aside
from finetrial.workflow.pilot_step import LEAST_STEPS, PARTS, PilotStep
from finetrial.workflow.rate_search import SearchStep
from finetrial.workflow.step import Stage, Step, StepDefaults, hashed_inputs
from finetrial.workflow.step_states import changed_inputs
from finetrial.workflow.walk import run_step
from finetrial.workflow.walk_graph import Walk, walk_steps


@dataclass(frozen=True, slots=True)
class EarlyStep(StepDefaults):
    """What the pilots that stand in the folder decide."""

    context: TrialContext = field(repr=False)
    name: str = "early"
    stage: Stage = Stage.PILOT
    subject: str = "early"
    arm: str | None = None
    recorded: bool = True

    @property
    def _pilots(self) -> list[Path]:
        folder = self.context.folder
        found = pilots_of(folder, self.context.trial)
        return [folder.pilot(arm, part=pilot.part) for arm, own in found.items() for pilot in own]

    def inputs(self) -> Mapping[str, Any]:
        return {"the pilots": [hash_file(path) for path in self._pilots], "the decision": [RULE, RISK]}

    def outputs(self) -> Sequence[Path]:
        return [self.context.folder.early]

    def execute(self) -> None:
        """Write early.json."""
        found = early_findings(self.context.folder, self.context.trial)
        assert found is not None  # the pilots were made before
        write_object(self.context.folder.early, found.record())


def piloted_arms(context: TrialContext) -> tuple[str, ...]:
    """The arms that pilots can drop: those that are tuned here."""
    return tuple(arm for arm in context.arms if context.trial.arms[arm].tuned)


def pilot_steps(context: TrialContext, arms: Sequence[str]) -> tuple[PilotStep, ...]:
    """Every pilot of these arms, in the order in which they are made."""
    return tuple(PilotStep(context, arm, part) for part in PARTS for arm in arms)


def usable_parts(context: TrialContext, arms: Sequence[str]) -> tuple[int, ...]:
    """The shares on which every arm has steps enough to be judged by."""
    return tuple(
        part for part in PARTS if all(PilotStep(context, arm, part).steps() >= LEAST_STEPS for arm in arms)
    )


def run_pilots(context: TrialContext, *, session: Session) -> tuple[str, ...]:
    """Make the pilots, share by share, and say what they decide. Returns the arms that are not to be tuned on.

    A pilot that is there is not made again. Raises UserError where the trial has no validation rows.
    """
    arms, say = piloted_arms(context), context.listener.line
    others = [name for name, arm in context.trial.arms.items() if arm.tuned and name not in arms]
    if others:
        raise UserError(
            "--early compares all arms that are tuned, and the run is limited to some",
            got=f"without {listing(others)}",
            fix="Leave out --arm or --early.",
        )
    if len(arms) < 2:
        say("early: nothing to decide, for fewer than two arms are tuned")
        return ()
    if not context.splits.validation:
        raise UserError("--early decides by the validation rows, and there are none", fix="Set data.validation.")
    parts = usable_parts(context, arms)
    if len(parts) < 2:
        say(
            f"early: nothing is decided, for an arm takes fewer than {LEAST_STEPS} steps on 1/{PARTS[-2]} of its "
            "rows; lower training.batch_tokens"
        )
        return ()
    searches = [SearchStep(context, arm) for arm in arms if context.trial.rate_of(arm) == "auto"]
    every: list[Step] = [*searches, *(PilotStep(context, arm, part) for part in parts for arm in arms)]
    context.forecast = _forecast(every)
    left, found = arms, None
    for part in parts:
        pilots = [PilotStep(context, arm, part) for arm in left]
        _walk(context, [*(searches if part == parts[0] else ()), *pilots], every=every, session=session)
        so_far = {
            arm: [pilot for pilot in own if pilot.part >= part]
            for arm, own in pilots_of(context.folder, context.trial).items()
            if arm in arms
        }
        found = found_of(so_far, seed=context.trial.training.seed)
        gone = found.decision.dropped
        for arm in (arm for arm in left if arm in gone):
            context.forecast.given_up(arm)
            say(_dropped_text(found, arm))
        left = tuple(arm for arm in left if arm not in gone)
        if len(left) < 2:
            break
    assert found is not None
    run_step(EarlyStep(context), manifest=context.manifest, say=say)
    say(_summary(found))
    return with_deployed(context, found.decision.dropped)


def _walk(context: TrialContext, steps: Sequence[Step], *, every: Sequence[Step], session: Session) -> None:
    """Run a share's pilots. An arm whose pilot fails is kept: its own tuning says what is wrong with it."""
    failed_arms: set[str | None] = set()

    def failed(step: Step, error: FinetrialError) -> None:
        if isinstance(error, EndsRun):
            raise error
        failed_arms.add(step.arm)
        context.listener.end()
        context.listener.line(f"{step.subject}: stopped, and {step.arm} is kept. {error}")

    def done(step: Step, ran: bool) -> None:
        for job in step.jobs:
            context.forecast.ended(job, seconds=None)

    walk_steps(
        steps,
        Walk(
            every=every,
            manifest=context.manifest,
            session=session,
            say=context.listener.line,
            may_run=lambda step: step.arm not in failed_arms,
            on_failed=failed,
            on_done=done,
        ),
    )


def _forecast(steps: Sequence[Step]) -> Forecast:
    jobs: list[Job] = []
    for step in steps:
        with contextlib.suppress(FinetrialError):  # what is wrong with the arm is said when its turn comes
            jobs += step.work()
    return Forecast(jobs)


def _dropped_text(found: EarlyFindings, arm: str) -> str:
    row = next(row for row in found.dropped if row.arm == arm)
    return (
        f"early: {arm} is dropped after 1/{row.part} of its rows: the best with probability {row.probability:.3f}"
    )


def _summary(found: EarlyFindings) -> str:
    cost, undecided = found.cost, found.decision.undecided
    took = f"the pilots took {format_seconds(cost.seconds)} and {cost.tokens:,} tokens"
    if undecided:
        return f"early: undecided between {listing(undecided)}, which are tuned on all their rows; {took}"
    return f"early: {listing(found.decision.left)} is tuned on all its rows, and no other; {took}"


def with_deployed(context: TrialContext, dropped: Collection[str]) -> tuple[str, ...]:
    """The dropped arms of the run, and those that are deployed forms of them."""
    arms = context.trial.arms
    return tuple(arm for arm in context.arms if arm in dropped or arms[arm].method.deployed_from in dropped)


def forget_stale(context: TrialContext) -> None:
    """Set aside pilots that other settings or other arms made, and with one of them the decision."""
    folder, manifest, stale = context.folder, context.manifest, False
    made = {name: record for name, record in manifest.records.items() if name.startswith("pilot:")}
    for step in (
        pilot_steps(context, [arm for arm, keys in context.trial.arms.items() if keys.tuned]) if made else ()
    ):
        record = made.get(step.name)
        if record is not None and changed_inputs(record.inputs, hashed_inputs(step)):
            stale |= set_aside(step, manifest=manifest, say=context.listener.line)
    gone = [path for path in folder.pilots.glob("*") if path.name not in context.trial.arms]
    for path in gone:
        shutil.rmtree(path)
        for name in (name for name in made if name.startswith(f"pilot:{path.name}@")):
            manifest.forget(name)
    if (stale or gone) and folder.early.exists():
        folder.early.unlink()
        manifest.forget("early")
