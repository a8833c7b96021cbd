"""What a GGUF file says of itself: architecture, sizes, and how its weights are stored.

GGUF is llama.cpp's one-file format (specification: ggml, docs/gguf.md). The package `gguf` reads it, torch or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.errors import MissingPackage, UserError

GGUF_SUFFIX = ".gguf"
_WHOLE = ("F32", "F16", "BF16", "F64")  # types that hold a number by itself, not blocks of quantised ones
_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The head of one GGUF file."""

    architecture: str  # llama.cpp's name of it
    fields: Mapping[str, Any]  # key -> number or text; a list is given by its length, under the key + ".length"
    elements: Mapping[str, int]  # tensor type, as llama.cpp writes it -> numbers stored in it
    tensors: frozenset[str]  # their names

    @property
    def parameters(self) -> int:
        return sum(self.elements.values())

    @property
    def storage(self) -> str:
        """The type that holds most of the weights, such as Q4_1."""
        return max(self.elements, key=lambda name: (self.elements[name], name))

    @property
    def is_quantized(self) -> bool:
        return any(name not in _WHOLE for name in self.elements)

    @property
    def description(self) -> str:
        """As a report says it: `GGUF Q4_1, dequantised`."""
        return f"GGUF {self.storage}{', dequantised' if self.is_quantized else ''}"


def is_gguf(source: str | Path) -> bool:
    """Whether this names a GGUF file, by its ending."""
    return str(source).lower().endswith(GGUF_SUFFIX)


def check_gguf_file(path: Path) -> None:
    """Refuse what is no GGUF file by its first bytes, or not there. Raises UserError."""
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob(f"*{GGUF_SUFFIX}")) if path.parent.is_dir() else []
        raise UserError(
            f"there is no model file {path}",
            expected=" or ".join(beside) or None,
            fix="Paths in a trial file are relative to it.",
        )
    with path.open("rb") as stream:
        first = stream.read(len(_MAGIC))
    if first != _MAGIC:
        raise UserError(f"{path} is not a GGUF file", got=f"first bytes {first!r}", expected=repr(_MAGIC))


def read_gguf(path: Path) -> GgufHeader:
    """The header of a GGUF file, checked against the file's length.

    Raises UserError for a file that is missing, cut short or something else; MissingPackage without `gguf`.
    """
    check_gguf_file(path)
    try:
        from gguf import GGUFReader, GGUFValueType
    except ImportError:
        raise MissingPackage("gguf", extra="tune", purpose=f"reading {path.name}") from None
    try:
        reader = GGUFReader(path)
    except (ValueError, IndexError, KeyError, OSError) as error:
        # past the magic, what ends too soon shows as an index or a shape that does not fit
        raise UserError(
            f"{path} cannot be read as GGUF",
            got=f"{path.stat().st_size:,} bytes: {(str(error).splitlines() or ['no reason given'])[0][:200]}",
            expected="a whole GGUF file of version 2 or 3",
            fix="It may be cut short: fetch it again.",
        ) from None
    fields: dict[str, Any] = {}
    for name, field in reader.fields.items():
        if field.types and field.types[0] == GGUFValueType.ARRAY:
            fields[f"{name}.length"] = len(field.data)
        else:
            fields[name] = field.contents()
    elements: Counter[str] = Counter()
    for tensor in reader.tensors:
        elements[tensor.tensor_type.name] += int(tensor.n_elements)
    architecture = fields.get("general.architecture")
    if not isinstance(architecture, str) or not elements:
        raise UserError(
            f"{path} holds no model",
            got="no architecture" if elements else "no tensors",
            expected="general.architecture and its weights",
        )
    names = frozenset(tensor.name for tensor in reader.tensors)
    return GgufHeader(architecture, fields, dict(elements), names)
