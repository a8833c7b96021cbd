"""Read files that may be compressed, by what their names say: rows.jsonl.gz is a .jsonl file, packed."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from finetrial.errors import MissingPackage, UserError

COMPRESSED = (".gz", ".zst")


def kind_of(path: Path) -> str:
    """The suffix that says what a file holds: `.jsonl` of rows.jsonl, of rows.jsonl.gz and of rows.jsonl.zst."""
    return Path(path.stem if path.suffix.lower() in COMPRESSED else path.name).suffix.lower()


def plain_stem(path: Path) -> str:
    """A file's name without what it holds and how it is compressed: `train` of train.jsonl.gz."""
    return Path(path.stem if path.suffix.lower() in COMPRESSED else path.name).stem


def bytes_of(path: Path) -> bytes:
    """A file's bytes, unpacked where its name says so. Raises UserError where they are not what the name says."""
    packing = path.suffix.lower()
    if packing not in COMPRESSED:
        return path.read_bytes()
    try:
        if packing == ".gz":
            return gzip.decompress(path.read_bytes())
        import pyarrow  # which reads Zstandard

        with pyarrow.input_stream(str(path), compression="zstd") as stream:
            return bytes(stream.read())
    except ImportError:
        raise MissingPackage("pyarrow", extra="parquet", purpose=f"reading {path.name}") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(
            f"{path.name} cannot be unpacked",
            got=str(error).split("\n", 1)[0],
            fix="Name the file by what it holds, or compress it again.",
        ) from None


def read_text(path: Path) -> str:
    """A file's text, unpacked where its name says so. Bytes that are not UTF-8 are an error with offset and
    line."""
    content = bytes_of(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path.name}:{line} is not UTF-8 text",
            got=f"byte 0x{content[error.start]:02x} at offset {error.start}",
            fix="Save the file as UTF-8.",
        ) from None
