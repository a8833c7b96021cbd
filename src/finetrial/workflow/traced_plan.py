"""Set beside a plan's counted memory what the model's own steps take, each followed without numbers.

Needs torch; each tuned arm's step is traced in a process of its own. A CPU's rules alone are known.
"""

from __future__ import annotations

from dataclasses import replace

from finetrial.errors import UserError
from finetrial.planning.arm_models import dtype_of, method_of, models_of
from finetrial.planning.arm_plan import tuning_setting
from finetrial.planning.memory_choice import training_of
from finetrial.store.plan_record import Plan
from finetrial.workflow.traced_peak import traced_peak
from finetrial.workflow.trial_plan import PlanRequest, tokens_of


def with_traced_memory(request: PlanRequest, plan: Plan) -> Plan:
    """The plan with `traced_bytes` for every arm that is tuned and whose step can be traced; notes name the others.

    Raises UserError for a plan for a card.
    """
    if request.device.kind != "cpu":
        raise UserError(
            "a step is traced by a CPU's rules",
            got=f"a plan for {request.device.name}",
            fix="Leave --traced out: a card's plan is counted from the shape.",
        )
    loaded, trial = request.loaded, request.loaded.trial
    models, tokens = models_of(loaded), tokens_of(loaded)
    arms, notes = dict(plan.arms), list(plan.notes)
    for name, planned in plan.arms.items():
        arm, memory, shape = trial.arms[name], planned.memory, models[name].shape
        method = method_of(arm)
        if memory is None or memory.micro_tokens is None or method is None or shape is None:
            continue
        setting = tuning_setting(trial, arm, method=method, dtype=dtype_of(trial, arm, precision=plan.precision))
        training = training_of(
            shape,
            tokens.arms[name],
            setting=setting,
            micro_tokens=memory.micro_tokens,
            checkpointing=bool(memory.checkpointing),
        )
        keys = arm.tuning.model_dump(mode="json", exclude_defaults=True)
        try:
            found = traced_peak(
                loaded.model_source(trial.model_of(name)),
                method=arm.tuning.name,
                keys={key: value for key, value in keys.items() if key != "method"},
                training=training,
                trust_remote_code=trial.trust_remote_code,
            )
        except UserError as error:
            notes.append(f"{name}: {error.what}{'' if error.got is None else f' ({error.got})'}.")
            continue
        arms[name] = replace(planned, memory=replace(memory, traced_bytes=found.peak_bytes))
    return replace(plan, arms=arms, notes=tuple(notes))
