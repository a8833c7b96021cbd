"""The shape of a model, from its name or its Hugging Face configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from finetrial.errors import nearest
from finetrial.footprint import fused_family, gpt_family, llama_family
from finetrial.footprint.fields import Fields, UnknownShape
from finetrial.footprint.known_models import NAMED_MODELS
from finetrial.footprint.structure import Shape

__all__ = ["ARCHITECTURES", "UnknownShape", "find_name", "named_shape", "shape_from_config", "shape_names"]

# Hugging Face's `model_type` -> the reader of such configurations.
_READERS: dict[str, Callable[[Fields], Shape]] = {
    "bloom": fused_family.bloom,
    "codegen": fused_family.codegen,
    "falcon": fused_family.falcon,
    "gemma": llama_family.gemma,
    "gemma2": llama_family.gemma2,
    "gemma3_text": llama_family.gemma3_text,
    "gpt2": gpt_family.gpt2,
    "gpt_bigcode": fused_family.gpt_bigcode,
    "gpt_neox": gpt_family.gpt_neox,
    "llama": llama_family.llama,
    "mistral": llama_family.mistral,
    "mixtral": llama_family.mixtral,
    "mpt": fused_family.mpt,
    "olmo2": llama_family.olmo2,
    "opt": gpt_family.opt,
    "persimmon": fused_family.persimmon,
    "phi": gpt_family.phi,
    "phi3": llama_family.phi3,
    "qwen2": llama_family.qwen2,
    "qwen2_moe": llama_family.qwen2_moe,
    "qwen3": llama_family.qwen3,
    "qwen3_moe": llama_family.qwen3_moe,
    "smollm3": llama_family.smollm3,
}
ARCHITECTURES = tuple(_READERS)


def shape_from_config(config: Mapping[str, Any], *, name: str | None = None) -> Shape:
    """The shape that a `config.json` describes. `name` is what errors and output call the model.

    Of a multimodal Gemma 3 the text part is read. Raises UnknownShape, a UserError, for an architecture that is
    not known here and for a configuration that lacks what must be counted.
    """
    kind = config.get("model_type")
    name = name or config.get("_name_or_path") or f"this {kind or 'configuration'}"
    if kind == "gemma3" and isinstance(config.get("text_config"), Mapping):
        text = shape_from_config({**config["text_config"], "model_type": "gemma3_text"}, name=name)
        return replace(text, layer_path="model.language_model.layers.{layer}")
    if kind not in _READERS:
        close = nearest(kind, ARCHITECTURES) if isinstance(kind, str) else None
        raise UnknownShape(
            f"the parameters of {name} cannot be counted: its architecture is unknown here",
            got="no model_type" if kind is None else f"model_type {kind!r}",
            expected="one of " + ", ".join(ARCHITECTURES),
            fix=f"Did you mean {close!r}?" if close else None,
        )
    return _READERS[kind](Fields(config, name=name))


def shape_names() -> tuple[str, ...]:
    """The names that `named_shape` knows, family by family."""
    return tuple(NAMED_MODELS)


def find_name(text: str) -> str | None:
    """The known name that `text` means: itself, in any case, or a hub id of that model. None when there is none."""
    wanted = text.lower()
    for name, model in NAMED_MODELS.items():
        if wanted == name or wanted in (hub_id.lower() for hub_id in model.hub_ids):
            return name
    return None


def named_shape(name: str) -> Shape:
    """The shape of a model by its name or hub id, with what its makers published.

    Raises UnknownShape naming every known model.
    """
    known = find_name(name)
    if known is None:
        close = nearest(name.lower(), shape_names())
        raise UnknownShape(
            f"no model is known by the name {name!r}",
            expected="one of " + ", ".join(shape_names()) + ", a folder with config.json, or a hub id OWNER/NAME",
            fix=f"Did you mean {close!r}?" if close else None,
        )
    model = NAMED_MODELS[known]
    return replace(shape_from_config(model.config, name=known), published=model.published)
