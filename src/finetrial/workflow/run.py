"""In which order do the steps run, and what happens to the others when one arm fails?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from finetrial.errors import FinetrialError
from finetrial.evidence.of_trial import trial_findings
from finetrial.models.device import deterministic_kernels
from finetrial.reporting.write import ReportFiles, write_report
from finetrial.store.alone import alone_in
from finetrial.workflow.context import TrialContext
from finetrial.workflow.data_check import check_data
from finetrial.workflow.forecast import Forecast
from finetrial.workflow.jobs import jobs_to_come
from finetrial.workflow.preflight import check_asked
from finetrial.workflow.sampling import sample_arm_of
from finetrial.workflow.scoring import check_judging, score_trial
from finetrial.workflow.tuning import tune_arm


@dataclass(frozen=True, slots=True)
class TrialRun:
    """What a run left: the report's files, and the arms that failed with their errors."""

    report: ReportFiles | None
    failures: Mapping[str, FinetrialError]


Failures = dict[str, FinetrialError]


def _each_arm(
    context: TrialContext, step: Callable[[TrialContext, str], None], *, tuned_only: bool, failures: Failures
) -> None:
    """One step for every arm that has not failed; an arm's failure leaves the others going."""
    for arm in context.arms:
        if arm in failures or (tuned_only and not context.trial.arms[arm].tuned):
            continue
        try:
            with deterministic_kernels(wanted=context.deterministic):
                step(context, arm)
        except FinetrialError as error:
            failures[arm] = error
            context.forecast.given_up(arm)
            context.listener.end()
            context.listener.line(f"{arm}: stopped. {error}")


def tune_arms(context: TrialContext) -> Failures:
    """Tune every arm that is tuned. Raises UserError, before the first, for what cannot be had here."""
    check_asked(context)
    failures: Failures = {}
    _each_arm(context, tune_arm, tuned_only=True, failures=failures)
    context.shared_base.forget()
    return failures


def sample_arms(context: TrialContext, *, failures: Failures) -> Failures:
    """Sample every arm on the same prompts; an arm that could not be tuned or sampled has no samples.

    What such an arm answered before, it answered as something else: an earlier rank, another adapter. It may not be
    scored under the name of what the trial file asks for now.
    """
    context.note_resolved()
    _each_arm(context, sample_arm_of, tuned_only=False, failures=failures)
    for arm in failures:
        if (earlier := context.folder.samples(arm)).exists():
            earlier.replace(earlier.with_name(f"{earlier.name}.earlier"))
            context.listener.line(f"{arm}: set aside the samples of an earlier run, which are not this arm's")
    return failures


def score(context: TrialContext) -> None:
    """Score and diagnose every sample, and set the prompts for blind grading aside."""
    score_trial(
        context.folder,
        context.trial,
        manifest=context.manifest,
        base=context.loaded.base,
        training=lambda: context.splits.train,
    )


def run_trial(context: TrialContext) -> TrialRun:
    """The whole trial, from the data to the report. Arms that failed are named; the others are reported.

    Raises UserError while another run is at work in the same folder.
    """
    check_judging(context.trial.judging, base=context.loaded.base)
    with alone_in(context.folder.root):
        return _run_alone(context)


def _run_alone(context: TrialContext) -> TrialRun:
    context.open()
    check_data(context)
    context.forecast = Forecast(jobs_to_come(context, sampled=True))
    failures = sample_arms(context, failures=tune_arms(context))
    context.manifest.describe({"failures": {arm: error.as_dict() for arm, error in failures.items()}})
    if len(failures) == len(context.arms):
        raise next(iter(failures.values()))
    score(context)
    return TrialRun(report=write_report(context.folder, findings=trial_findings(context.folder)), failures=failures)
