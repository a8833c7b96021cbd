"""Hold a frozen base in four bits for training, and dequantise it for sampling.

QLoRA (Dettmers et al. 2023, section 3): the base's matrices in NF4 with their scales quantised again, products in
the arm's precision, adapters as ever. The arm that is sampled is the arm that was tuned: its base is quantised
alike and made wide again before the adapter is merged.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from finetrial.errors import MissingPackage, UserError
from finetrial.models.gguf_base import as_folder, named_after
from finetrial.models.library_calls import quiet
from finetrial.models.loading import cast_parameters, check_model_folder, fuse_activations, load_tokenizer
from finetrial.models.special_tokens import prepare_rows
from finetrial.store.gguf import is_gguf


def check_bitsandbytes(*, purpose: str, device: torch.device, fix: str) -> None:
    """Raise UserError, or MissingPackage, where bitsandbytes cannot be used; `purpose` names what needs it."""
    if device.type != "cuda":
        raise UserError(f"{purpose} needs a CUDA device", got=device.type, fix=fix)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingPackage("bitsandbytes", extra=None, purpose=purpose)


def check_quantize(*, device: torch.device) -> None:
    """Raises UserError where a base cannot be held in four bits."""
    check_bitsandbytes(purpose="quantize: nf4", device=device, fix="Leave quantize out.")


def load_quantized(
    source: str,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """A causal language model in eval mode, its matrices in NF4 and the rest at `dtype`."""
    check_model_folder(source, trust_remote_code=trust_remote_code)
    setting = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                as_folder(source),
                revision=revision,
                dtype=dtype,
                device_map={"": device},
                quantization_config=setting,
                trust_remote_code=trust_remote_code,
                use_safetensors=True,
            )
    except Exception as error:
        raise UserError(
            f"{source} cannot be loaded in four bits", got=(str(error).splitlines() or ["no reason given"])[0][:300]
        ) from None
    if is_gguf(source):
        named_after(model, source)
    fuse_activations(model)
    model.eval()
    return model


def load_quantized_arm(
    base: str, *, folder: Path, dtype: torch.dtype, device: torch.device | str, trust_remote_code: bool = False
) -> PreTrainedModel:
    """An arm tuned on a quantised base, ready for sampling: the base made wide again, the adapter merged."""
    where: dict[str, Any] = {"device": device, "trust_remote_code": trust_remote_code}
    model = cast_parameters(load_quantized(base, dtype=torch.float32, **where).dequantize(), torch.float32)
    prepare_rows(model, tokens=len(load_tokenizer(str(folder))), fresh=(), known=0)
    with quiet():
        adapted = PeftModel.from_pretrained(model, str(folder), autocast_adapter_dtype=False)
    merged = cast_parameters(adapted.merge_and_unload(), dtype)
    merged.eval()
    return merged
