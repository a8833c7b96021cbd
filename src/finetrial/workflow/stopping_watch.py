"""Watch a grading that may stop at any time, in a process of its own, and write down only whether it is enough.

    python -m finetrial.workflow.stopping_watch FOLDER

It ends with the process that started it. The grading server never holds the key: it reads stopping.json.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from finetrial.errors import FinetrialError
from finetrial.evidence.grading_stand import grading_stand
from finetrial.store.grades import grading_state
from finetrial.store.layout import TrialFolder
from finetrial.store.stopping_record import write_stand

_PAUSE_SECONDS = 1.0


def look(folder: TrialFolder) -> None:
    """Write the answer once, where the trial declares stopping."""
    stand = grading_stand(folder)
    if stand is not None:
        write_stand(folder, stand)


def watch(folder: TrialFolder, *, parent: int) -> None:
    """Look again whenever something was graded, until the parent process is gone."""
    seen = -1
    while os.getppid() == parent:
        with contextlib.suppress(FinetrialError):  # a busy database is read at the next look
            events = grading_state(folder).events
            if events != seen:
                look(folder)
                seen = events
        time.sleep(_PAUSE_SECONDS)


@contextlib.contextmanager
def watching(folder: TrialFolder) -> Iterator[None]:
    """Keep a watcher beside the grading server, where the trial declares stopping."""
    settings = grading_state(folder).settings
    if settings is None or settings.stopping is None:
        yield
        return
    command = [sys.executable, "-m", __name__, str(folder.root.resolve()), str(os.getpid())]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        watch(TrialFolder(Path(sys.argv[1])), parent=int(sys.argv[2]))
