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


@contextlib.contextmanager
def leading(place: str) -> Iterator[Executor]:
    """The executor of the place, in the first process or where there is one alone. The others follow it, and end
    with it.

    Raises UserError for another place than these processes, and SystemExit at the end of those that follow.
    """
    executor = executor_at(place)
    with joined() as ranks:
        if not ranks.is_alone and executor.name != HERE.name:
            raise UserError(
                f"several processes were started to tune together, and --on {place} runs steps elsewhere",
                fix="Leave out either torchrun or --on.",
            )
        if ranks.is_first:
            yield executor
            return
        follow_tuning(ranks, SharedBase().prepare)
    raise SystemExit(0)
