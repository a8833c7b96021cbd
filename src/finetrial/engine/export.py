"""How does an arm leave the trial as one merged model that transformers alone can load?"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from finetrial.engine.load import load_arm, load_tokenizer
from finetrial.engine.quiet import quiet
from finetrial.errors import UserError


@dataclass(frozen=True, slots=True)
class Exported:
    """A model that was written."""

    folder: Path
    stored_bytes: int
    parameters: int


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
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty", fix="Name another --out, or remove it.")
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
    made = not out.exists()
    try:
        with quiet():
            merged.save_pretrained(str(out))
            tokenizer.save_pretrained(str(out))
    except BaseException:
        if made:
            shutil.rmtree(out, ignore_errors=True)
        raise
    return Exported(
        folder=out,
        stored_bytes=sum(p.stat().st_size for p in out.glob("*.safetensors")),
        parameters=sum(p.numel() for p in merged.parameters()),
    )
