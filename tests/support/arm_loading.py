"""Load what an arm is sampled from, as the sampler does."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from finetrial.models.loading import ADAPTER_CONFIG, load_model
from finetrial.models.merging import LoadedAdapter, load_adapter


def pair(found: LoadedAdapter) -> tuple[PreTrainedModel, str | None]:
    """The model, and why its adapter is not merged."""
    return found.model, found.unmerged


def load_arm(
    base: str, *, folder: Path | None = None, adapter: Path | None = None, **source: Any
) -> PreTrainedModel:
    """The base itself, what was tuned into an arm's folder, or a foreign adapter; merged."""
    chosen = folder if folder is not None else adapter
    if chosen is None:
        return load_model(base, **source)
    if folder is not None and not (folder / ADAPTER_CONFIG).exists():
        return load_model(str(folder), **source)
    model, unmerged = pair(load_adapter(base, adapter=chosen, foreign=folder is None, **source))
    assert unmerged is None
    return model
