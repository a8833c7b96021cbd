"""Plan a run before it starts: plan.json, the first lines, and the refusal of what cannot fit."""

from __future__ import annotations

from dataclasses import replace

from finetrial.errors import AnswerIsNo
from finetrial.models.device import probe_device
from finetrial.planning.machine import known_card
from finetrial.planning.plan_lines import first_lines, misfit_fix
from finetrial.planning.token_counts import keep_tokens
from finetrial.store.plan_record import Plan, PlanDevice, read_plan_or_none, write_plan
from finetrial.training.ranks import ranks_now
from finetrial.workflow.calibration import Calibration
from finetrial.workflow.context import TrialContext
from finetrial.workflow.count_tokens import count_tokens
from finetrial.workflow.trial_plan import PlanRequest, made_from, plan_request, plan_trial

_CALIBRATION_SHARE = 0.05  # of the run that is planned, at most


def plan_run(context: TrialContext, *, even_if_it_does_not_fit: bool = False) -> Plan:
    """The plan of the run that begins, written to plan.json and said in a few lines.

    A run that goes on has its first plan, so that what was measured stands beside what was planned before.
    Raises AnswerIsNo for a run that does not fit, unless it is asked for even so.
    """
    request = _request(context)
    made_of = made_from(request)
    plan = read_plan_or_none(context.folder.plan)
    if plan is None or plan.made_from != made_of or plan.fits is False:
        plan = replace(_new_plan(context, request), made_from=made_of)
        write_plan(context.folder.plan, plan)
        context.folder.run_time.unlink(missing_ok=True)  # of what was planned before
    for line in first_lines(plan):
        context.listener.line(line)
    if plan.fits is False and not even_if_it_does_not_fit:
        raise AnswerIsNo(
            "the trial does not fit: " + "; ".join(plan.misfits),
            fix=f"{misfit_fix(plan)} `finetrial plan` lists it all; `--even-if-it-does-not-fit` runs it anyway.",
        )
    return plan


def _new_plan(context: TrialContext, request: PlanRequest) -> Plan:
    """Count the tokens, measure this machine where that pays, and plan."""
    loaded = context.loaded
    tokens = count_tokens(
        context.trial,
        context.splits,
        arms=context.resolved,
        tokenizer_of=context.tokenizer,
        encode=context.encoded,
        positions_of=context.bases.positions_of,
        retained_bytes=sum(len(document.text.encode()) for document in context.retained),
    )
    keep_tokens(loaded, tokens)
    calibration = Calibration(loaded, device_name=request.device.name, tokenizer_of=context.tokenizer)
    return plan_trial(request, measures=calibration, tokens=tokens, share=_CALIBRATION_SHARE)


def _request(context: TrialContext) -> PlanRequest:
    """For the device that torch uses, which knows a card's memory better than a table."""
    ranks = ranks_now()
    count = max(ranks.count, context.processes)
    request, found = plan_request(context.loaded, context.folder, arms=context.arms), probe_device()
    request = replace(request, device=replace(request.device, count=count))
    if found.kind == "cpu":
        memory = request.device.memory_bytes
        share = None if memory is None else memory // ranks.on_this_machine  # which the processes have in common
        return replace(request, device=replace(request.device, memory_bytes=share))
    name = found.name or found.kind
    device = PlanDevice(
        name=name,
        kind="cuda" if found.kind == "cuda" else "mps",
        is_here=True,
        memory_bytes=found.memory_bytes,
        disk_free_bytes=request.device.disk_free_bytes,
        count=count,
    )
    return replace(request, device=device, row=known_card(name) if found.kind == "cuda" else None)
