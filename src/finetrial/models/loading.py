"""Load a tokenizer, a base model, and a tuned or foreign arm.

Weights come from safetensors or GGUF files alone; code that ships with a model runs only when the trial says so.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.activations import FastGELUActivation, GELUTanh, NewGELUActivation
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from finetrial.errors import FinetrialError, UserError
from finetrial.models.adapter_base import is_another_base, vocabulary_of
from finetrial.models.gguf_base import as_folder, named_after
from finetrial.models.kernels.activations import TanhGelu
from finetrial.models.library_calls import quiet
from finetrial.models.special_tokens import embedding_weight, prepare_rows
from finetrial.store.gguf import GGUF_SUFFIX, check_gguf_file, is_gguf
from finetrial.store.hub_reach import check_hub

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
ADAPTER_CONFIG = "adapter_config.json"


def _not_loadable(source: str, *, what: str, error: Exception) -> UserError:
    said = " ".join(str(error).split()) or type(error).__name__
    if "Unrecognized configuration class" in said:
        return UserError(
            f"{what} cannot be loaded from {source}",
            got="a part of a larger model, which transformers does not load as a language model of its own",
            expected="a causal language model, such as GPT-2, Llama, Qwen or Gemma",
            fix="Name another model.",
        )
    if "ignore_mismatched_sizes" in said:  # transformers logs the shapes and raises without them
        return UserError(
            f"{what} cannot be loaded from {source}",
            got="weights of other shapes than its config.json describes",
            expected="weights of this very configuration",
            fix="Save the model again with save_pretrained, or mend config.json.",
        )
    return UserError(
        f"{what} cannot be loaded from {source}",
        got=said[:300],
        expected="a Hugging Face hub id, a folder in its layout or a GGUF file",
        fix="A file of weights is cut short or broken: fetch it again." if _is_broken(error) else None,
    )


def _is_broken(error: Exception) -> bool:
    return isinstance(error, SafetensorError)


@contextlib.contextmanager
def _loading(source: str, *, what: str) -> Iterator[None]:
    """Say in the user's words what is wrong with files from elsewhere: the packages raise a dozen kinds for it."""
    try:
        with quiet():
            yield
    except FinetrialError:
        raise
    except Exception as error:
        raise _not_loadable(source, what=what, error=error) from None


def _refuse_remote_code(source: str, config: dict[str, Any], *, trust_remote_code: bool) -> None:
    if config.get("auto_map") and not trust_remote_code:
        raise UserError(
            f"{source} brings code of its own, which is not run unasked",
            fix="Read it, then set trust_remote_code: true.",
        )


def check_model_folder(source: str, *, trust_remote_code: bool = False) -> None:
    """Refuse a local folder that holds no model, no weights, or weights that only pickle can read; and a GGUF file
    that is none."""
    folder = Path(source)
    if is_gguf(source):
        check_gguf_file(folder)
        return
    if not folder.is_dir():
        if source.startswith((".", "/", "~")):
            raise UserError(f"there is no model folder {source}", expected="a folder, a GGUF file or a hub id")
        check_hub(source)
        return
    config_file = folder / "config.json"
    if not config_file.exists():
        hint = "It holds an adapter: name it with `adapter`." if (folder / ADAPTER_CONFIG).exists() else None
        if (files := sorted(folder.glob(f"*{GGUF_SUFFIX}"))) and hint is None:
            hint = f"It holds GGUF files: name one of them, {files[0]}."
        raise UserError(
            f"{source} holds no model",
            got="no config.json",
            expected="config.json and *.safetensors",
            fix=hint,
        )
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{config_file} is not JSON", got=str(error)) from None
    if not isinstance(config, dict):
        raise UserError(
            f"{config_file} is no model's configuration", got=type(config).__name__, expected="an object"
        )
    _refuse_remote_code(source, config, trust_remote_code=trust_remote_code)
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(p.name for pattern in _PICKLES for p in folder.glob(pattern))
    if pickles:
        raise UserError(
            f"{source} holds its weights as pickles, which can run code when they are read",
            got=", ".join(pickles),
            expected="*.safetensors",
            fix="Save them again with save_pretrained from a current transformers.",
        )
    raise UserError(
        f"{source} holds a model without weights", got="no *.safetensors", expected="config.json and *.safetensors"
    )


def load_tokenizer(
    source: str,
    *,
    revision: str | None = None,
    special_tokens: Sequence[str] = (),
    trust_remote_code: bool = False,
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model or arm, with the special tokens it does not yet have added."""
    source = as_folder(source)
    if Path(source).is_dir() and not any(Path(source).glob("*token*")):
        raise UserError(f"{source} holds no tokenizer", expected="tokenizer.json and tokenizer_config.json")
    if source.startswith((".", "/", "~")) and not Path(source).exists():
        raise UserError(f"there is no folder {source}", expected="a model's or tokenizer's folder, or a hub id")
    with _loading(source, what="the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=trust_remote_code)
    known = tokenizer.get_vocab()
    new = [token for token in special_tokens if token not in known]
    if new:
        tokenizer.add_special_tokens({"additional_special_tokens": new}, replace_extra_special_tokens=False)
    return tokenizer


def fuse_activations(model: nn.Module) -> None:
    """The tanh form of GELU as one operation; some models write it as five, equal up to rounding."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, (NewGELUActivation, FastGELUActivation, GELUTanh)):
                setattr(module, name, TanhGelu())


def cast_parameters(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Parameters at `dtype`, in place. Buffers stay as they are: rounded rotary frequencies are other positions."""
    for param in model.parameters():
        param.data = param.data.to(dtype)
    return model


def load_config(source: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """The configuration of a model, without its weights. Raises UserError for what is no causal language model."""
    source = as_folder(source)
    with _loading(source, what="the model"):
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=trust_remote_code)
    _check_causal(source, config)
    _check_heads(source, config.get_text_config())
    return config


def _check_heads(source: str, config: Any) -> None:
    """Refuse heads that cannot share the keys among them, and a model without layers."""
    heads, keys = _whole(config, "num_attention_heads"), _whole(config, "num_key_value_heads")
    layers = _whole(config, "num_hidden_layers")
    if isinstance(heads, int) and isinstance(keys, int) and (keys < 1 or heads % keys):
        raise UserError(
            f"the heads of {source} cannot share its keys",
            got=f"{heads} heads and {keys} key-value heads",
            expected="a whole number of heads to each key-value head",
            fix="Mend config.json.",
        )
    if isinstance(layers, int) and layers < 1:
        raise UserError(
            f"{source} has no layers",
            got=f"num_hidden_layers {layers}",
            expected="1 or more",
            fix="Mend config.json.",
        )


def _whole(config: Any, name: str) -> Any:
    """What a configuration says of all its layers; None where it says nothing, or layers differ in it."""
    try:
        return getattr(config, name, None)
    except RuntimeError:  # transformers' AmbiguousGlobalPerLayerAttributeError
        return None


# Classes that transformers lists as causal language models and that a trial cannot use: what each of them is. Found
# by `python -m benchmarks.families`
_NOT_CAUSAL = {
    "cpmant": "a model whose prompt and answer are told apart by other inputs than tokens",
    "gemma4_assistant": "a model that drafts for another one and reads that one's states",
    "gemma4_unified_assistant": "a model that drafts for another one and reads that one's states",
    "prophetnet": "a decoder whose predictions change with the tokens that follow",
    "reformer": "a model that chooses at random what it attends to",
    "xlm": "an encoder, which sees the tokens that it is to predict",
    "xlnet": "a model of permuted texts, which sees the tokens that it is to predict",
    "xmod": "a model that must be told a language with every text",
}


def _check_causal(source: str, config: Any) -> None:
    """Refuse what reads its whole text at once, or answers with another part than it reads with."""
    kind = None
    masked = set(MODEL_FOR_MASKED_LM_MAPPING_NAMES) & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    if config.model_type in _NOT_CAUSAL and not getattr(config, "causal", False):  # XLM can be made causal
        kind = _NOT_CAUSAL[config.model_type]
    elif getattr(config, "is_encoder_decoder", False):
        kind = "an encoder-decoder"
    elif config.model_type in masked and getattr(config, "is_decoder", None) is False:
        kind = "an encoder, which sees the tokens that it is to predict"
    if kind is not None:
        raise UserError(
            f"{source} is {kind}",
            got=config.model_type,
            expected="a causal language model, such as GPT-2, Llama, Qwen or Gemma",
            fix="Name another model.",
        )


def _check_missing(source: str, missing: Collection[str]) -> None:
    """Refuse weights that lack parameters of the configured model: they would be random numbers."""
    if missing:
        raise UserError(
            f"the weights of {source} lack parameters of the model that its config.json describes",
            got=f"no {', '.join(sorted(missing)[:3])}" + (f" and {len(missing) - 3:,} more" if missing else ""),
            expected="weights of this very configuration",
            fix="Save the model again with save_pretrained, or mend config.json.",
        )


def load_model(
    source: str,
    *,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    trust_remote_code: bool = False,
    local_files_only: bool = False,
) -> PreTrainedModel:
    """A causal language model in eval mode, at `dtype` whatever the checkpoint's precision.

    On the device `meta` its files are looked at and their shapes compared, and no weight is read. Raises UserError
    for files that are missing, broken or of another configuration.
    """
    check_model_folder(source, trust_remote_code=trust_remote_code)
    load_config(source, revision=revision, trust_remote_code=trust_remote_code)
    on_meta: dict[str, Any] = {"device_map": "meta"} if str(device) == "meta" else {}
    with _loading(source, what="the model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            as_folder(source),
            revision=revision,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            output_loading_info=True,
            local_files_only=local_files_only,
            **on_meta,
        )
    model: Any = loaded[0]
    _check_missing(source, loaded[1]["missing_keys"])
    if is_gguf(source):
        named_after(model, source)
    if not on_meta:
        fuse_activations(model)
        model.to(device)
    ready: PreTrainedModel = model.eval()
    return ready


def adapter_config(folder: Path) -> dict[str, Any]:
    """What peft has written of an adapter. Raises UserError for a folder that holds none."""
    if not folder.is_dir():
        raise UserError(f"there is no adapter folder {folder}", expected="a folder that peft has written")
    file = folder / ADAPTER_CONFIG
    if not file.exists():
        raise UserError(f"{folder} holds no adapter", got=f"no {ADAPTER_CONFIG}", expected="a PEFT adapter folder")
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(p.name for pattern in _PICKLES for p in folder.glob(pattern))
        raise UserError(
            f"{folder} holds an adapter without safetensors weights",
            got=", ".join(pickles) or "no weights",
            expected="adapter_model.safetensors",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON", got=str(error), expected="JSON, as peft writes it") from None
    if not isinstance(config, dict) or not config.get("peft_type"):
        raise UserError(
            f"{file} is no adapter's configuration", expected="an object with peft_type, as peft writes it"
        )
    return config


def _refuse_task_prompt(folder: Path, config: dict[str, Any]) -> None:
    if str(config["peft_type"]).upper() == "MULTITASK_PROMPT_TUNING":
        raise UserError(
            f"the adapter {folder} must be told a task with every prompt, and a trial's prompts name none",
            got=str(config["peft_type"]),
            fix="Train a prompt for the one task, by PROMPT_TUNING.",
        )


def load_adapted(
    base: str,
    *,
    adapter: Path,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    trust_remote_code: bool = False,
    foreign: bool = False,
) -> PeftModel:
    """The base with an adapter beside it, not merged. A foreign adapter that does not fit the base is refused."""
    config = adapter_config(adapter)
    named = config.get("base_model_name_or_path") or ""
    _refuse_task_prompt(adapter, config)
    if foreign and is_another_base(named, base, revision=revision):
        raise UserError(
            f"the adapter {adapter} belongs to another base model",
            got=f"an adapter for {named}, whose weights are others",
            expected=f"one for this trial's model {base}",
        )
    model = load_model(base, revision=revision, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    rows = vocabulary_of(adapter, config)
    if any(adapter.glob("tokenizer*")):
        tokens = len(load_tokenizer(str(adapter)))
        prepare_rows(model, tokens=tokens if rows is None else max(tokens, rows), fresh=(), known=0)
    if rows is not None and rows != (own := embedding_weight(model).shape[0]):
        raise UserError(
            f"the adapter {adapter} was trained with another vocabulary",
            got=f"{rows:,} tokens in the adapter for {named or 'an unnamed base'}, and no tokenizer that has them",
            expected=f"{own:,} tokens, as {base} has",
            fix="Save its tokenizer in the adapter's folder, or name the base that it was trained on.",
        )

    def refused(reason: str, fix: str | None = None) -> UserError:
        return UserError(
            f"the adapter {adapter} does not fit the base model",
            got=f"an adapter for {named or 'an unnamed base'}: {reason[:200]}",
            expected=f"one for {base}",
            fix=fix,
        )

    try:
        with quiet():
            adapted = PeftModel.from_pretrained(model, str(adapter), autocast_adapter_dtype=False).eval()
            lacking = _lacking(adapted, folder=adapter) if foreign else []
    except SafetensorError as error:
        raise refused(str(error), "Its weights are cut short or broken: fetch them again.") from None
    except Exception as error:
        said = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)
        if "size mismatch" in said:
            raise refused("its matrices have other shapes than the base's") from None
        raise refused(" ".join(said.split())) from None
    if lacking:
        raise refused(f"its file of weights lacks {lacking[0]} and {len(lacking) - 1:,} more")
    return adapted


def _lacking(model: PeftModel, *, folder: Path) -> list[str]:
    """The adapter's parameters that its file does not hold; peft leaves them as they start, without a word."""
    held: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(str(file), "pt") as opened:
            held |= set(opened.keys())
    return sorted(set(get_peft_model_state_dict(model, save_embedding_layers=False)) - held)
