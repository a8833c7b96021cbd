"""Say of a trial what collections of results ask beside its numbers: data, models, how answers were drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetrial.evidence.exported_results import EvaluatedArm, EvaluatedOn
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.trial.schema import Source, is_local
from finetrial.trial.trial_file import OUTPUTS_ONLY, LoadedTrial


def evaluated_on(loaded: LoadedTrial, folder: TrialFolder) -> EvaluatedOn:
    """What a trial's results were measured on. A local path says no more than its name."""
    trial = loaded.trial
    source = trial.data.source.train if isinstance(trial.data.source, Source) else trial.data.source
    local = is_local(source, base=loaded.base)
    return EvaluatedOn(
        name=trial.trial,
        organization=", ".join(trial.report.authors) or None,
        dataset=Path(source).stem if local else source,
        hub_dataset=None if local else source.split("[", 1)[0],
        revision=trial.data.revision,
        arms={name: _arm(loaded, folder, name) for name in trial.arms},
    )


def _arm(loaded: LoadedTrial, folder: TrialFolder, name: str) -> EvaluatedArm:
    trial = loaded.trial
    method = trial.arms[name].method
    if method.served_by is not None:
        model: str | None = method.served_by.model
    elif method.is_answered_elsewhere or trial.model == OUTPUTS_ONLY:
        model = None
    else:
        source = loaded.model_source(trial.model_of(name))
        model = Path(source).name if Path(source).exists() else source
    return EvaluatedArm(
        model=model,
        description=trial.arms[name].describe(),
        is_served_elsewhere=method.served_by is not None,
        generation={} if method.sampler == "outputs" else _generation(loaded, folder, name),
    )


def _generation(loaded: LoadedTrial, folder: TrialFolder, name: str) -> dict[str, Any]:
    """How the arm's answers were drawn, as its run noted it; empty where it was not run."""
    chose = (Manifest(folder.manifest).content.get("resolved") or {}).get(name)
    if chose is None:
        return {}
    sampling = loaded.trial.sampling
    return {
        "temperature": chose["temperature"],
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_tokens": chose["max_new_tokens"],
        "prompt_template": loaded.trial.template_of(name),
    }
