"""What does a user read when something they can mend went wrong?

Every such error has four parts: what went wrong, what was found, what was expected, and how to mend it.
`assert` is for our own invariants; these are for the user's world.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

_SHOWN = 20  # mistakes that a message lists; as many as a screen holds
_KEPT = 200  # that are remembered; a file may have a million rows with one mistake each
_LINES = 4  # lines of a file that are named behind the first that has the same mistake
_PLACE = re.compile(r"(?P<file>\S+):(?P<line>\d+)\b")  # where a mistake in a file of rows stands


class FinetrialError(Exception):
    """Base of the errors that are shown as one line and never as a traceback."""

    exit_status = 2

    def __init__(self, what: str, *, got: object = None, expected: object = None, fix: str | None = None) -> None:
        self.what = what
        self.got = None if got is None else str(got)
        self.expected = None if expected is None else str(expected)
        self.fix = fix
        super().__init__(str(self))

    def as_dict(self) -> dict[str, Any]:
        """The error as `--json` prints it, under the key `error`."""
        return {"what": self.what, "got": self.got, "expected": self.expected, "fix": self.fix}

    def __str__(self) -> str:
        parts = [self.what]
        if self.got is not None:
            parts.append(f"got {self.got}")
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        line = "; ".join(parts)
        return f"{line}. {self.fix}" if self.fix else line


class UserError(FinetrialError):
    """The user must change something. Exit status 2."""

    exit_status = 2


def of_arm(arm: str, error: FinetrialError) -> FinetrialError:
    """The same mistake, with the arm that makes it."""
    if f"arms.{arm}" in error.what or f"arm {arm}" in error.what:
        return error
    return UserError(f"arms.{arm}: {error.what}", got=error.got, expected=error.expected, fix=error.fix)


class UserErrors(UserError):
    """Several mistakes, all named at once."""

    def __init__(self, errors: Sequence[FinetrialError], *, more: int = 0) -> None:
        """`more` counts mistakes that are not among `errors`."""
        self.errors = tuple(errors)
        self.count = len(self.errors) + more
        super().__init__(f"{self.count:,} mistakes", fix="Mend them all; each is listed with what is expected.")

    def as_dict(self) -> dict[str, Any]:
        """The error as `--json` prints it, with every mistake under `mistakes`."""
        return {**super().as_dict(), "mistakes": [error.as_dict() for error in self.errors]}

    def __str__(self) -> str:
        shown = _by_kind(self.errors)[:_SHOWN]
        lines = [f"\n  {number}. {_as_line(group)}" for number, group in enumerate(shown, start=1)]
        left = self.count - sum(map(len, shown))
        return f"{self.what}:" + "".join(lines) + (f"\n  and {left:,} more" if left else "")


def _by_kind(errors: Sequence[FinetrialError]) -> list[list[FinetrialError]]:
    """The mistakes, those together that differ in the line of a file and in what was found there alone."""
    groups: dict[tuple[str, str | None, str | None], list[FinetrialError]] = {}
    for error in errors:
        place = _PLACE.match(error.what)
        kind = error.what if place is None else f"{place['file']}:{error.what[place.end() :]}"
        groups.setdefault((kind, error.expected, error.fix), []).append(error)
    return list(groups.values())


def _as_line(group: Sequence[FinetrialError]) -> str:
    """The first mistake of a kind, and the lines in which it stands again."""
    places = [place["line"] for error in group[1:] if (place := _PLACE.match(error.what))]
    if not places:
        return str(group[0])
    named, more = places[:_LINES], len(places) - _LINES
    lines = ", ".join(named) + (f" and {more:,} more" if more > 0 else "")
    return f"{str(group[0]).rstrip('.')}. The same in line{'s' if len(places) > 1 else ''} {lines}."


class Mistakes:
    """Gather the user's mistakes, so that all are named at once and not only the first."""

    def __init__(self) -> None:
        self.errors: list[FinetrialError] = []
        self._known: set[str] = set()
        self._more = 0

    @contextlib.contextmanager
    def gathering(self) -> Iterator[None]:
        """Keep the mistake that the block raises, and go on behind it."""
        try:
            yield
        except UserError as error:
            self.add(error)

    def add(self, error: FinetrialError) -> None:
        """Keep a mistake, or the several that it stands for, each once."""
        found = error.errors if isinstance(error, UserErrors) else (error,)
        self._more += error.count - len(found) if isinstance(error, UserErrors) else 0
        for one in found:
            if str(one) in self._known:
                continue
            self._known.add(str(one))
            if len(self.errors) < _KEPT:
                self.errors.append(one)
            else:
                self._more += 1

    def __bool__(self) -> bool:
        return bool(self.errors)

    def error(self) -> FinetrialError | None:
        """The one mistake, or all of them as one error; None where there is none."""
        if not self.errors:
            return None
        if len(self.errors) == 1 and not self._more:
            return self.errors[0]
        return UserErrors(self.errors, more=self._more)

    def raise_all(self) -> None:
        """Raise what was gathered, if anything was."""
        if (error := self.error()) is not None:
            raise error


def make_all(make: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]:
    """`make` of every item. Raises the mistakes of all items at once."""
    made: list[Made] = []
    kept: list[FinetrialError] = []
    count = 0
    for item in items:
        try:
            made.append(make(item))
        except UserError as error:
            count += 1
            if len(kept) < _KEPT:
                kept.append(error)
    if len(kept) == 1:
        raise kept[0]
    if kept:
        raise UserErrors(kept, more=count - len(kept))
    return made


class AnswerIsNo(FinetrialError):
    """The question was sound and its answer is no: does not fit, unreachable, does not verify. Exit status 1."""

    exit_status = 1


class EndsRun(FinetrialError):
    """What one arm met ends the whole run: the processes that work together are not in step any more."""


class MissingPackage(UserError):
    """An optional package is needed for what was asked."""

    def __init__(self, package: str, *, extra: str | None, purpose: str) -> None:
        """`extra` names the extra of finetrial that brings the package; None where none does."""
        wanted = package if extra is None else f"'finetrial[{extra}]'"
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed", fix=f"pip install {wanted}"
        )


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like `name`, or None when none is near."""
    matches = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> UserError:
    """The error for a name that is none of `allowed`: it lists them and names the nearest."""
    names = sorted(allowed)
    close = nearest(name, names)
    return UserError(
        f"unknown {kind} {name!r}",
        expected="one of " + ", ".join(names),
        fix=f"Did you mean {close!r}?" if close else None,
    )
