"""Read the logs of Inspect: .eval, which is a zip of JSON files, and .json.

An epoch is a sample. The zip's members may be packed with Zstandard (method 93), which Python's zipfile reads from
3.14 on: before that pyarrow unpacks them.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetrial.errors import MissingPackage, UserError
from finetrial.evidence.logs.log_format import LogFile, LogFormat, LogRows, number_of, text_of_parts

_ZSTANDARD = 93  # PKWARE's APPNOTE.TXT 6.3.8, section 4.4.5
_LOCAL_HEADER = 30  # bytes, before name and extra field; section 4.3.7


def _is_one(file: LogFile) -> bool:
    if file.kind == ".eval":
        return zipfile.is_zipfile(file.path)
    content = file.content if file.kind == ".json" else None
    return isinstance(content, dict) and {"eval", "samples"} <= content.keys() and "model" in content["eval"]


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """One file of the zip, unpacked."""
    if info.compress_type != _ZSTANDARD:
        return archive.read(info)
    try:
        import pyarrow
    except ImportError:
        raise MissingPackage("pyarrow", extra="parquet", purpose=f"reading {path.name}") from None
    with path.open("rb") as stream:
        stream.seek(info.header_offset)
        header = stream.read(_LOCAL_HEADER)
        name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
        stream.seek(name_bytes + extra_bytes, 1)
        packed = stream.read(info.compress_size)
    unpacked = pyarrow.decompress(packed, decompressed_size=info.file_size, codec="zstd")
    return bytes(unpacked)


def _parts(path: Path) -> tuple[Mapping[str, Any], Iterator[tuple[str, Mapping[str, Any]]]]:
    """The header of a zipped log, and its samples with their places. Raises UserError where it is damaged."""
    archive = zipfile.ZipFile(path)
    members = {info.filename: info for info in archive.infolist()}
    header = members.get("header.json") or members.get("_journal/start.json")  # a run that was cut has no header
    if header is None:
        raise UserError(f"{path} is no log of Inspect", expected="header.json in the zip")
    content = json.loads(_member(path, archive, header))
    samples = (
        (f"{path}, {name}", json.loads(_member(path, archive, info)))
        for name, info in sorted(members.items())
        if name.startswith("samples/")
    )
    return content["eval"], samples


def _turns(messages: Any) -> list[dict[str, str]]:
    """What the model was shown: every turn before its last answer."""
    turns = [{"role": str(m.get("role")), "content": text_of_parts(m.get("content"))} for m in messages or ()]
    last = next((i for i in range(len(turns) - 1, -1, -1) if turns[i]["role"] == "assistant"), len(turns))
    return [turn for turn in turns[:last] if turn["role"] in ("system", "user", "assistant")]


def _completion(output: Mapping[str, Any]) -> str | None:
    """The answer; None where the sample came to none."""
    choices = output.get("choices") or ()
    if not choices:
        return None
    said = output.get("completion")
    return said if isinstance(said, str) else text_of_parts(choices[0].get("message", {}).get("content"))


def _rows(file: LogFile) -> LogRows:
    if file.kind == ".eval":
        about, samples = _parts(file.path)
    else:
        about = file.content["eval"]
        samples = ((f"{file.path}, sample {n}", row) for n, row in enumerate(file.content["samples"] or (), 1))
    task = str(about.get("task", file.path.stem))
    for where, sample in samples:
        text = _completion(sample.get("output") or {})
        if text is None:  # it ended in an error
            continue
        asked = sample.get("input")
        scores = {
            name: value
            for name, score in (sample.get("scores") or {}).items()
            if (value := number_of(score.get("value") if isinstance(score, dict) else score)) is not None
        }
        shown = _turns(sample.get("messages")) or asked
        yield (
            where,
            {
                "prompt": shown,
                "source": asked if isinstance(asked, str) else None,
                "prompt_id": f"{task}/{sample.get('id')}",
                "id": sample.get("id"),
                "arm": str(about["model"]),
                "task": task,
                "text": text,
                "references": sample.get("target") or None,
                "epoch": sample.get("epoch"),
                **scores,
            },
        )


INSPECT = LogFormat("Inspect", (".eval", ".json"), _is_one, _rows)
