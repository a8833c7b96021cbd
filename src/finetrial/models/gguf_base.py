"""A base that stands in a GGUF file, dequantised once and kept in Hugging Face layout.

transformers reads GGUF by reading the whole header two or three times and every weight in Python: 12 seconds for
135M parameters. A trial loads its base for every arm, its tokenizer and configuration oftener still. So the file is
read once, and what came out stands in the user's cache, under the file's hash, as float32 safetensors.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import secrets
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from finetrial.errors import MissingPackage, UserError
from finetrial.models.library_calls import disk_errors, quiet
from finetrial.store.files import atomic_text
from finetrial.store.gguf import check_gguf_file, is_gguf, read_gguf
from finetrial.store.hashes import hash_file
from finetrial.store.user_cache import cache_root

_ABOUT = "gguf.json"  # in the cached folder: written last, so that a folder without it is unfinished
_LAYOUT = 1  # goes up when what is written comes to differ


@functools.lru_cache(maxsize=8)
def _file_hash(path: Path, size: int, changed_ns: int) -> str:
    return hash_file(path)


def gguf_hash(path: Path) -> str:
    """The hash of a GGUF file's bytes, taken once as long as its size and time of change stay."""
    check_gguf_file(path)
    status = path.stat()
    return _file_hash(path.resolve(), status.st_size, status.st_mtime_ns)


def _unquantized(model: PreTrainedModel, *, source: str) -> PreTrainedModel:
    """The model without the marks of the file it came from, which would make its copy one that is quantised."""
    for config in (model.config, model.config.get_text_config()):
        for name in ("quantization_config", "_model_name_or_path"):
            if hasattr(config, name):
                delattr(config, name)
    marks: Any = model  # two attributes that loading gave it
    marks.hf_quantizer, marks.is_quantized = None, False
    named_after(model, source)
    return model


def named_after(model: PreTrainedModel, source: str) -> None:
    """Let what is saved of the model, adapters too, name this source as its base."""
    model.name_or_path = model.config.name_or_path = source


def _read(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    extra: dict[str, Any] = {}
    if hasattr(transformers, "GgufConfig"):  # else a version that always dequantises
        extra["quantization_config"] = transformers.GgufConfig(dequantize=True)
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        with quiet(), contextlib.redirect_stderr(io.StringIO()):  # its bar of tensors asks no verbosity
            model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32, **extra)
            tokenizer = AutoTokenizer.from_pretrained(**where)
    except ImportError as error:
        if "accelerate" in str(error):
            raise MissingPackage("accelerate", extra="tune", purpose=f"reading {path.name}") from None
        raise
    return _unquantized(model, source=str(path)), tokenizer


def dequantized(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of a GGUF file at float32, in eval mode, and its tokenizer.

    Raises UserError for a file that is cut short or no GGUF, and for an architecture that transformers cannot read.
    """
    header = read_gguf(path)
    try:
        return _read(path)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, NotImplementedError, TypeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the model {path} cannot be read by transformers {transformers.__version__}",
            got=f"architecture {header.architecture}: {first[:200]}",
            expected="a GGUF file of an architecture that transformers reads",
            fix="Use the model's Hugging Face folder or hub id instead.",
        ) from None


def write_dequantized(path: Path, folder: Path) -> None:
    """Write a GGUF file's model, tokenizer, chat template and generation settings in Hugging Face layout."""
    model, tokenizer = dequantized(path)
    folder.mkdir(parents=True, exist_ok=True)
    with quiet(), disk_errors(folder):
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))


def kept_folder(path: Path) -> Path:
    """Where the dequantised copy of a GGUF file stands, or will."""
    return cache_root() / "gguf" / f"{gguf_hash(path)[:20]}-{transformers.__version__}-{_LAYOUT}"


def as_folder(source: str) -> str:
    """A model source that transformers loads by itself: for a GGUF file its folder in the cache, made where it is
    not there; any other source unchanged.
    """
    if not is_gguf(source):
        return source
    path = Path(source).expanduser()
    folder = kept_folder(path)
    if (folder / _ABOUT).exists():
        return str(folder)
    header = read_gguf(path)
    half = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        write_dequantized(path, half)
        about = {"file": str(path.resolve()), "format": header.description, "tensors": dict(header.elements)}
        atomic_text(half / _ABOUT, json.dumps(about, indent=2) + "\n")
        try:
            half.rename(folder)
        except OSError:
            if not (folder / _ABOUT).exists():  # else another process was as fast
                shutil.rmtree(folder, ignore_errors=True)
                half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return str(folder)


def base_format(source: str) -> str | None:
    """How a base's weights were stored, where that is not what is loaded: `GGUF Q4_1, dequantised`; else None."""
    if not is_gguf(source):
        return None
    about: dict[str, str | None] = json.loads((Path(as_folder(source)) / _ABOUT).read_text(encoding="utf-8"))
    return about["format"]
