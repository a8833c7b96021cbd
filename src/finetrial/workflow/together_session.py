"""Run a trial's steps in this process, training runs that may share their passes together.

A step that may begin is held until the others that may have come, too; searches go first, so that the arms whose
rate they find join the rest. Which runs may share passes `training/pass_groups.py` says from their tasks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from finetrial.errors import FinetrialError, UserError
from finetrial.models.device import deterministic_kernels
from finetrial.store.records import Measured
from finetrial.training.mounted_arms import CannotShare
from finetrial.training.pass_groups import pass_groups
from finetrial.training.side_by_side import Hears, tune_together
from finetrial.training.task import TuneTask
from finetrial.units import listing
from finetrial.workflow.context import TrialContext
from finetrial.workflow.executors import HERE, Ended, Executor, run_here
from finetrial.workflow.step import Step
from finetrial.workflow.step_progress import GroupProgress, tune_label
from finetrial.workflow.tune_step import TuneStep

_Run = tuple[TuneStep, TuneTask]


def _tune(runs: Sequence[_Run]) -> list[Ended]:
    """Tune runs that may share their passes. Raises CannotShare where their model does not let them."""
    steps, context = [step for step, _ in runs], runs[0][0].context
    names = [step.subject for step in steps]
    progress = GroupProgress(context, [tune_label(name) for name in names], names=names, announces=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(deterministic_kernels(wanted=context.deterministic))
        curves = [stack.enter_context(step.curves(task)) for step, task in runs]
        hears = [
            Hears(partial(progress, place), curve.add, step.says_resumed)
            for place, (step, curve) in enumerate(zip(steps, curves, strict=True))
        ]
        outcomes = tune_together([task for _, task in runs], context.shared_base, hears=hears)
    ended: list[Ended] = []
    for step, outcome in zip(steps, outcomes, strict=True):
        if isinstance(outcome, Measured):
            step.tuned(outcome, together=names)
            ended.append(Ended(step))
        else:
            ended.append(Ended(step, outcome))
    return ended


class _TogetherSession(AbstractContextManager["_TogetherSession"]):
    """Takes every step that may begin, and runs one of them, or a group, when it is waited for."""

    def __init__(self) -> None:
        self._begun: list[Step] = []
        self._alone: set[str] = set()  # runs that were found not to share passes

    @property
    def has_room(self) -> bool:
        return True

    def begin(self, step: Step, *, inputs: dict[str, str], left: int) -> None:
        self._begun.append(step)

    def wait(self) -> Sequence[Ended]:
        other = next((step for step in self._begun if not isinstance(step, TuneStep)), None)
        group = [] if other is not None else self._group()
        if len(group) > 1:
            try:
                ended = self._tuned(group)
            except CannotShare as error:
                names = [step.subject for step, _ in group]
                group[0][0].context.listener.line(f"{listing(names)}: one by one, because {error}")
                self._alone |= {step.name for step, _ in group}
            else:
                self._begun = [step for step in self._begun if all(step is not one.step for one in ended)]
                return ended
        return [run_here(self._begun.pop(0 if other is None else self._begun.index(other)))]

    def _group(self) -> list[_Run]:
        """The first training run with those that may share its passes."""
        runs: list[_Run] = []
        for step in self._begun:
            if isinstance(step, TuneStep) and step.name not in self._alone:
                with contextlib.suppress(FinetrialError):  # said when its turn comes
                    runs.append((step, step.task()))
        if not runs or runs[0][0] is not self._begun[0]:
            return []
        return [runs[place] for place in pass_groups([task for _, task in runs])[0]]

    @staticmethod
    def _tuned(group: Sequence[_Run]) -> list[Ended]:
        try:
            return _tune(group)
        except FinetrialError as error:  # of all of them: memory, a model that cannot be read
            return [Ended(step, error) for step, _ in group]

    def __exit__(self, *_: object) -> None:
        """Nothing runs any more."""


@dataclass(frozen=True, slots=True)
class Together:
    """This process, where arms that may share their passes do."""

    name: str = HERE.name

    def at(self, address: str) -> Executor:
        """Raises UserError."""
        raise UserError("--together has no address", got=address)

    def open(self, context: TrialContext) -> _TogetherSession:
        """Let searches share passes, too."""
        context.together = True
        return _TogetherSession()


TOGETHER = Together()
