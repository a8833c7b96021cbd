"""List the executors, and find one by what stands after `--on`.

A new executor is one file in this folder and one row here. Installed packages add theirs through the entry-point
group `finetrial.executors`: each entry point is an executor, or a tuple of executors.
"""

from __future__ import annotations

import functools
import sys

from finetrial.errors import unknown_name
from finetrial.installed import installed
from finetrial.workflow.executors import HERE, Executor, is_executor
from finetrial.workflow.ray_executor import RAY
from finetrial.workflow.slurm_executor import SLURM

EXECUTORS: tuple[Executor, ...] = (HERE, RAY, SLURM)
GROUP = "finetrial.executors"


def all_executors() -> tuple[Executor, ...]:
    """EXECUTORS, then those that installed packages add. Raises UserError where one of these cannot be had."""
    return (*EXECUTORS, *_installed(tuple(sys.path)))


@functools.lru_cache(maxsize=1)
def _installed(search_path: tuple[str, ...]) -> tuple[Executor, ...]:
    """`search_path` is where packages are looked for: another path, other packages."""
    names = [executor.name for executor in EXECUTORS]
    found = installed(GROUP, noun="executor", is_one=is_executor, name=lambda one: one.name, taken=names)
    return tuple(one.value for one in found)


def executor_at(place: str) -> Executor:
    """The executor of `here`, `ray` or `ray://HOST:PORT`. Raises UserError for a name that is none's."""
    name, _, address = place.partition("://")
    found = {executor.name: executor for executor in EXECUTORS}
    if name not in found:  # ours need no look at what is installed
        found = {executor.name: executor for executor in all_executors()}
    if name not in found:
        raise unknown_name("place after --on", name, found)
    return found[name].at(address) if address else found[name]
