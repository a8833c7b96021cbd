"""Collect what decides an arm's answers: the inputs of its sampling step, by the names a user knows them by."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.sampling.sampler_table import SAMPLERS
from finetrial.store.hashes import hash_path, hash_value
from finetrial.store.layout import run_name
from finetrial.trial.resolve import SampledArm
from finetrial.workflow.context import TrialContext


def check_tuned(context: TrialContext, arm: SampledArm, *, run: int = 0) -> list[Path]:
    """The weight files of an arm's training run; none of an arm that is not tuned here.

    Raises UserError for one that is not tuned yet.
    """
    name = run_name(arm.name, run=run)
    weights = sorted(context.folder.arm(name).glob("*.safetensors"))
    if arm.tuned and not weights:
        raise UserError(f"arm {name} is not tuned yet", fix="`finetrial tune` or `finetrial run` tunes it.")
    return weights if arm.tuned else []


def weights_hash(context: TrialContext, arm: SampledArm) -> Any:
    """What stands for the weights that answer, beside the base: of tuned arms the hashes of every run's files.

    Raises UserError for an arm that is not tuned yet.
    """
    if (of := arm.method.deployed_from) is not None:
        origin = weights_hash(context, context.resolved[of])
        return [origin, context.source_hash(str(arm.file)) if arm.file is not None else None]
    if arm.tuned:
        hashes = []
        for run in range(arm.runs):
            weights = check_tuned(context, arm, run=run)
            hashes += [context.manifest.file_hash(p.relative_to(context.folder.root).as_posix()) for p in weights]
        return hashes
    if arm.has_own_model:
        return context.source_hash(arm.model)
    return context.source_hash(str(arm.adapter)) if arm.adapter else None


def _elsewhere_inputs(context: TrialContext, arm: SampledArm) -> dict[str, Any]:
    """What decides the answers of a file or a server, beside what it is asked."""
    method = arm.method
    found: dict[str, Any] = {}
    if method.is_answered_elsewhere and arm.file is not None:
        if not arm.file.exists():
            raise UserError(f"arm {arm.name}: there is no file {arm.file}", fix=f"See arms.{arm.name}.outputs.")
        found["the arm's answers"] = hash_path(arm.file)
    if method.served_by is not None:
        found["the arm's server"] = [method.served_by.url, method.served_by.model]
    if method.deployed_from is not None:
        found["the arm's deployed form"] = method.model_dump(exclude={"margin", "endpoint", "file"})
    return found


def sample_inputs(context: TrialContext, arm: SampledArm) -> dict[str, Any]:
    """Everything that decides what the arm answers, by the name a user knows it by."""
    trial, decoding, form = context.trial, arm.decoding, arm.form
    engine = trial.sampling.engine
    return {
        "the model": None if arm.method.is_answered_elsewhere else context.source_hash(arm.base),
        "the arm's weights": weights_hash(context, arm),
        "the data": context.splits.content_hash,
        "data.retain": hash_value([d.text for d in context.retained]) if context.retained else None,
        "the template": form.template,
        "chat": form.chat,
        "the system text": form.system,
        "shots": arm.shots,
        "the separator": arm.separator if arm.shots and not form.chat else None,
        "precision": arm.precision,
        **_elsewhere_inputs(context, arm),
        "sampling.engine": None if engine == SAMPLERS[0].name else engine,  # older records do not name it
        "sampling.prompts": trial.sampling.prompts,
        **{f"sampling.{key}": value for key, value in dataclasses.asdict(decoding).items()},
        # nor what came later, where it changes nothing
        "sampling.min_p": decoding.min_p or None,
        "sampling.repetition_penalty": None if decoding.repetition_penalty == 1 else decoding.repetition_penalty,
        "data.max_tokens": trial.data.max_tokens,
        "data.overlong": trial.data.overlong,
    }
