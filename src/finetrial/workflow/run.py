"""Run a trial, or one stage of it, in its folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetrial.errors import EndsRun, FinetrialError
from finetrial.evidence.early_outcome import early_outcome
from finetrial.evidence.findings import Findings
from finetrial.evidence.first_judging import keep_first_judging
from finetrial.reporting.write import ReportFiles
from finetrial.store.folder_lock import folder_lock
from finetrial.store.grades import grading_state
from finetrial.store.plan_record import StepKind, read_plan_or_none
from finetrial.store.run_time import RunTime, planned_run_seconds, write_run_time
from finetrial.workflow.context import TrialContext
from finetrial.workflow.early import forget_stale, run_pilots, with_deployed
from finetrial.workflow.executors import HERE, Executor, Session, workers_of
from finetrial.workflow.forecast import Forecast, Job, in_planned_seconds
from finetrial.workflow.keeping import set_aside
from finetrial.workflow.locked_grades import refuse_after_lock
from finetrial.workflow.plan_step import plan_run
from finetrial.workflow.preflight import check_requirements
from finetrial.workflow.sample_step import SampleStep
from finetrial.workflow.score_step import check_judging
from finetrial.workflow.step import Stage, Step
from finetrial.workflow.trial_steps import steps_of, trial_steps
from finetrial.workflow.walk import run_step, step_states
from finetrial.workflow.walk_graph import Walk, walk_steps

Failures = dict[str, FinetrialError]


@dataclass(frozen=True, slots=True)
class TrialRun:
    """What a run left: the report's files, the findings in it, and the arms that failed with their errors."""

    report: ReportFiles | None
    findings: Findings | None
    failures: Mapping[str, FinetrialError]


def _walk(context: TrialContext, *stages: Stage, failures: Failures, session: Session) -> None:
    """Run the steps of these stages that are not current; an arm's failure leaves the others going."""

    def failed(step: Step, error: FinetrialError) -> None:
        if step.arm is None or isinstance(error, EndsRun):
            raise error
        failures.setdefault(step.arm, error)
        context.forecast.given_up(step.arm)
        context.listener.end()
        context.listener.line(f"{step.arm}: stopped. {error}")

    def done(step: Step, ran: bool) -> None:
        for job in step.jobs:  # those that ran in this process have said how long they took
            context.forecast.ended(job, seconds=None)

    every = trial_steps(context)
    walk = Walk(
        every=every,
        manifest=context.manifest,
        session=session,
        say=context.listener.line,
        may_run=lambda step: step.arm is None or step.arm not in failures,
        on_failed=failed,
        on_done=done,
    )
    walk_steps([step for step in every if step.stage in stages], walk)


def _forecast(context: TrialContext, *stages: Stage) -> Forecast:
    """The work of these stages that is still to be done, and in a whole run the scoring and the report."""
    steps = steps_of(context, *stages)
    to_run = step_states(steps, manifest=context.manifest).to_run
    jobs = {step.name: _work(step) for step in steps}
    left = {job.name for name in to_run for job in jobs.get(name, ())}
    planned = in_planned_seconds([job for found in jobs.values() for job in found], plan=context.plan)
    if planned is None or context.plan is None:
        return Forecast([job for name in jobs if name in to_run for job in jobs[name]])
    kinds: tuple[StepKind, ...] = ("score", "report") if Stage.SAMPLE in stages else ()
    after = sum(context.plan.seconds_of(kind) or 0.0 for kind in kinds)
    return Forecast([job for job in planned if job.name in left], first_rate=1.0, after_seconds=after)


def _work(step: Step) -> Sequence[Job]:
    try:
        return step.work()
    except FinetrialError:
        return ()  # what is wrong with the arm is said when its turn comes


def tune_arms(context: TrialContext, *, session: Session) -> Failures:
    """Tune every arm that is tuned. Raises UserError, before the first, for what cannot be had here."""
    steps = steps_of(context, Stage.TUNE)
    to_run = step_states(steps, manifest=context.manifest).to_run
    check_requirements(context, arms=dict.fromkeys(step.arm for step in steps if step.arm and step.name in to_run))
    failures: Failures = {}
    _walk(context, Stage.TUNE, failures=failures, session=session)
    context.shared_base.forget()
    return failures


def sample_arms(context: TrialContext, *, failures: Failures, session: Session) -> Failures:
    """Sample every arm on the same prompts; an arm that could not be tuned or sampled has no samples.

    What such an arm answered before, it answered as something else: an earlier rank, another adapter. It may not be
    scored under the name of what the trial file asks for now.
    """
    context.note_resolved()
    try:
        _walk(context, Stage.SAMPLE, failures=failures, session=session)
    finally:
        context.note_resolved()  # an adapter is merged or not
    if any(context.folder.samples(arm).exists() for arm in context.arms):  # and may be read from now on
        keep_first_judging(context.folder, trial=context.trial, base=context.loaded.base)
    for arm in failures:
        if context.folder.samples(arm).exists():
            context.listener.line(f"{arm}: set aside the samples of an earlier run, which are not this arm's")
            set_aside(SampleStep(context, arm), manifest=context.manifest, say=context.listener.line)
    return failures


def _judge(context: TrialContext) -> None:
    """Let every model judge answer. One that cannot is named; the report is written all the same."""
    every = trial_steps(context)
    for step in (step for step in every if step.stage is Stage.JUDGE):
        try:
            run_step(step, manifest=context.manifest, say=context.listener.line, steps=every)
        except FinetrialError as error:
            context.listener.end()
            context.listener.line(f"{step.subject}: {error}")


def _note_time(context: TrialContext, *, seconds: float, is_planned: bool) -> None:
    """Keep what the run took beside what was planned. `is_planned`: the plan was made for this very run.

    One that goes on by an earlier plan did a part of it, which nothing stands beside.
    """
    planned = None if context.plan is None else planned_run_seconds(context.plan.steps)
    if is_planned and planned is not None:
        write_run_time(context.folder.run_time, RunTime(planned_seconds=planned, seconds=seconds))


def run_trial(
    context: TrialContext,
    *,
    executor: Executor = HERE,
    even_if_it_does_not_fit: bool = False,
    early: bool = False,
) -> TrialRun:
    """The whole trial, from the data to the report. Arms that failed are named; the others are reported.

    The arms' steps run where `executor` says; those that the whole trial needs, in this process. With `early`
    pilots come first, and the arms that they drop are neither tuned nor sampled. Raises UserError while another run
    is at work in the same folder, and AnswerIsNo where the plan says that the trial cannot fit, unless it is asked
    for even so.
    """
    check_judging(context.trial.judging, base=context.loaded.base)
    grading_state(context.folder)  # damaged grades are named before an hour of tuning, not after it
    began = time.monotonic()
    with folder_lock(context.folder.root):
        refuse_after_lock(context)
        context.open()
        _walk_here(context, Stage.CHECK)
        earlier = read_plan_or_none(context.folder.plan)
        context.processes = workers_of(executor)
        context.plan = plan_run(context, even_if_it_does_not_fit=even_if_it_does_not_fit)
        forget_stale(context)
        with executor.open(context) as session:
            if early:
                context.leave_out(run_pilots(context, session=session))
            context.forecast = _forecast(context, Stage.TUNE, Stage.SAMPLE)
            failures = sample_arms(context, failures=tune_arms(context, session=session), session=session)
        context.manifest.describe({"failures": {arm: error.as_dict() for arm, error in failures.items()}})
        if len(failures) == len(context.arms):
            raise next(iter(failures.values()))
        _walk_here(context, Stage.SCORE)
        if executor.name == HERE.name and not early:  # the plan knows no steps side by side, and no pilots
            _note_time(context, seconds=time.monotonic() - began, is_planned=context.plan != earlier)
        _judge(context)
        _walk_here(context, Stage.REPORT)
        return TrialRun(report=context.report, findings=context.findings, failures=failures)


def _walk_here(context: TrialContext, *stages: Stage) -> None:
    """Run the steps that the whole trial needs. Raises what they raise."""
    with HERE.open(context) as session:
        _walk(context, *stages, failures={}, session=session)


def tune_trial(context: TrialContext, *, executor: Executor = HERE) -> Failures:
    """Check the data and tune the arms, and nothing else. Raises as `run_trial` does; failed arms are returned."""
    with folder_lock(context.folder.root):
        refuse_after_lock(context)
        context.open()
        _walk_here(context, Stage.CHECK)
        context.processes = workers_of(executor)
        context.plan = plan_run(context, even_if_it_does_not_fit=True)
        forget_stale(context)
        context.forecast = _forecast(context, Stage.TUNE)
        with executor.open(context) as session:
            return tune_arms(context, session=session)


def sample_trial(context: TrialContext, *, executor: Executor = HERE) -> Failures:
    """Sample the arms, which must be tuned, and nothing else. Raises as `run_trial` does; failures are returned."""
    with folder_lock(context.folder.root):
        refuse_after_lock(context)
        context.open()
        if (early := early_outcome(context.folder, context.trial)) is not None:
            context.leave_out(with_deployed(context, early.dropped))
        with executor.open(context) as session:
            return sample_arms(context, failures={}, session=session)
