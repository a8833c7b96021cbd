"""What does a user read when something they can mend went wrong?

Every such error has four parts: what went wrong, what was found, what was expected, and how to mend it.
`assert` is for our own invariants; these are for the user's world.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FinetrialError(Exception):
    """Base of the errors that are shown as one line and never as a traceback."""

    exit_status = 2

    def __init__(self, what: str, *, got: object = None, expected: object = None, fix: str | None = None) -> None:
        self.what = what
        self.got = None if got is None else str(got)
        self.expected = None if expected is None else str(expected)
        self.fix = fix
        super().__init__(str(self))

    def as_dict(self) -> dict[str, str | None]:
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


class AnswerIsNo(FinetrialError):
    """The question was sound and its answer is no: does not fit, unreachable, does not verify. Exit status 1."""

    exit_status = 1


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
