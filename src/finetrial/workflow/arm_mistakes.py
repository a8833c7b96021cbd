"""Find, before anything is tuned, what each arm would fail on: its model, adapter, targets, precision and prompts.

Models are looked at without their weights: files, shapes and configuration, in a few milliseconds each. What only
running shows (a loss that diverges, memory that is full) is not foreseen here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrial.endpoints.client import key_of
from finetrial.errors import FinetrialError, Mistakes, UserError
from finetrial.methods.halves import half_of
from finetrial.methods.method import TunedMethod
from finetrial.models.adapter_base import why_base_unknown
from finetrial.models.device import choose_precision, pick_device
from finetrial.models.loading import adapter_config, load_adapted, load_config, load_model
from finetrial.models.own_forward import positions_in
from finetrial.models.quantize import check_quantize
from finetrial.sampling.prompts import arm_prompts
from finetrial.sampling.sampler_table import sampler_named
from finetrial.training.requirements import check_optimizer, check_trackers
from finetrial.trial.data_findings import Finding
from finetrial.trial.examples import Splits
from finetrial.trial.resolve import SampledArm
from finetrial.trial.subset import check_row_count, sampled_examples
from finetrial.trial.trial_file import LoadedTrial

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def look_at_model(source: str, *, trust_remote_code: bool) -> Any:
    """A model's configuration, once the shapes in its files are compared with it.

    The weights of a hub model are looked at where they are in the cache, and never fetched. Raises UserError.
    """
    config = load_config(source, trust_remote_code=trust_remote_code)
    is_here = Path(source).exists()
    try:
        load_model(source, device="meta", trust_remote_code=trust_remote_code, local_files_only=not is_here)
    except FinetrialError:
        if is_here:
            raise
    return config


def machine_mistakes(loaded: LoadedTrial, *, arms: tuple[str, ...]) -> Mistakes:
    """What the trial asks of this machine and of packages that it has not."""
    trial, mistakes = loaded.trial, Mistakes()
    with mistakes.gathering():
        sampler_named(trial.sampling.engine)
    tuned = [name for name in arms if trial.arms[name].tuned]
    if not tuned:
        return mistakes
    device = pick_device()
    with mistakes.gathering():
        check_trackers(trial.training.trackers)
    with mistakes.gathering():
        check_optimizer(trial.training.optimizer, device=device)
    for name in tuned:
        arm = trial.arms[name]
        with mistakes.gathering():
            if (precision := arm.precision or trial.training.precision) != "auto":
                choose_precision(precision, device=device)
        with mistakes.gathering():
            if arm.tuning.base_bits is not None:
                check_quantize(device=device)
    return mistakes


def model_mistakes(loaded: LoadedTrial, *, arms: tuple[str, ...]) -> dict[str | None, Mistakes]:
    """What is wrong with the models, adapters and targets: by arm, and under None with the trial's own model."""
    trial, trusted = loaded.trial, loaded.trial.trust_remote_code
    found: dict[str | None, Mistakes] = {}
    base = loaded.model_source(trial.model)
    looked: dict[str, Any] = {}

    def look(source: str) -> Any:
        if source not in looked:
            looked[source] = look_at_model(source, trust_remote_code=trusted)
        return looked[source]

    with found.setdefault(None, Mistakes()).gathering():
        look(base)
    for name in arms:
        arm = trial.arms[name]
        if arm.method.is_answered_elsewhere:
            with found.setdefault(name, Mistakes()).gathering():
                check_elsewhere(loaded, name)
            continue
        own = loaded.model_source(trial.model_of(name))
        if own == base and found[None]:
            continue  # said once
        with found.setdefault(name, Mistakes()).gathering():
            config = look(own)
            if isinstance(arm.method, TunedMethod):
                half_of(arm.method).check(arm.method, config, trust_remote_code=trusted)
            if arm.adapter is not None:
                adapter = loaded.path(arm.adapter)
                load_adapted(own, adapter=adapter, device="meta", trust_remote_code=trusted, foreign=True)
    return {name: mistakes for name, mistakes in found.items() if mistakes}


def check_elsewhere(loaded: LoadedTrial, name: str) -> None:
    """Raise UserError where an arm's file of answers is not here, or its server's key is not set."""
    method = loaded.trial.arms[name].method
    file = method.answers_file
    if file is not None and not loaded.path(file).exists():
        raise UserError(f"arm {name}: there is no file {loaded.path(file)}", fix=f"See arms.{name}.outputs.")
    if method.served_by is not None:
        key_of(method.served_by, whose=f"arm {name}")


def adapter_findings(loaded: LoadedTrial, *, arms: Iterable[str]) -> list[Finding]:
    """The adapters from elsewhere of which it is not known that they were trained on the base they stand on."""
    found = []
    for name in arms:
        adapter = loaded.trial.arms[name].adapter
        if adapter is None:
            continue
        try:
            config = adapter_config(loaded.path(adapter))
        except FinetrialError:
            continue  # said as a mistake
        base = loaded.model_source(loaded.trial.model_of(name))
        reason = why_base_unknown(config.get("base_model_name_or_path") or "", base)
        if reason is not None:
            found.append(
                Finding("base_unknown", f"the adapter of {name} may have been trained on another base: {reason}")
            )
    return found


def prompt_mistakes(
    loaded: LoadedTrial,
    splits: Splits,
    *,
    arms: Mapping[str, SampledArm],
    tokenizer_of: Callable[[str], PreTrainedTokenizerBase],
    positions_of: Callable[[str], int | None],
) -> dict[str | None, Mistakes]:
    """The arms that could not be shown their prompts: too long with examples, or with too few examples to show."""
    trial = loaded.trial
    heldout = sampled_examples(splits.heldout, sampling=trial.sampling)
    found: dict[str | None, Mistakes] = {}
    for name, arm in arms.items():
        mistakes = found.setdefault(name, Mistakes())
        with mistakes.gathering():
            check_row_count(name, asked=arm.keys.rows, rows=len(splits.train))
        with mistakes.gathering():
            positions = positions_of(name)
            if arm.has_own_model:
                positions = positions_in(load_config(arm.model, trust_remote_code=trial.trust_remote_code))
            arm_prompts(
                arm,
                heldout,
                data=trial.data,
                tokenizer=tokenizer_of(name),
                train=splits.train,
                context=positions,
            )
    return {name: mistakes for name, mistakes in found.items() if mistakes}
