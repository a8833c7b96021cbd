"""Define and keep what models were asked and answered: a row a question in judges/<name>.jsonl, served/<arm>.jsonl.

A row is on the disk before the next question of its place is sent, so that a judge killed at any moment has lost
what was under way and nothing else. A row cut short by a kill is taken off; rows are otherwise only ever added.
"""

from __future__ import annotations

import json
import os
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import with_config

from finetrial.store.hashes import hash_value
from finetrial.store.records import STRICT, as_object, read_rows

Role = str  # system, user; of chats assistant and others too
Order = typing.Literal["first", "second"]  # which text of a pair stands first


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """One question to a judge, or to an arm behind an endpoint, and what came back."""

    request_hash: str  # of all that decides the answer: model, address, parameters and messages
    cell_id: str  # of an item, or of a pair; of an arm the sample's id
    order: Order | None  # of a pair's two texts; None: one text was judged
    model: str
    parameters: typing.Mapping[str, typing.Any]
    messages: tuple[tuple[Role, str], ...]  # (role, content), word for word
    raw: str | None  # the model's words; None: none came, and the question is asked again
    raw_hash: str | None
    answered_by: str | None  # the model as the endpoint names it
    finish_reason: str | None
    constrained: bool  # the endpoint took a JSON schema
    prompt_tokens: int | None
    generated_tokens: int | None
    cost: float | None  # None: no prices are given
    attempts: int  # requests that were sent for it
    error: str | None  # why no words came
    at: str  # UTC
    seconds: float | None = None  # that the answer took; None: not kept


def request_hash(*, model: str, address: str | None, parameters: object, messages: object) -> str:
    """The identity of a question: the same question to the same model is asked once."""
    return hash_value({"model": model, "address": address, "parameters": parameters, "messages": messages})


def read_answers(path: Path) -> tuple[ModelAnswer, ...]:
    """Every row. Raises UserError for a row that is none; a last line without its end counts as not written."""
    return tuple(read_rows(path, ModelAnswer, torn_end=True)) if path.exists() else ()


def cut_torn_line(path: Path) -> None:
    """Take off what a kill left of a row, before rows are added."""
    content = path.read_bytes() if path.exists() else b""
    if content and not content.endswith(b"\n"):
        with path.open("rb+") as stream:
            stream.truncate(content.rfind(b"\n") + 1)
            os.fsync(stream.fileno())


def append_answer(path: Path, answer: ModelAnswer) -> None:
    """Add a row and wait until the disk has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(as_object(answer), ensure_ascii=False, allow_nan=False) + "\n"
    with path.open("ab") as stream:
        stream.write(line.encode(errors="surrogatepass"))
        stream.flush()
        os.fsync(stream.fileno())


def words_by_question(answers: Iterable[ModelAnswer]) -> dict[str, ModelAnswer]:
    """The answer to each question that has one, by its hash; the first counts."""
    found: dict[str, ModelAnswer] = {}
    for answer in answers:
        if answer.raw is not None:
            found.setdefault(answer.request_hash, answer)
    return found


@dataclass(frozen=True, slots=True)
class Spent:
    """What has been spent so far."""

    requests: int
    prompt_tokens: int
    generated_tokens: int
    money: float | None  # None: no prices were given


def spent(answers: Sequence[ModelAnswer]) -> Spent:
    """Requests, tokens and money of all rows, failures among them."""
    costs = [answer.cost for answer in answers if answer.cost is not None]
    return Spent(
        requests=sum(answer.attempts for answer in answers),
        prompt_tokens=sum(answer.prompt_tokens or 0 for answer in answers),
        generated_tokens=sum(answer.generated_tokens or 0 for answer in answers),
        money=sum(costs) if costs else None,
    )
