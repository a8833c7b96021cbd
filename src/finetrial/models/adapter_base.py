"""Tell whether an adapter from elsewhere was trained on the base that it is to stand on.

Names say little: the same model is a hub id here and a folder there. Where the base that the adapter names can be
found on this machine, as a folder or in the hub's cache, weights are compared, number by number at the coarser of
both precisions; else all that can be known is that the shapes fit.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from finetrial.models.gguf_base import kept_folder
from finetrial.store.gguf import is_gguf

_ROWS = 64  # that are compared of each tensor; tuning moves them all, or none. Assumption


def is_another_base(named: str, base: str, *, revision: str | None = None) -> bool:
    """Whether the base that an adapter names is here and is known to hold other weights than the given one."""
    return bool(named) and not _same_name(named, base) and _same_weights(named, base, revision=revision) is False


def why_base_unknown(named: str, base: str, *, revision: str | None = None) -> str | None:
    """Why it is not known that an adapter for `named` was trained on these weights; None where it is known."""
    if not named:
        return "it does not name the model that it was trained on"
    if _same_name(named, base) or _same_weights(named, base, revision=revision):
        return None
    here = _folder(base, revision=revision)
    if here is not None and _says_it_is(here, named):
        return None
    return f"it was trained on {named}; that {base} holds the same weights cannot be known here, only that they fit"


def holds_weights_of(model: PreTrainedModel, base: str) -> bool | None:
    """Whether every weight that the model shares with the base by name is the base's, at the model's precision.

    None where the base is not on this machine, or shares none.
    """
    folder = _folder(base)
    theirs = {} if folder is None else _tensors(folder)
    prefix = f"{model.base_model_prefix}."
    shared = 0
    for name, parameter in model.named_parameters():
        stored = next((key for key in (name, name.removeprefix(prefix), f"{prefix}{name}") if key in theirs), None)
        if stored is None:
            continue
        shared += 1
        with safe_open(str(theirs[stored]), "pt") as opened:
            part = opened.get_slice(stored)
            if list(part.get_shape()) != list(parameter.shape):
                return False
            read = part[:_ROWS] if parameter.ndim else opened.get_tensor(stored)
        own = parameter.detach()[:_ROWS] if parameter.ndim else parameter.detach()
        if not torch.equal(own.cpu(), read.to(parameter.dtype)):
            return False
    return True if shared else None


def _same_name(named: str, base: str) -> bool:
    """Hub ids compare without case; a folder that has moved is known by its last name."""
    if named.lower() == base.lower():
        return True
    here, there = Path(base), Path(named)
    if here.exists() and there.exists():
        return here.resolve() == there.resolve()
    local = here.exists() or there.is_absolute() or base.startswith((".", "/"))
    return local and there.is_absolute() and here.name.lower() == there.name.lower()


def _folder(source: str, *, revision: str | None = None) -> Path | None:
    """Where a model's files lie on this machine."""
    if Path(source).is_dir():
        return Path(source)
    if is_gguf(source) and Path(source).exists():
        kept = kept_folder(Path(source))
        return kept if kept.is_dir() else None
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        return None
    found = try_to_load_from_cache(source, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _same_weights(named: str, base: str, *, revision: str | None) -> bool | None:
    """Whether both hold the same numbers, at the coarser of their precisions; None where one is not here."""
    here, there = _folder(base, revision=revision), _folder(named)
    if here is None or there is None:
        return None
    mine, theirs = _tensors(here), _tensors(there)
    common = sorted(mine.keys() & theirs.keys())
    if not common:
        return None
    return all(_same_numbers(name, mine[name], theirs[name]) for name in common)


def _tensors(folder: Path) -> dict[str, Path]:
    """The tensors of a folder's files of weights, with the file that holds each."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), "pt") as opened:
            found.update(dict.fromkeys(opened.keys(), file))
    return found


def _same_numbers(name: str, mine: Path, theirs: Path) -> bool:
    read = []
    for file in (mine, theirs):
        with safe_open(str(file), "pt") as opened:
            part = opened.get_slice(name)
            read.append(part[:_ROWS] if part.get_shape() else opened.get_tensor(name))
    one, other = read
    if one.shape != other.shape:
        return False
    coarse = min((one.dtype, other.dtype), key=lambda dtype: dtype.itemsize)
    return torch.equal(one.to(coarse), other.to(coarse))


def _says_it_is(folder: Path, named: str) -> bool:
    """Whether a folder's own configuration names the model that it is a copy of."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    own = config.get("_name_or_path") if isinstance(config, dict) else None
    return isinstance(own, str) and own.lower() == named.lower()


def vocabulary_of(adapter: Path, config: dict[str, Any]) -> int | None:
    """How many tokens the adapter's own copy of the embedding or head has; None where it brings none whole, or in
    files that cannot be read, which loading says."""
    if config.get("trainable_token_indices"):
        return None
    for file in sorted(adapter.glob("*.safetensors")):
        with contextlib.suppress(SafetensorError), safe_open(str(file), "pt") as opened:
            for key in opened.keys():  # noqa: SIM118  # no mapping
                name = key.removesuffix(".weight")
                if name.endswith(("embed_tokens", "wte", "lm_head", "embed_in", "embed_out", "word_embeddings")):
                    return int(opened.get_slice(key).get_shape()[0])
    return None
