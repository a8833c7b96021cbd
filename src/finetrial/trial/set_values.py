"""Remember what `--set` gave a run, for the commands after it.

A run writes its overrides to the manifest, each beside what the trial file said there. A later command on the same
trial file takes them over, so that it speaks of what was run and does not tune it all anew: unless it sets that key
itself, or the file says something else there by now, which is then meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from finetrial.store.hashes import hash_value


def set_values(content: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, dict[str, str]]:
    """What is to be remembered: each key with its value as it was given, and the hash of what the file says there.

    `content` is the trial file without overrides. A value that the file has anyway needs no remembering.
    """
    found: dict[str, dict[str, str]] = {}
    for override in overrides:
        key, _, raw = override.partition("=")
        for earlier in [held for held in found if _touch(held, key)]:
            del found[earlier]
        there, place = _place(content, key)
        if not (there and _value(raw) == place):
            found[key] = {"value": raw, "file": hash_value([there, place])}
    return found


def remembered(
    held: Mapping[str, Mapping[str, str]], content: Mapping[str, Any], *, given: Sequence[str]
) -> tuple[str, ...]:
    """The overrides of an earlier run that hold: not given anew, and the file says there what it said then."""
    keys = [override.partition("=")[0] for override in given]
    as_before = {
        key: value for key, value in held.items() if value["file"] == hash_value(list(_place(content, key)))
    }
    return tuple(
        f"{key}={value['value']}" for key, value in as_before.items() if not any(_touch(key, o) for o in keys)
    )


def _touch(one: str, other: str) -> bool:
    """Whether one key is the other, or lies within it."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _place(content: Mapping[str, Any], key: str) -> tuple[bool | str, Any]:
    """Whether the file has the key, and its value; of one that it has not, how far its parents go."""
    place: Any = content
    for depth, part in enumerate(key.split(".")):
        if not isinstance(place, Mapping) or part not in place:
            return False, depth
        place = place[part]
    return True, place


def _value(raw: str) -> Any:
    try:
        return yaml.safe_load(raw)
    except yaml.YAMLError:
        return raw
