"""Tune an arm: one training run of it, as a step of the trial."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetrial.models.device import deterministic_kernels
from finetrial.models.kernels.place import ABSENT
from finetrial.store.layout import run_name
from finetrial.store.manifest import Manifest
from finetrial.store.records import FastPath, Measured, write_object
from finetrial.store.search import read_search
from finetrial.training.loop import tune_with
from finetrial.training.step_plan import task_work
from finetrial.training.task import TuneTask, resumed_text
from finetrial.training.trackers import Curves
from finetrial.trial.resolve import ResolvedArm
from finetrial.units import format_seconds
from finetrial.workflow.context import TrialContext
from finetrial.workflow.forecast import Job
from finetrial.workflow.rate_search import SearchStep, rate_in_use, rate_inputs, search_before
from finetrial.workflow.step import Stage, StepDefaults
from finetrial.workflow.step_progress import TuningProgress, tune_label
from finetrial.workflow.tune_task import arm_task, tune_inputs


def _curves(context: TrialContext, name: str, task: TuneTask) -> Curves:
    settings = {key: getattr(task, key) for key in ("learning_rate", "epochs", "batch_tokens", "schedule", "seed")}
    return Curves(
        context.trial.training.trackers,
        project=context.trial.trial,
        run=name,
        folder=context.folder.curves,
        settings=settings | {"arm": name, "model": task.model},
    )


@dataclass(frozen=True, slots=True)
class TuneStep(StepDefaults):
    """One training run of an arm, at the learning rate that was given or found."""

    context: TrialContext = field(repr=False)
    arm: str
    run: int  # from 0
    stage: Stage = Stage.TUNE
    recorded: bool = True
    done_text: str | None = "tuned already"
    again_text: str | None = "tuning again"

    @property
    def subject(self) -> str:
        return run_name(self.arm, run=self.run)

    @property
    def name(self) -> str:
        return f"tune:{self.subject}"

    @property
    def after(self) -> tuple[str, ...]:
        return search_before(self.context, self.arm)

    @property
    def jobs(self) -> tuple[str, ...]:
        return (tune_label(self.subject),)

    @property
    def _resolved(self) -> ResolvedArm:
        return self.context.arm(self.arm)

    def inputs(self) -> Mapping[str, Any]:
        inputs = tune_inputs(self.context, self._resolved, run=self.run)
        return inputs | rate_inputs(self.context, self.arm)

    def outputs(self) -> Sequence[Path]:
        return sorted(self.context.folder.arm(self.subject).glob("*.safetensors"))

    def work(self) -> list[Job]:
        """Its job in a forecast."""
        task = arm_task(self.context, self._resolved, learning_rate=None, run=self.run)
        width = self.context.bases.width_of(self.arm)
        return [Job(tune_label(self.subject), self.arm, "tune", task_work(task, width=width))]

    def beside(self) -> Sequence[Path]:
        """The losses, and what is read beside the weights: the configuration, the adapter's, the tokenizer's."""
        folder = self.context.folder.arm(run_name(self.arm, run=self.run))
        later = {
            "measured.json",
            "search.json",
            "retain.jsonl",
            "references.jsonl",
        }  # other steps write them, or write to them
        suffixes = {".json", ".jsonl", ".jinja", ".txt", ".model"}
        return sorted(p for p in folder.glob("*") if p.suffix in suffixes and p.name not in later)

    def own_files(self) -> Sequence[Path]:
        """Weights, curve, measurements and an unfinished checkpoint; not what the search and the sampling wrote."""
        folder = self.context.folder
        others = {folder.search(self.subject), folder.retained(self.subject), folder.references(self.subject)}
        searched = folder.search(self.subject).with_suffix("")
        files = sorted(path for path in folder.arm(self.subject).rglob("*") if path not in others)
        return [path for path in files if path.is_file() and not path.is_relative_to(searched)]

    def task(self) -> TuneTask:
        """What is tuned. Raises UserError where the arm cannot be."""
        arm = self._resolved
        return arm_task(self.context, arm, learning_rate=rate_in_use(self.context, arm), run=self.run)

    def curves(self, task: TuneTask) -> Curves:
        """The trackers that follow this run."""
        return _curves(self.context, self.subject, task)

    def says_resumed(self, step: int, steps: int) -> None:
        """Say from where the run goes on."""
        self.context.listener.line(f"{self.subject}: {resumed_text(step, steps=steps)}")

    def execute(self) -> None:
        """Tune, and write weights, measurements and curves. Continues where it was stopped."""
        context, task = self.context, self.task()
        label = tune_label(self.subject)
        with deterministic_kernels(wanted=context.deterministic), self.curves(task) as curves:
            measured = tune_with(
                task,
                context.shared_base.prepare,
                on_progress=TuningProgress(context, label, announces=self.subject),
                on_point=curves.add,
                on_resume=self.says_resumed,
            )
        self.tuned(measured)

    def tuned(self, measured: Measured, *, together: Sequence[str] = ()) -> None:
        """Note what tuning took and say so. `together` are the runs that shared passes, this one among them."""
        context, name = self.context, self.subject
        context.forecast.ended(tune_label(name), seconds=measured.tune_seconds)
        context.listener.end()
        context.listener.line(f"{name}: tuned in {format_seconds(measured.tune_seconds)}")
        note_together(context.manifest, together or (name,))
        search = read_search(context.folder.search(name)) if self.after and self.run == 0 else None
        if search is not None:  # searched once for all runs of the arm, beside what tuning took
            measured = dataclasses.replace(measured, search_seconds=search.seconds, search_flops=search.flops)
        if together:
            measured = dataclasses.replace(measured, together=tuple(together))
        if search is not None or together:
            write_object(context.folder.measured(name), measured)
        context.listener.line(f"{name}: {fast_paths_line(measured.fast_paths or ())}")


def note_together(manifest: Manifest, names: Sequence[str]) -> None:
    """Let the manifest say which runs were tuned together last; one that was tuned alone is in no group."""
    before = manifest.content.get("together", [])
    kept = [left for group in before if len(left := [one for one in group if one not in names]) > 1]
    now = kept + ([list(names)] if len(names) > 1 else [])
    if now != before:
        manifest.describe({"together": now})


def fast_paths_line(paths: Sequence[FastPath]) -> str:
    """Which fast paths were on, and why one was not that the model could have used."""
    on = ", ".join(path.name for path in paths if path.on) or "none"
    off = "; ".join(f"{path.name} ({path.reason})" for path in paths if not path.on and path.reason != ABSENT)
    return f"fast paths: {on}" + (f"; off: {off}" if off else "")


def tuning_steps(context: TrialContext, arm: str) -> tuple[SearchStep | TuneStep, ...]:
    """The steps that tune an arm: the search where one is asked, then every training run; none for other arms."""
    runs = tuple(TuneStep(context, arm, run) for run in range(context.trial.runs_of(arm)))
    searches = runs and context.trial.rate_of(arm) == "auto"
    return ((SearchStep(context, arm),) if searches else ()) + runs
