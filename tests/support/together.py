"""Tune a few tiny arms in several processes: `python together.py FOLDER`, with RANK and so on in the shell."""

import contextlib
import os
import signal
import sys
from pathlib import Path

from small_tasks import LORA, make_task

from finetrial.training.arm_setup import prepare
from finetrial.training.loop import follow_tuning, tune_with
from finetrial.training.ranks import joined


def tasks_in(folder, model):
    """A full arm with early stopping, a LoRA arm with dropout, twice, and one that is interrupted."""
    dropped = LORA.model_copy(update={"dropout": 0.1})
    return {
        "full": make_task(folder / "full", model=model, early_stopping=2),
        "lora": make_task(folder / "lora", model=model, method=dropped),
        "again": make_task(folder / "again", model=model, method=dropped),
        "stopped": make_task(folder / "stopped", model=model, method=LORA),
    }


def tune_all(folder):
    with joined() as ranks:
        if not ranks.is_first:
            return follow_tuning(ranks, prepare)
        tasks = tasks_in(folder, str(folder / "model"))
        for name in ("full", "lora", "again"):
            tune_with(tasks[name], prepare)

        def stop_in_the_middle(progress):
            if progress.step == progress.steps // 2:
                os.kill(os.getpid(), signal.SIGINT)

        tune_with(tasks["stopped"], prepare, on_progress=stop_in_the_middle)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        tune_all(Path(sys.argv[1]))
        sys.exit("nobody interrupted it")
