"""Load what installed packages add to a tuple of ours, each through an entry-point group of its own.

An entry point is one object, or a tuple of objects. They are loaded in the order of the entry points' names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeGuard, TypeVar

from finetrial.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Installed(Generic[T]):
    """An object and the package that it comes from, with its version."""

    value: T
    package: str


def installed(
    group: str,
    *,
    noun: str,
    is_one: Callable[[object], TypeGuard[T]],
    name: Callable[[T], str],
    taken: Iterable[str] = (),
) -> tuple[Installed[T], ...]:
    """Every object of a group; `noun` is what an error calls one.

    Raises UserError where one cannot be loaded, is something else, or has a name that is `taken`.
    """
    names = set(taken)
    found = []
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        for value in _load(point, noun=noun, is_one=is_one):
            if name(value) in names:
                raise UserError(f"two {noun}s are named {name(value)}", got=f"another one from {_package(point)}")
            names.add(name(value))
            found.append(Installed(value, _package(point)))
    return tuple(found)


def _package(point: EntryPoint) -> str:
    return point.value if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _load(point: EntryPoint, *, noun: str, is_one: Callable[[object], TypeGuard[T]]) -> list[T]:
    try:
        loaded = point.load()
    except Exception as error:
        raise UserError(
            f"the {noun} {point.name} of {_package(point)} cannot be loaded",
            got=f"{type(error).__name__}: {error}",
            fix="Mend or uninstall that package.",
        ) from error
    objects = loaded if isinstance(loaded, tuple) else (loaded,)
    values = [value for value in objects if is_one(value)]
    if not values or len(values) < len(objects):
        raise UserError(f"{point.name} of {_package(point)} is no {noun}", got=type(loaded).__name__)
    return values
