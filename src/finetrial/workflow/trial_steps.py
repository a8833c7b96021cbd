"""Lay out a trial as steps, each after those whose files it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetrial.evidence.trial_findings import trial_findings
from finetrial.reporting.write import write_report
from finetrial.workflow.check_step import CheckStep
from finetrial.workflow.context import TrialContext
from finetrial.workflow.judge_step import judge_steps
from finetrial.workflow.sample_step import SampleStep
from finetrial.workflow.score_step import ScoreStep
from finetrial.workflow.step import Stage, Step, StepDefaults
from finetrial.workflow.tune_step import tuning_steps


@dataclass(frozen=True, slots=True)
class ReportStep(StepDefaults):
    """The report. It is written every time: the same records give the same bytes."""

    context: TrialContext = field(repr=False)
    name: str = "report"
    stage: Stage = Stage.REPORT
    subject: str = "report"
    arm: str | None = None
    after: tuple[str, ...] = ("score",)  # and the judges, where there are any
    recorded: bool = False

    def inputs(self) -> Mapping[str, Any]:
        return {}

    def outputs(self) -> Sequence[Path]:
        return [] if self.context.report is None else self.context.report.all

    def execute(self) -> None:
        """Compare the arms and write report/."""
        context = self.context
        context.findings = trial_findings(context.folder)
        context.report = write_report(context.folder, findings=context.findings)


def trial_steps(context: TrialContext) -> tuple[Step, ...]:
    """The steps of the trial's chosen arms, in the order in which they run: check, tune, sample, score, judge,
    report.

    All arms are tuned before any is sampled, so that adapters share one base in memory.
    """
    sampling = [SampleStep(context, arm) for arm in context.arms]
    judging = judge_steps(context.folder, context.loaded, manifest=context.manifest, say=context.listener.line)
    return (
        CheckStep(context),
        *(step for arm in context.arms for step in tuning_steps(context, arm)),
        *sampling,
        ScoreStep(
            context.folder,
            context.trial,
            context.loaded.base,
            context.manifest,
            lambda: context.splits.train,
            lambda: context.splits.heldout,
            after=tuple(step.name for step in sampling),
        ),
        *judging,
        ReportStep(context, after=("score", *(step.name for step in judging))),
    )


def steps_of(context: TrialContext, *stages: Stage) -> tuple[Step, ...]:
    """The trial's steps that belong to these stages."""
    return tuple(step for step in trial_steps(context) if step.stage in stages)
