"""Processor time of whole Python processes: other work on the machine must not fail a bound.

A slow machine has it in proportion."""

import os
import subprocess
import sys

_LIBRARIES = "import typer, pydantic, yaml"  # what every command imports
_LIBRARIES_SECONDS = 0.1  # of the machine that bounds are meant for, or a slower one


def _seconds(arguments: list[str]) -> float:
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, arguments
    return usage.ru_utime + usage.ru_stime


def taken_and_allowed(*arguments: str, seconds: float) -> tuple[float, float]:
    """The least processor time of such processes, and the bound: `seconds`.

    Longer only where the libraries alone take more than a tenth of a second. Five of each, and up to twenty where
    the least of so few is above the bound: a shared machine's processor time varies by half of it."""
    pairs: list[tuple[float, float]] = []
    for enough in (5, 10, 20):
        pairs += [(_seconds(list(arguments)), _seconds(["-c", _LIBRARIES])) for _ in range(enough - len(pairs))]
        taken, libraries = (min(each) for each in zip(*pairs, strict=True))
        allowed = seconds * max(1.0, libraries / _LIBRARIES_SECONDS)
        if taken < allowed:
            break
    return taken, allowed
