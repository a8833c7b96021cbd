"""List every key of a trial file with its type, default, bounds and what it changes; the same as a JSON Schema."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import NoneType, UnionType
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from finetrial.errors import unknown_name
from finetrial.methods.method_table import all_methods
from finetrial.trial.arms import Arm
from finetrial.trial.key_texts import KEY_TEXTS, text_name
from finetrial.trial.schema import Trial

_PLAIN = {int: "whole number", float: "number", str: "text", bool: "true or false", NoneType: "null"}
_JSON = {int: "integer", float: "number", str: "string", bool: "boolean", NoneType: "null"}


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key of a trial file. `default` None: the key must be given, or there is none."""

    path: str  # an arm's keys stand under arms.NAME
    type: str
    default: str | None
    required: bool
    methods: tuple[str, ...]  # of an arm's key: the methods that have it; empty: any arm
    about: str
    example: str


def _types(hint: Any) -> Iterator[Any]:
    """The alternatives of an annotation."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, UnionType):
        for part in typing.get_args(hint):
            yield from _types(part)
    elif origin is typing.Annotated:
        yield from _types(typing.get_args(hint)[0])
    else:
        yield hint


def _words(hint: Any) -> str:
    found: list[str] = []
    for part in _types(hint):
        origin = typing.get_origin(part)
        if origin is Literal:
            found += [str(value) for value in typing.get_args(part)]
        elif origin is tuple:
            found.append("list")
        elif isinstance(part, type) and issubclass(part, BaseModel):
            found.append("mapping")
        else:
            found.append(_PLAIN.get(part, "mapping"))
    return ", ".join(dict.fromkeys(word for word in found if word != "null"))


def _bounds(field: FieldInfo) -> str:
    signs = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}"}
    parts = [
        text.format(f"{value:g}")
        for note in field.metadata
        for name, text in signs.items()
        if isinstance(value := getattr(note, name, None), (int, float))
    ]
    return f" ({' '.join(parts)})" if parts else ""


def _default(field: FieldInfo) -> str | None:
    value = field.default
    if value is PydanticUndefined or value is None or isinstance(value, BaseModel):
        return None
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _default_by_method(key: str) -> str | None:
    """The default of a key that several methods have: one where they agree, else each with its methods."""
    by_default: dict[str | None, list[str]] = {}
    for method in all_methods():
        if (field := _named(method).get(key)) is not None:
            by_default.setdefault(_default(field), []).append(method.name)
    if len(by_default) == 1:
        return next(iter(by_default))
    return ", ".join(f"{default or 'none'} ({', '.join(names)})" for default, names in by_default.items())


def _nested(hint: Any) -> Iterator[type[BaseModel]]:
    """The mappings with keys of their own that a value may be, or hold as a list."""
    for part in _types(hint):
        if typing.get_origin(part) is tuple:
            yield from _nested(typing.get_args(part)[0])
        elif isinstance(part, type) and issubclass(part, BaseModel) and part.model_fields:
            yield part


def _entries(path: str, field: FieldInfo, *, methods: tuple[str, ...] = ()) -> Iterator[KeyEntry]:
    """The entry of a key, then those of the keys inside it."""
    yield _entry(path, field, methods=methods)
    for model in _nested(field.annotation):
        for name, inner in _named(model).items():
            yield from _entries(f"{path}.{name}", inner)


def _entry(path: str, field: FieldInfo, *, methods: tuple[str, ...] = ()) -> KeyEntry:
    name = text_name(path)
    assert name is not None, f"{path} has no text"
    about, _, example = KEY_TEXTS[name].rpartition("|")
    return KeyEntry(
        path=path,
        type=_words(field.annotation) + _bounds(field),
        default=_default_by_method(path.rpartition(".")[2]) if methods else _default(field),
        required=field.is_required() and path.rpartition(".")[0] != "arms.NAME",
        methods=methods,
        about=about,
        example=example,
    )


def _named(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by their names in the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _own_fields() -> dict[str, tuple[FieldInfo, tuple[str, ...]]]:
    """The keys of methods, each with the methods that have it."""
    found: dict[str, tuple[FieldInfo, tuple[str, ...]]] = {}
    for method in all_methods():
        for name, field in _named(method).items():
            first, names = found.get(name, (field, ()))
            found[name] = (first, (*names, method.name))
    return found


def key_entries() -> tuple[KeyEntry, ...]:
    """Every key, sections in their order. Keys of methods that installed packages add are listed without a text."""
    found: list[KeyEntry] = []
    for name, field in Trial.model_fields.items():
        if name != "arms":
            found += _entries(name, field)
            continue
        found.append(_entry(name, field))
        for key, own in _named(Arm).items():
            found += _entries(f"arms.NAME.{key}", own)
        for key, (own, methods) in _own_fields().items():
            if text_name(f"arms.{key}") is not None:
                found += _entries(f"arms.NAME.{key}", own, methods=methods)
    return tuple(found)


def explain_key(path: str) -> KeyEntry:
    """The entry of a key as a trial file has it: `arms.lora.rank`, `data.template`. Raises UserError for none."""
    parts = path.split(".")
    wanted = ".".join(["arms", "NAME", *parts[2:]]) if parts[0] == "arms" and len(parts) > 2 else path
    entries = {entry.path: entry for entry in key_entries()}
    if wanted not in entries:
        raise unknown_name("key of a trial file", path, list(entries))
    return entries[wanted]


def reference_text() -> str:
    """docs/trial-file.md."""
    lines = [
        "# Every key of a trial file",
        "",
        "Made by `finetrial explain --markdown`; `finetrial explain KEY` says the same of one key, and `finetrial "
        "explain --schema` prints a JSON Schema for editors (`# yaml-language-server: $schema=trial.schema.json`).",
        "",
        "| key | type | default | what it is and changes | example |",
        "|---|---|---|---|---|",
    ]
    for entry in key_entries():
        default = "required" if entry.required else entry.default or ""
        about = entry.about + (f" ({', '.join(entry.methods)})" if entry.methods else "")
        cells = (f"`{entry.path}`", entry.type, default, about, f"`{entry.example}`")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _value_schema(hint: Any, block: Callable[[Mapping[str, FieldInfo]], dict[str, Any]]) -> dict[str, Any]:
    """What JSON Schema says of a value: its types and words, and by `block` the keys of a mapping that has some."""
    kinds: list[dict[str, Any]] = []
    for part in _types(hint):
        origin = typing.get_origin(part)
        if origin is Literal:
            kinds.append({"enum": list(typing.get_args(part))})
        elif origin is tuple:
            models = [block(_named(model)) for model in _nested(part)]
            items = {"items": models[0]} if models else {}
            kinds.append({"type": "array", **items})
            kinds += [] if models else [{"type": "string"}]  # one name may stand without brackets
        elif isinstance(part, type) and issubclass(part, BaseModel) and part.model_fields:
            kinds.append(block(_named(part)))
        elif part in _JSON:
            kinds.append({"type": _JSON[part]})
        else:
            kinds.append({"type": ["object", "string"]})
    unique = [kind for place, kind in enumerate(kinds) if kind not in kinds[:place]]
    return unique[0] if len(unique) == 1 else {"anyOf": unique}


def json_schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) of trial files, for editors: keys, types, words. Reading checks the rest."""
    texts = {entry.path: entry for entry in key_entries()}

    def block(prefix: str, fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
        properties = {}
        for name, field in fields.items():
            entry = texts.get(f"{prefix}{name}")
            value = _value_schema(field.annotation, partial(block, f"{prefix}{name}."))
            properties[name] = value | ({"description": entry.about} if entry else {})
        return {"type": "object", "additionalProperties": False, "properties": properties}

    arm = {key: field for key, field in _named(Arm).items() if key != "method"}
    arms = block("arms.NAME.", arm | {key: field for key, (field, _) in _own_fields().items()})
    arms["properties"]["method"] = {"enum": [method.name for method in all_methods()]}
    whole = block("", Trial.model_fields)
    whole["properties"]["arms"] = {"type": "object", "additionalProperties": {"anyOf": [arms, {"type": "null"}]}}
    required = [name for name, field in Trial.model_fields.items() if field.is_required()]
    return (
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A trial file of finetrial"}
        | whole
        | {"required": required}
    )
