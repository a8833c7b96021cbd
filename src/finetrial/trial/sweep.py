"""Expand `sweep`: an arm of the trial file becomes one arm for every combination of values.

    arms:  {base: {}, lora: {method: lora, targets: [q, v]}}
    sweep: {lora: {rank: [4, 16], rows: [100, 400]}}

stands for base, lora-r4-n100, lora-r4-n400, lora-r16-n100 and lora-r16-n400. What is
expanded is a trial like any other: nothing behind the reading of the file knows of the sweep.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from finetrial.errors import Mistakes, UserError, nearest, unknown_name

KEY = "sweep"
# how a key stands in the name of an arm; else as it is
_SHORT = {"learning_rate": "lr", "rank": "r", "rows": "n", "targets": "", "from": ""}
_SMALL = 0.1  # numbers below it are written as 1e-4
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9-]+")

Place = tuple[str | int, ...]
Lines = Mapping[Place, int]


def expanded(content: Mapping[str, Any], *, lines: Lines | None = None) -> tuple[dict[str, Any], dict[Place, int]]:
    """The keys of a trial file without `sweep`, and where every expanded key stands in the file.

    Raises every mistake of the sweep at once.
    """
    places = dict(lines or {})
    if content.get(KEY) is None:
        return {key: value for key, value in content.items() if key != KEY}, places
    swept, arms = content[KEY], content.get("arms")
    if not isinstance(swept, Mapping) or not isinstance(arms, Mapping):
        raise UserError(
            "sweep: invalid value",
            got=repr(swept),
            expected="an arm's name, and under it lists of values, such as {lora: {rank: [4, 16]}}",
        )
    _check(swept, arms=arms)
    result: dict[str, Any] = {}
    for name, keys in arms.items():
        if name not in swept:
            result[name] = keys
            continue
        for arm, values in _combinations(name, swept[name]).items():
            if arm in arms or arm in result:
                raise UserError(f"sweep.{name}: two arms would be named {arm!r}", fix="Rename one of them.")
            result[arm] = dict(keys or {}) | values
            for key in result[arm]:
                place: Place = (KEY, name, key) if key in values else ("arms", name, key)
                if place in places:
                    places["arms", arm, key] = places[place]
    return {key: result if key == "arms" else value for key, value in content.items() if key != KEY}, places


def chosen_arms(names: Sequence[str] | None, arms: Iterable[str]) -> tuple[str, ...] | None:
    """The arms that `--arm` names: an arm, or a swept one by the name under which it stands in the file; None: all.

    Raises UserError for a name that is none's.
    """
    if names is None:
        return None
    known = list(arms)
    chosen: dict[str, None] = {}
    for name in names:
        found = [name] if name in known else [arm for arm in known if arm.startswith(f"{name}-")]
        if not found:
            raise unknown_name("arm", name, known)
        chosen |= dict.fromkeys(found)
    return tuple(chosen)


def _check(swept: Mapping[str, Any], *, arms: Mapping[str, Any]) -> None:
    mistakes = Mistakes()
    for name, factors in swept.items():
        if name not in arms:
            close = nearest(str(name), [str(arm) for arm in arms])
            mistakes.add(
                UserError(
                    f"sweep names an arm that is not there: {name!r}",
                    expected="one of " + ", ".join(map(str, arms)),
                    fix=f"Did you mean {close!r}?" if close else "Write it under `arms:` with what all share.",
                )
            )
            continue
        if not isinstance(factors, Mapping) or not factors:
            mistakes.add(UserError(f"sweep.{name} has no keys", expected="lists of values, such as rank: [4, 16]"))
            continue
        for key, values in factors.items():
            where = f"sweep.{name}.{key}"
            if not isinstance(values, Sequence) or isinstance(values, str) or not values:
                mistakes.add(UserError(f"{where} is no list", got=repr(values), expected="such as [4, 16]"))
            elif len({repr(value) for value in values}) < len(values):
                mistakes.add(UserError(f"{where} names a value twice", got=repr(values)))
            if isinstance(arms[name], Mapping) and key in arms[name]:
                mistakes.add(
                    UserError(f"{where}: {key} stands under arms.{name} too", fix="Take it out of one of the two.")
                )
    mistakes.raise_all()


def _combinations(name: str, factors: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """The keys of every combination, by the name of its arm."""
    words = {key: _words(key, values) for key, values in factors.items()}
    found: dict[str, dict[str, Any]] = {}
    for places in itertools.product(*(range(len(values)) for values in factors.values())):
        chosen = dict(zip(factors, places, strict=True))
        arm = "-".join([name, *(words[key][place] for key, place in chosen.items())])
        found[arm] = {key: factors[key][place] for key, place in chosen.items()}
    return found


def _words(key: str, values: Sequence[Any]) -> list[str]:
    """How each value of a key stands in the name of an arm; numbered where the values' own words are alike."""
    short = _SHORT.get(key, key)
    words = [_NOT_IN_A_NAME.sub("_", f"{short}{_word(value)}").strip("_") for value in values]
    if len(set(words)) < len(words) or not all(words):
        return [f"{short or key}{number}" for number in range(1, len(values) + 1)]
    return words


def _word(value: Any) -> str:
    if isinstance(value, float):
        mantissa, exponent = f"{value:e}".split("e")
        return f"{value:g}" if value >= _SMALL else f"{float(mantissa):g}e{int(exponent)}"
    if isinstance(value, str):
        return value.rstrip("/").rpartition("/")[2]
    if isinstance(value, Sequence):
        return "_".join(map(str, value))
    return str(value)
