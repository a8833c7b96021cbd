"""Put a judge's questions to the server that its setting names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from finetrial.endpoints.client import Client, Reply
from finetrial.trial.judge_questions import Question
from finetrial.trial.judges import JudgeSetting


class Asker(Protocol):
    """Whoever answers a judge's questions: a server, or a model in this process."""

    def ask(self, question: Question, *, may_send: Callable[[], bool]) -> Reply:
        """The answer. `may_send` is asked before every request, and says whether the budget allows it.

        Raises UserError for what no further question can mend, such as a key that is refused.
        """


class EndpointJudge:
    """One judge behind an address; any number of threads may ask it."""

    def __init__(self, judge: JudgeSetting) -> None:
        """Raises UserError where the variable that should hold the key is empty."""
        assert judge.endpoint is not None
        self._judge, self._model = judge, judge.endpoint.model
        self._client = Client(
            judge.endpoint,
            whose=f"judge {judge.name}",
            timeout_seconds=judge.timeout_seconds,
            attempts=judge.attempts,
            backoff_seconds=judge.backoff_seconds,
            seed=judge.seed,
        )

    def stop(self) -> None:
        """Wait for nothing more: pauses end at once."""
        self._client.stop()

    def ask(self, question: Question, *, may_send: Callable[[], bool]) -> Reply:
        return self._client.ask(self._body(question), may_send=may_send, optional=_constraints(question))

    def _body(self, question: Question) -> dict[str, Any]:
        return {
            "model": self._model,
            "messages": [{"role": role, "content": content} for role, content in question.messages],
            "temperature": self._judge.temperature,
            "max_tokens": self._judge.max_tokens,
            "seed": self._judge.seed,
            "stream": False,
        }


def _constraints(question: Question) -> tuple[dict[str, Any], ...]:
    """The forms in which servers take the schema of an answer: OpenAI's own, and llama-cpp-python's and others'."""
    schema = {"name": "judgement", "strict": True, "schema": question.schema}
    return (
        {"response_format": {"type": "json_schema", "json_schema": schema}},
        {"response_format": {"type": "json_object", "schema": question.schema}},
    )
