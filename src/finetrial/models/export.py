"""Write an arm, or the model of a GGUF file, as one folder that transformers (and peft) alone can load."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetrial.errors import UserError
from finetrial.methods.halves import half_of
from finetrial.methods.method import TunedMethod
from finetrial.methods.torch_half import Where
from finetrial.models.library_calls import disk_errors, quiet
from finetrial.models.load import load_arm, load_model, load_tokenizer


@dataclass(frozen=True, slots=True)
class Exported:
    """A model that was written."""

    folder: Path
    stored_bytes: int
    parameters: int
    unmerged: str | None = None  # why it is an adapter and not a merged model; None: it is merged


def _refuse_full(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty", fix="Name another --out, or remove it.")


def _write(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    out: Path,
    unmerged: str | None = None,
) -> Exported:
    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with quiet(), disk_errors(out):
            model.save_pretrained(str(out))
            tokenizer.save_pretrained(str(out))
    except BaseException:
        if made:
            shutil.rmtree(out, ignore_errors=True)
        raise
    return Exported(
        folder=out,
        stored_bytes=sum(p.stat().st_size for p in out.glob("*.safetensors")),
        parameters=sum(p.numel() for p in model.parameters()),
        unmerged=unmerged,
    )


def export_arm(
    base: str,
    *,
    out: Path,
    adapter: Path | None = None,
    model: str | None = None,
    dtype: torch.dtype = torch.float32,
    trust_remote_code: bool = False,
) -> Exported:
    """Write an arm that is not tuned here merged, with its tokenizer. A folder that holds something is refused."""
    _refuse_full(out)
    merged = load_arm(base, adapter=adapter, model=model, dtype=dtype, trust_remote_code=trust_remote_code)
    brought = str(adapter) if adapter is not None and any(adapter.glob("tokenizer*")) else None
    tokenizer = load_tokenizer(brought or model or base, trust_remote_code=trust_remote_code)
    return _write(merged, tokenizer, out=out)


def export_tuned(method: TunedMethod, where: Where, *, folder: Path, out: Path) -> Exported:
    """Write a tuned arm merged, with its tokenizer; as the adapter where it cannot be merged.

    A folder that holds something already is refused.
    """
    _refuse_full(out)
    loaded = half_of(method).load(method, where, folder=folder)
    brought = str(folder) if any(folder.glob("tokenizer*")) else where.base
    tokenizer = load_tokenizer(brought, trust_remote_code=where.trust_remote_code)
    return _write(loaded.model, tokenizer, out=out, unmerged=loaded.unmerged)


def export_model(source: str, *, out: Path, dtype: torch.dtype = torch.float32) -> Exported:
    """Write a model, such as that of a GGUF file, with its tokenizer. A folder that holds something is refused."""
    _refuse_full(out)
    return _write(load_model(source, dtype=dtype), load_tokenizer(source), out=out)
