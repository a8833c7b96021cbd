"""Run one step of a trial in another process or on another machine that shares the trial's folder.

The process that walks over the graph keeps the manifest and the folder's lock. What runs elsewhere reads the
folder, does one step, and writes the very files that the step writes where a run has one process.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.errors import AnswerIsNo, EndsRun, FinetrialError, UserError, UserErrors
from finetrial.store.folder_lock import folder_lock
from finetrial.store.layout import TrialFolder
from finetrial.store.plan_record import read_plan_or_none
from finetrial.trial.folder import open_trial
from finetrial.workflow.context import Call, TrialContext
from finetrial.workflow.early import pilot_steps, piloted_arms
from finetrial.workflow.remote_log import LogWriter
from finetrial.workflow.step import Step, hashed_inputs
from finetrial.workflow.step_states import changed_inputs
from finetrial.workflow.trial_steps import trial_steps

_LOCK_SECONDS = 60.0  # how long a process of a lost node may still hold an arm. Assumption
_HALF = 0.5  # two steps that need more of a card never share it
_NO_CALL = Call("", "Python")  # the manifest is not written here


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A step that is to be run elsewhere, in values that any process can read."""

    folder: str
    step: str
    arms: tuple[str, ...]  # the run is limited to
    deterministic: bool
    inputs: Mapping[str, str]  # the hashes of what the step consumes, as the run sees it
    threads: int | None = None


def order_of(step: Step, *, context: TrialContext, inputs: Mapping[str, str], threads: int | None = None) -> Order:
    """The order to run a step elsewhere."""
    return Order(
        folder=str(context.folder.root.absolute()),
        step=step.name,
        arms=context.arms,
        deterministic=context.deterministic,
        inputs=dict(inputs),
        threads=threads,
    )


def needs_of(context: TrialContext, step: Step) -> dict[str, float]:
    """What a step needs beside cores, as the plan found it: memory, or a share of a GPU; nothing without a plan."""
    plan = context.plan
    memory = None if step.arm is None else context.planned_memory(step.arm)
    if plan is None or memory is None:
        return {}
    if plan.device.kind == "cpu":
        return {"memory": memory.needed_bytes}
    held = plan.device.memory_bytes
    share = 1.0 if not held else math.ceil(100 * memory.needed_bytes / held) / 100
    return {"num_gpus": share if share <= _HALF else 1.0}


def run_order(order: Order, *, place: str) -> dict[str, Any] | None:
    """Run the step. None, or the mistake of the user's that it raised, as an object; other errors are raised.

    Raises UserError where this machine sees other inputs than the one that ordered the step.
    """
    folder = TrialFolder(Path(order.folder))
    log = LogWriter(folder.log(order.step), place=place)
    try:
        step = _step(order, log)
        with folder_lock(folder.arm(step.subject), wait_seconds=_LOCK_SECONDS):
            step.execute()
    except EndsRun:  # of a worker that lost another: to be begun again, and no mistake of the arm's
        raise
    except FinetrialError as error:
        return error_object(error)
    return None


def _step(order: Order, log: LogWriter) -> Step:
    if order.threads is not None:
        import torch

        torch.set_num_threads(order.threads)
    loaded, folder = open_trial(Path(order.folder))
    context = TrialContext(
        loaded, folder, listener=log, only=order.arms, deterministic=order.deterministic, call=_NO_CALL
    )
    context.plan = read_plan_or_none(folder.plan)
    every = itertools.chain(trial_steps(context), pilot_steps(context, piloted_arms(context)))
    step = next(step for step in every if step.name == order.step)
    if other := changed_inputs(order.inputs, hashed_inputs(step)):
        raise UserError(
            f"{other[0]} is not the same there as where the run was started",
            got=", ".join(other),
            fix="Every machine needs the same finetrial, and model, data and folder under the same paths.",
        )
    return step


def error_object(error: FinetrialError) -> dict[str, Any]:
    """An error as an object that another process can raise again."""
    return {**error.as_dict(), "is_no": isinstance(error, AnswerIsNo)}


def error_from(found: Mapping[str, Any]) -> FinetrialError:
    """The error that `error_object` wrote."""
    if mistakes := found.get("mistakes"):
        return UserErrors([error_from(one) for one in mistakes])
    kind = AnswerIsNo if found.get("is_no") else UserError
    return kind(found["what"], got=found["got"], expected=found["expected"], fix=found["fix"])
