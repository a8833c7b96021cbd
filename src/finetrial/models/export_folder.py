"""Write an arm, or the model of a GGUF file, as one folder that transformers (and peft) alone can load."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetrial.errors import UserError
from finetrial.methods.halves import half_of
from finetrial.methods.method import TunedMethod
from finetrial.methods.torch_half import Where
from finetrial.models.library_calls import disk_errors, quiet
from finetrial.models.loading import load_model, load_tokenizer
from finetrial.models.merging import load_adapter


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


def _write(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, out: Path) -> Exported:
    with _new_folder(out):
        model.save_pretrained(str(out))
        tokenizer.save_pretrained(str(out))
    return Exported(
        folder=out, stored_bytes=_stored_bytes(out), parameters=sum(p.numel() for p in model.parameters())
    )


def _write_adapter(adapter: Path, tokenizer: PreTrainedTokenizerBase, *, out: Path, unmerged: str) -> Exported:
    with _new_folder(out):
        for file in sorted(adapter.glob("adapter_*")):
            shutil.copyfile(file, out / file.name)
        tokenizer.save_pretrained(str(out))
    tensors = [tensor for file in out.glob("*.safetensors") for tensor in load_file(file).values()]
    parameters = sum(tensor.numel() for tensor in tensors)
    return Exported(folder=out, stored_bytes=_stored_bytes(out), parameters=parameters, unmerged=unmerged)


def _stored_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[None]:
    """A folder to write into; one that was made here is removed where writing fails."""
    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with quiet(), disk_errors(out):
            yield
    except BaseException:
        if made:
            shutil.rmtree(out, ignore_errors=True)
        raise


def export_arm(
    base: str,
    *,
    out: Path,
    adapter: Path | None = None,
    model: str | None = None,
    dtype: torch.dtype = torch.float32,
    trust_remote_code: bool = False,
) -> Exported:
    """Write an arm that is not tuned here merged, with its tokenizer; as the adapter where it cannot be merged.

    A folder that holds something already is refused.
    """
    _refuse_full(out)
    brought = str(adapter) if adapter is not None and any(adapter.glob("tokenizer*")) else None
    tokenizer = load_tokenizer(brought or model or base, trust_remote_code=trust_remote_code)
    if adapter is None:
        return _write(
            load_model(model or base, dtype=dtype, trust_remote_code=trust_remote_code), tokenizer, out=out
        )
    found = load_adapter(base, adapter=adapter, dtype=dtype, foreign=True, trust_remote_code=trust_remote_code)
    if found.unmerged is not None:
        return _write_adapter(adapter, tokenizer, out=out, unmerged=found.unmerged)
    return _write(found.model, tokenizer, out=out)


def export_tuned(method: TunedMethod, where: Where, *, folder: Path, out: Path) -> Exported:
    """Write a tuned arm merged, with its tokenizer; as the adapter where it cannot be merged.

    A folder that holds something already is refused.
    """
    _refuse_full(out)
    loaded = half_of(method).load(method, where, folder=folder)
    brought = str(folder) if any(folder.glob("tokenizer*")) else where.base
    tokenizer = load_tokenizer(brought, trust_remote_code=where.trust_remote_code)
    if loaded.unmerged is not None and loaded.adapter is not None:
        return _write_adapter(loaded.adapter, tokenizer, out=out, unmerged=loaded.unmerged)
    return _write(loaded.model, tokenizer, out=out)


def export_adapter(adapter: Path, *, base: str, out: Path, trust_remote_code: bool = False) -> Exported:
    """Write an arm's adapter with its tokenizer, to be loaded beside its base. A folder that holds something is
    refused."""
    _refuse_full(out)
    brought = str(adapter) if any(adapter.glob("tokenizer*")) else base
    tokenizer = load_tokenizer(brought, trust_remote_code=trust_remote_code)
    return _write_adapter(adapter, tokenizer, out=out, unmerged="as it was asked for")


def export_model(source: str, *, out: Path, dtype: torch.dtype = torch.float32) -> Exported:
    """Write a model, such as that of a GGUF file, with its tokenizer. A folder that holds something is refused."""
    _refuse_full(out)
    return _write(load_model(source, dtype=dtype), load_tokenizer(source), out=out)
