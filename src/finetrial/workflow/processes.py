"""Run a trial in several processes that torchrun or accelerate launch started: the first leads, the others follow.

The first process does what one process does alone. While it tunes an arm the others tune with it; while it samples,
scores and reports they wait.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from finetrial.errors import UserError
from finetrial.training.loop import follow_tuning
from finetrial.training.ranks import joined
from finetrial.training.shared_base import SharedBase
from finetrial.workflow.executor_table import executor_at
from finetrial.workflow.executors import HERE, Executor
from finetrial.workflow.together_session import TOGETHER


@contextlib.contextmanager
def leading(place: str, *, together: bool = False) -> Iterator[Executor]:
    """The executor of the place, in the first process or where there is one alone. The others follow it, and end
    with it.

    `together`: arms that may share their passes do. Raises UserError for another place than these processes, and
    SystemExit at the end of those that follow.
    """
    executor = executor_at(place)
    if together and executor.name != HERE.name:
        raise UserError(
            f"--together tunes arms in one process, and --on {place} tunes each in one of its own",
            fix="Leave out either --together or --on.",
        )
    if together:
        executor = TOGETHER
    with joined() as ranks:
        if not ranks.is_alone and executor.name != HERE.name:
            raise UserError(
                f"several processes were started to tune together, and --on {place} runs steps elsewhere",
                fix="Leave out either torchrun or --on.",
            )
        if together and not ranks.is_alone:
            raise UserError(
                "several processes were started to tune one arm at a time, and --together tunes several in one",
                fix="Leave out either torchrun or --together.",
            )
        if ranks.is_first:
            yield executor
            return
        follow_tuning(ranks, SharedBase().prepare)
    raise SystemExit(0)
