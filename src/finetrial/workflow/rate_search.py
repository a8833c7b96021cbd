"""Search for an arm's learning rate, where the trial file leaves it to that, as a step of the trial.

The rates of `rate_grid`, each tuned for the same short share of the arm's steps through the one loop, are
compared on the validation split. Every rate's outcome is written down at once: a search that is stopped goes on
where it was, in the middle of a rate too. With `--together` the rates of a LoRA arm share their passes.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.models.device import deterministic_kernels
from finetrial.store.hashes import hash_value
from finetrial.store.records import Measured
from finetrial.store.search import RateSearch, TriedRate, read_search, write_search
from finetrial.training.arm_run import Diverged
from finetrial.training.loop import tune_with
from finetrial.training.mounted_arms import CannotShare
from finetrial.training.optimizer import default_learning_rate
from finetrial.training.pass_groups import why_alone
from finetrial.training.side_by_side import Hears, tune_together
from finetrial.training.step_plan import processed_tokens, step_count, task_work
from finetrial.training.task import TuneTask, resumed_text
from finetrial.training.validation_plan import search_rows
from finetrial.trial.resolve import ResolvedArm
from finetrial.units import format_seconds, listing
from finetrial.workflow.context import TrialContext
from finetrial.workflow.forecast import Job
from finetrial.workflow.rate_grid import SEARCH, best_rate, first_rates, more_rates
from finetrial.workflow.step import Stage, StepDefaults
from finetrial.workflow.step_progress import GroupProgress, TuningProgress, search_label
from finetrial.workflow.tune_task import arm_task, tune_inputs
from finetrial.workflow.walk import state_now

# Goes up when the rule comes to choose otherwise from the same inputs.
_RULE = 2
# Of what decides an arm, that which no search looks at.
_NOT_SEARCHED = ("training.evaluations", "training.early_stopping")


def search_inputs(context: TrialContext, arm: ResolvedArm) -> dict[str, Any]:
    """Everything that decides which rate is found, by the name a user knows it by."""
    inputs = {key: value for key, value in tune_inputs(context, arm).items() if key not in _NOT_SEARCHED}
    return inputs | {"the search": _RULE}


def short_task(task: TuneTask, *, rate: float, share: float | None = None, folder_name: str) -> TuneTask:
    """The arm's task with one rate and a share of its steps, compared on a few validation rows after the last.

    Its weights are not kept. The share is the rule's unless given.
    """
    share = SEARCH.share_of(step_count(task)) if share is None else share
    short = dataclasses.replace(task, epochs=task.epochs * share)
    return dataclasses.replace(
        short,
        learning_rate=rate,
        validation=search_rows(task.validation, train_tokens=processed_tokens(short)),
        evaluations=0,
        early_stopping=None,
        keeps_weights=False,
        folder=task.folder / "search" / folder_name,
    )


def _try(context: TrialContext, arm: str, task: TuneTask) -> TriedRate:
    """Tune with one rate and see what it comes to."""
    rate, began = task.learning_rate, time.monotonic()
    assert rate is not None
    label = search_label(arm, rate)
    try:
        measured = tune_with(
            task,
            context.shared_base.prepare,
            on_progress=TuningProgress(context, label),
            on_resume=_resumed(context, label),
        )
    except Diverged as error:
        return _tried(context, label, task, error, seconds=time.monotonic() - began)
    return _tried(context, label, task, measured, seconds=measured.tune_seconds)


def _resumed(context: TrialContext, label: str) -> Callable[[int, int], None]:
    return lambda step, steps: context.listener.line(f"{label}: {resumed_text(step, steps=steps)}")


def _tried(
    context: TrialContext, label: str, task: TuneTask, outcome: Measured | Diverged, *, seconds: float
) -> TriedRate:
    """What a rate came to after so many seconds."""
    rate = task.learning_rate
    assert rate is not None
    if isinstance(outcome, Diverged):
        context.forecast.ended(label, seconds=None)
        return TriedRate(rate, None, outcome.what, tokens=0, seconds=seconds)
    context.forecast.ended(label, seconds=seconds)
    return TriedRate(
        rate,
        outcome.validation_loss,
        None,
        outcome.tokens_processed,
        seconds,
        None if outcome.flops_total is None else outcome.flops_total + (outcome.evaluation_flops or 0.0),
    )


def _try_together(context: TrialContext, arm: str, tasks: Sequence[TuneTask]) -> list[TriedRate] | None:
    """Tune with several rates in one pass; None where the arm does not let them share one."""
    if len(tasks) < 2 or why_alone(tasks[0]) is not None:
        return None
    rates = [task.learning_rate for task in tasks if task.learning_rate is not None]
    labels, began = [search_label(arm, rate) for rate in rates], time.monotonic()
    names = [f"{arm} at {listing([f'{rate:g}' for rate in rates])}"]
    progress = GroupProgress(context, labels, names=names, announces=False)
    hears = [
        Hears(partial(progress, place), on_resume=_resumed(context, label)) for place, label in enumerate(labels)
    ]
    try:
        outcomes = tune_together(tasks, context.shared_base, hears=hears)
    except CannotShare:
        return None
    share = (time.monotonic() - began) / len(tasks)
    found: list[TriedRate] = []
    for task, label, outcome in zip(tasks, labels, outcomes, strict=True):
        if isinstance(outcome, Measured):
            found.append(_tried(context, label, task, outcome, seconds=outcome.tune_seconds))
        elif isinstance(outcome, Diverged):
            found.append(_tried(context, label, task, outcome, seconds=share))
        else:
            raise outcome
    return found


def _begun(path: Path, *, inputs: str, start: float, task: TuneTask) -> RateSearch:
    """The search as far as it came, or a new one."""
    found = read_search(path)
    if found is not None and found.inputs == inputs:
        return found
    shutil.rmtree(task.folder / "search", ignore_errors=True)
    share = SEARCH.share_of(step_count(task))
    steps = step_count(short_task(task, rate=start, share=share, folder_name=""))
    return RateSearch(inputs, start, share, steps, tried=(), chosen=None)


def _rates_left(search: RateSearch) -> list[float]:
    done = {row.learning_rate for row in search.tried}
    first = [rate for rate in first_rates(search.start) if rate not in done]
    return first or [rate for rate in more_rates(search.start, tried=search.tried) if rate not in done]


@dataclass(frozen=True, slots=True)
class SearchStep(StepDefaults):
    """The search for one arm's learning rate. It reads the train and validation splits alone.

    The jobs of its rates are unknown to it until it runs.
    """

    context: TrialContext = field(repr=False)
    arm: str
    stage: Stage = Stage.TUNE
    recorded: bool = True

    @property
    def subject(self) -> str:
        return self.arm

    @property
    def name(self) -> str:
        return f"search:{self.arm}"

    @property
    def _resolved(self) -> ResolvedArm:
        return self.context.arm(self.arm)

    def inputs(self) -> Mapping[str, Any]:
        return search_inputs(self.context, self._resolved)

    def outputs(self) -> Sequence[Path]:
        return [self.context.folder.search(self.arm)]

    def _start(self) -> float:
        return default_learning_rate(self.context.bases.config_of(self.arm), method=self._resolved.keys.tuning)

    def work(self) -> list[Job]:
        """Its rates' jobs in a forecast."""
        start, task = self._start(), arm_task(self.context, self._resolved, learning_rate=None)
        work = task_work(short_task(task, rate=start, folder_name=""), width=self.context.bases.width_of(self.arm))
        return [Job(search_label(self.arm, rate), self.arm, "search", work) for rate in first_rates(start)]

    def own_files(self) -> Sequence[Path]:
        return [self.context.folder.search(self.arm)]

    def execute(self) -> None:
        """Try the rates, and write search.json. Continues where it was stopped, in the middle of a rate too.

        Raises UserError where no rate comes to its end.
        """
        context, arm = self.context, self.arm
        path = context.folder.search(arm)
        task = arm_task(context, self._resolved, learning_rate=None)
        search = _begun(path, inputs=hash_value(self.inputs()), start=self._start(), task=task)
        write_search(path, search)  # so that a search stopped in its first rate is known again, with its checkpoint
        with deterministic_kernels(wanted=context.deterministic):
            while left := _rates_left(search):
                shorts = [short_task(task, rate=rate, share=search.share, folder_name=f"{rate:g}") for rate in left]
                tried = _try_together(context, arm, shorts) if context.together else None
                tried = tried or [_try(context, arm, shorts[0])]
                search = dataclasses.replace(search, tried=(*search.tried, *tried))
                write_search(path, search)
        shutil.rmtree(task.folder / "search", ignore_errors=True)
        best = best_rate(search.tried)
        if best is None:
            raise UserError(
                f"no learning rate of the search for {arm} came to its end",
                got=", ".join(f"{row.learning_rate:g}" for row in search.tried),
                fix="Give a lower learning_rate, or try precision: float32.",
            )
        search = dataclasses.replace(search, chosen=best)
        write_search(path, search)
        context.listener.end()
        context.listener.line(
            f"{arm}: learning rate {best:g}, the best of {len(search.tried)} in {format_seconds(search.seconds)}"
        )


def found_rate(context: TrialContext, arm: str) -> float | None:
    """The rate that a search found from the inputs as they are; None where it is still to be made."""
    if not state_now(SearchStep(context, arm), manifest=context.manifest).current:
        return None
    search = read_search(context.folder.search(arm))
    assert search is not None
    return search.chosen


def search_before(context: TrialContext, arm: str) -> tuple[str, ...]:
    """The name of the search that an arm's tuning waits for; none where its rate is given."""
    return (SearchStep(context, arm).name,) if context.trial.rate_of(arm) == "auto" else ()


def rate_inputs(context: TrialContext, arm: str) -> dict[str, float | None]:
    """What the search found, as an input of the arm's tuning; nothing where its rate is given."""
    return {"the learning rate found": found_rate(context, arm)} if search_before(context, arm) else {}


def rate_in_use(context: TrialContext, arm: ResolvedArm) -> float | None:
    """The rate that was given, or the one that was found."""
    return found_rate(context, arm.name) if arm.learning_rate == "auto" else arm.learning_rate
