"""List the judges, and find one by its name.

A new judge is one file in this folder and one row here. Installed packages add theirs through the entry-point group
`finetrial.judges`: each entry point is a judge, or a tuple of judges.
"""

from __future__ import annotations

import functools
import sys

from finetrial.errors import unknown_name
from finetrial.installed import installed
from finetrial.judging.judge import Judge, is_judge
from finetrial.judging.model_judge import MODELS
from finetrial.judging.people import PEOPLE

JUDGES: tuple[Judge, ...] = (PEOPLE, MODELS)
GROUP = "finetrial.judges"


def all_judges() -> tuple[Judge, ...]:
    """JUDGES, then those that installed packages add. Raises UserError where one of these cannot be had."""
    return (*JUDGES, *_installed(tuple(sys.path)))


@functools.lru_cache(maxsize=1)
def _installed(search_path: tuple[str, ...]) -> tuple[Judge, ...]:
    """`search_path` is where packages are looked for: another path, other packages."""
    names = [judge.name for judge in JUDGES]
    found = installed(GROUP, noun="judge", is_one=is_judge, name=lambda judge: judge.name, taken=names)
    return tuple(one.value for one in found)


def judge_named(name: str) -> Judge:
    """The judge of this name. Raises UserError where there is none."""
    found = {judge.name: judge for judge in all_judges()}
    if name not in found:
        raise unknown_name("judge", name, found)
    return found[name]
