"""How does an arm, or a model in a GGUF file, become one folder that transformers alone can load?"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetrial.errors import UserError
from finetrial.models.library_calls import disk_errors, quiet
from finetrial.models.load import load_arm, load_model, load_tokenizer


@dataclass(frozen=True, slots=True)
class Exported:
    """A model that was written."""

    folder: Path
    stored_bytes: int
    parameters: int


def _refuse_full(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty", fix="Name another --out, or remove it.")


def _write(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, out: Path) -> Exported:
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
    )


def export_arm(
    base: str,
    *,
    out: Path,
    folder: Path | None = None,
    adapter: Path | None = None,
    model: str | None = None,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    trust_remote_code: bool = False,
) -> Exported:
    """Write an arm merged, with its tokenizer. A folder that holds something already is refused."""
    _refuse_full(out)
    merged = load_arm(
        base,
        folder=folder,
        adapter=adapter,
        model=model,
        revision=revision,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    brought = next((str(p) for p in (folder, adapter) if p is not None and any(p.glob("tokenizer*"))), None)
    source = brought or model or base
    tokenizer = load_tokenizer(
        source, revision=revision if source == base else None, trust_remote_code=trust_remote_code
    )
    return _write(merged, tokenizer, out=out)


def export_model(source: str, *, out: Path, dtype: torch.dtype = torch.float32) -> Exported:
    """Write a model, such as that of a GGUF file, with its tokenizer. A folder that holds something is refused."""
    _refuse_full(out)
    return _write(load_model(source, dtype=dtype), load_tokenizer(source), out=out)
