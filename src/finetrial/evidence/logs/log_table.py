"""List the formats of logs, and read a file or a folder of them.

A new format is one module in this folder and one row here. Installed packages add theirs through the entry-point
group `finetrial.logs`: each entry point is a LogFormat, or a tuple of them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from finetrial.evidence.logs.answer_files import ALPACA, MT_BENCH
from finetrial.evidence.logs.inspect_log import INSPECT
from finetrial.evidence.logs.lm_eval_log import LM_EVAL
from finetrial.evidence.logs.log_format import LogFile, LogFormat
from finetrial.evidence.logs.openai_evals_log import OPENAI_EVALS
from finetrial.evidence.logs.promptfoo_log import PROMPTFOO
from finetrial.installed import installed
from finetrial.store.compressed_files import kind_of

LOGS: tuple[LogFormat, ...] = (LM_EVAL, INSPECT, PROMPTFOO, OPENAI_EVALS, ALPACA, MT_BENCH)
GROUP = "finetrial.logs"
SUFFIXES = (".jsonl", ".json", ".eval")


def all_logs() -> tuple[LogFormat, ...]:
    """LOGS, then those that installed packages add. Raises UserError where one of these cannot be had."""
    return (*LOGS, *_installed(tuple(sys.path)))


@functools.lru_cache(maxsize=1)
def _installed(search_path: tuple[str, ...]) -> tuple[LogFormat, ...]:
    """`search_path` is where packages are looked for: another path, other packages."""
    taken = [log.name for log in LOGS]
    found = installed(GROUP, noun="log format", is_one=_is_format, name=lambda log: log.name, taken=taken)
    return tuple(one.value for one in found)


def _is_format(value: object) -> TypeGuard[LogFormat]:
    return isinstance(value, LogFormat)


def _format_of(file: LogFile) -> LogFormat | None:
    return next(
        (log for log in all_logs() if file.kind in log.suffixes and log.is_one(file)),
        None,
    )


def log_files(folder: Path) -> tuple[Path, ...]:
    """The logs in a folder and below it, in the order of their names; none in a folder of something else."""
    found = sorted(path for path in folder.rglob("*") if kind_of(path) in SUFFIXES and path.is_file())
    return tuple(path for path in found if _format_of(LogFile(path)) is not None)


def read_logs(path: Path) -> list[tuple[str, Mapping[str, Any]]] | None:
    """The rows of a log, or of all logs in a folder, as a file of outputs has them; None where it is no log.

    Where there are several tasks, prompts of one task are one group: they count together as one unit.
    """
    files = log_files(path) if path.is_dir() else (path,)
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for name in files:
        file = LogFile(name)
        log = _format_of(file)
        if log is None:
            return None
        rows += log.rows(file)
    if not rows:
        return None
    tasks = {row.get("task") for _, row in rows} - {None}
    if len(tasks) > 1:
        rows = [(where, {"group": row.get("task"), **row}) for where, row in rows]
    return rows
