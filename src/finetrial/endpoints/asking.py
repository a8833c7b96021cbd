"""Put many questions to one answerer, a few at a time, and hand over every answer as it comes."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from finetrial.endpoints.client import Reply

Asked = TypeVar("Asked")


def as_they_come(
    questions: Iterable[Asked],
    ask: Callable[[Asked], Reply],
    *,
    concurrency: int,
    go_on: Callable[[], bool] = lambda: True,
    stop: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Asked, Reply]]:
    """Every question with its reply; at most `concurrency` are ever under way. Closed early, none is begun.

    `go_on` is asked before each further question, `stop` called at the end. The threads that wait for answers end
    with the process: an interrupt does not wait for a silent server. What `ask` raises is raised here.
    """
    asked: queue.SimpleQueue[tuple[Asked] | None] = queue.SimpleQueue()
    answered: queue.SimpleQueue[tuple[Asked, Reply | BaseException]] = queue.SimpleQueue()

    def work() -> None:
        while (held := asked.get()) is not None:
            (question,) = held
            try:
                answered.put((question, ask(question)))
            except BaseException as error:  # raised again where the answers are read
                answered.put((question, error))

    waiting, under_way = iter(questions), 0
    for question in itertools.islice(waiting, concurrency):
        asked.put((question,))
        threading.Thread(target=work, daemon=True).start()
        under_way += 1
    try:
        while under_way:
            question, reply = answered.get()
            under_way -= 1
            if isinstance(reply, BaseException):
                raise reply
            yield question, reply
            if go_on():
                for following in itertools.islice(waiting, 1):
                    asked.put((following,))
                    under_way += 1
    finally:
        for _ in range(concurrency):
            asked.put(None)
        stop()
