"""Tell whether an adapter from elsewhere was trained on the base that it is to stand on.

Names say little: the same model is a hub id here and a folder there. Where the base that the adapter names can be
found on this machine, as a folder or in the hub's cache, the files of weights are compared; else all that can be
known is that the shapes fit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open

from finetrial.store.hashes import hash_file

_INDEX = "model.safetensors.index.json"


def why_base_unknown(named: str, base: str, *, revision: str | None = None) -> str | None:
    """Why it is not known that an adapter for `named` was trained on these weights; None where it is known."""
    if not named:
        return "it does not name the model that it was trained on"
    if _same_name(named, base):
        return None
    here, there = _folder(base, revision=revision), _folder(named)
    if here is not None and there is not None and (mine := _weights(here)) and (theirs := _weights(there)):
        if mine == theirs:
            return None
        return f"it was trained on {named}, whose files of weights are others than those of {base}"
    if here is not None and _says_it_is(here, named):
        return None
    return f"it was trained on {named}; that {base} holds the same weights cannot be known here, only that they fit"


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
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        return None
    found = try_to_load_from_cache(source, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _weights(folder: Path) -> frozenset[str]:
    """The hashes of a folder's files of weights; none where some are missing."""
    index = folder / _INDEX
    files = {path.name: path for path in folder.glob("*.safetensors")}
    if index.exists():
        wanted = set(json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values())
        if not wanted <= files.keys():
            return frozenset()
        files = {name: files[name] for name in wanted}
    return frozenset(hash_file(path) for path in files.values())


def _says_it_is(folder: Path, named: str) -> bool:
    """Whether a folder's own configuration names the model that it is a copy of."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    own = config.get("_name_or_path") if isinstance(config, dict) else None
    return isinstance(own, str) and own.lower() == named.lower()


def vocabulary_of(adapter: Path, config: dict[str, Any]) -> int | None:
    """How many tokens the adapter's own copy of the embedding or head has; None where it brings none whole."""
    if config.get("trainable_token_indices"):
        return None
    for file in sorted(adapter.glob("*.safetensors")):
        with safe_open(str(file), "pt") as opened:
            for key in opened.keys():  # noqa: SIM118  # no mapping
                name = key.removesuffix(".weight")
                if name.endswith(("embed_tokens", "wte", "lm_head", "embed_in", "embed_out", "word_embeddings")):
                    return int(opened.get_slice(key).get_shape()[0])
    return None
