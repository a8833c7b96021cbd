"""Ask a server for an arm's answers: the trial's own prompts, over the wire.

Every request and its raw answer are on the disk (served/<arm>.jsonl) before the sample is handed on, so that an
answered question is never paid twice: not after a kill, nor when a setting was changed and changed back.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetrial.endpoints.asking import as_they_come
from finetrial.endpoints.client import CHAT, PLAIN, Client, Reply
from finetrial.endpoints.setting import ArmEndpoint
from finetrial.endpoints.spending import Spending
from finetrial.errors import AnswerIsNo, UserError
from finetrial.methods.served.served_method import SAMPLER
from finetrial.sampling.elsewhere_arm import ElsewhereArm
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample_seed import sample_seed
from finetrial.sampling.sampler import ArmToSample, LoadedArm, OnProgress
from finetrial.sampling.stops import answer_of, first_stop
from finetrial.sampling.strip import answer_start, opens_block
from finetrial.sampling.usage import Usage
from finetrial.store.hashes import hash_value
from finetrial.store.model_answers import (
    ModelAnswer,
    append_answer,
    cut_torn_line,
    read_answers,
    request_hash,
    spent,
    words_by_question,
)
from finetrial.store.records import EndReason, Sample
from finetrial.trial.resolve import Decoding, SampledArm

_MOST_STOPS = 4  # that OpenAI's API takes; the others are looked for in the answer
_FAILURES_IN_A_ROW = 3  # requests without words, and the server is taken to be down. Assumption


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """One answer that is asked for."""

    prompt: PromptTask
    index: int
    seed: int
    path: str
    messages: tuple[tuple[str, str], ...]  # a plain prompt is one, of no role
    parameters: Mapping[str, Any]
    hash: str
    body: Mapping[str, Any]

    @property
    def characters(self) -> int:
        return sum(len(content) for _, content in self.messages)


def _parameters(decoding: Decoding, *, seed: int) -> dict[str, Any]:
    """What a server is told of sampling; fields beyond OpenAI's, which vLLM and llama.cpp take, only where set."""
    found: dict[str, Any] = {
        "max_tokens": decoding.max_new_tokens,
        "temperature": decoding.temperature,
        "seed": seed % 2**31,  # some servers take 32 bits
    }
    if decoding.temperature > 0:
        found["top_p"] = decoding.top_p
    if decoding.stop:
        found["stop"] = list(decoding.stop[:_MOST_STOPS])
    further = {"top_k": decoding.top_k, "min_p": decoding.min_p or None}
    further["repetition_penalty"] = None if decoding.repetition_penalty == 1 else decoding.repetition_penalty
    return found | {key: value for key, value in further.items() if value is not None}


def _request(prompt: PromptTask, *, index: int, arm: SampledArm, endpoint: ArmEndpoint) -> _Request:
    seed = sample_seed(arm.decoding.seed, prompt_id=prompt.prompt_id, index=index)
    parameters = _parameters(arm.decoding, seed=seed)
    is_chat = bool(prompt.turns)
    messages = tuple((turn.role, turn.content) for turn in prompt.turns) if is_chat else (("", prompt.text),)
    shown: dict[str, Any] = {"prompt": prompt.text}
    if is_chat:
        shown = {"messages": [turn.as_row for turn in prompt.turns]}
        if prompt.tools:
            shown["tools"] = list(prompt.tools)
    path = CHAT if is_chat else PLAIN
    return _Request(
        prompt=prompt,
        index=index,
        seed=seed,
        path=path,
        messages=messages,
        parameters=parameters,
        hash=request_hash(
            model=endpoint.model, address=endpoint.url, parameters=parameters | {"path": path}, messages=shown
        ),
        body={"model": endpoint.model, **shown, **parameters, "stream": False},
    )


def _row(request: _Request, reply: Reply, *, arm: str, endpoint: ArmEndpoint, cost: float | None) -> ModelAnswer:
    return ModelAnswer(
        request_hash=request.hash,
        cell_id=f"{arm}/{request.prompt.prompt_id}/{request.index}",
        order=None,
        model=endpoint.model,
        parameters=dict(request.parameters),
        messages=request.messages,
        raw=reply.raw,
        raw_hash=None if reply.raw is None else hash_value(reply.raw),
        answered_by=reply.answered_by,
        finish_reason=reply.finish_reason,
        constrained=False,
        prompt_tokens=reply.prompt_tokens,
        generated_tokens=reply.generated_tokens,
        cost=cost,
        attempts=reply.requests,
        error=reply.error,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        seconds=reply.seconds,
    )


def _sample(request: _Request, answer: ModelAnswer, *, arm: SampledArm) -> Sample:
    """The record of an answer: its text up to the first stop, as a sample that is drawn here is cut."""
    assert answer.raw is not None
    prompt, stops, strip = request.prompt, arm.decoding.stop, arm.decoding.strip
    text = answer.raw
    end: EndReason = "length" if answer.finish_reason == "length" else "end_token"
    start = answer_start(text, strip=strip, opened=opens_block(prompt.text, strip=strip))
    place = None if start is None else first_stop(text, stops=stops, start=start)
    if place is not None:
        text, end = text[:place], "stop_string"
    if stops:
        text = answer_of(text)
    return Sample(
        id=f"{arm.name}/{prompt.prompt_id}/{request.index}",
        prompt_id=prompt.prompt_id,
        group=prompt.group,
        arm=arm.name,
        index=request.index,
        prompt=prompt.text,
        text=text.removeprefix(" "),
        token_ids=None,
        references=prompt.references,
        end_reason=end,
        logprob=None,
        tokens=answer.generated_tokens,
        seconds=answer.seconds,
        seed=request.seed,
        source=prompt.source,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


@dataclass(slots=True)
class EndpointArm(ElsewhereArm):
    """One arm behind a server."""

    arm: SampledArm
    endpoint: ArmEndpoint
    client: Client
    path: Path
    _used: list[ModelAnswer] = field(default_factory=list)

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=_mean([row.prompt_tokens for row in self._used]),
            generated_tokens=_mean([row.generated_tokens for row in self._used]),
            seconds=_mean([row.seconds for row in self._used]),
            money=_mean([row.cost for row in self._used]),
        )

    def sample(self, prompts: Sequence[PromptTask], *, on_progress: OnProgress) -> Iterator[Sample]:
        """Yield what was answered before, then every answer as it comes.

        Raises AnswerIsNo where the budget was spent or some questions were not answered; what came is kept.
        """
        cut_torn_line(self.path)
        known = read_answers(self.path)
        words, so_far = words_by_question(known), spent(known)
        wanted = [
            _request(prompt, index=index, arm=self.arm, endpoint=self.endpoint)
            for prompt in prompts
            for index in range(self.arm.decoding.per_prompt)
            if index not in prompt.drawn
        ]
        done = 0
        for request in wanted:
            if (answer := words.get(request.hash)) is not None:
                done += 1
                self._used.append(answer)
                yield _sample(request, answer, arm=self.arm)
        on_progress(0, done)
        spending = Spending(
            self.endpoint.budget,
            self.endpoint.prices,
            max_tokens=self.arm.decoding.max_new_tokens,
            requests=so_far.requests,
            money=so_far.money or 0.0,
        )
        open_requests = [request for request in wanted if request.hash not in words]
        failed, in_a_row, error = 0, 0, None
        for request, answer in self._answers(open_requests, spending=spending):
            append_answer(self.path, answer)
            if answer.raw is None:
                failed, in_a_row, error = failed + 1, in_a_row + 1, answer.error
                if in_a_row >= _FAILURES_IN_A_ROW + self.endpoint.concurrency - 1:
                    break
                continue
            done, in_a_row = done + 1, 0
            self._used.append(answer)
            on_progress(answer.generated_tokens or 0, done)
            yield _sample(request, answer, arm=self.arm)
        if done < len(wanted):
            raise AnswerIsNo(
                f"arm {self.arm.name}: {done:,} of {len(wanted):,} answers have come",
                got="its budget is spent" if spending.is_spent else error,
                fix="Run it again: it asks only what is missing; a spent budget must be raised first.",
            )

    def _answers(
        self, requests: Sequence[_Request], *, spending: Spending
    ) -> Iterator[tuple[_Request, ModelAnswer]]:
        def ask(request: _Request) -> Reply:
            may_send = functools.partial(spending.take, request.characters)
            return self.client.ask(request.body, path=request.path, may_send=may_send)

        for request, reply in as_they_come(
            requests,
            ask,
            concurrency=self.endpoint.concurrency,
            go_on=lambda: not spending.is_spent,
            stop=self.client.stop,
        ):
            cost = spending.settle(reply, characters=request.characters)
            if reply.requests:
                yield request, _row(request, reply, arm=self.arm.name, endpoint=self.endpoint, cost=cost)


@dataclass(frozen=True, slots=True)
class EndpointSampler:
    """Asks servers that speak OpenAI's completions."""

    name: str = SAMPLER
    log_likelihoods: bool = False
    common_random_numbers: bool = False

    def load(self, to_sample: ArmToSample) -> LoadedArm:
        """Raises UserError for an arm without an endpoint, or without the key that it names."""
        arm, endpoint = to_sample.arm, to_sample.arm.method.served_by
        if endpoint is None or to_sample.served is None:
            raise UserError(
                f"arm {arm.name} names no endpoint", fix="Set arms.NAME.endpoint: {url: ..., model: ...}."
            )
        client = Client(
            endpoint,
            whose=f"arm {arm.name}",
            timeout_seconds=endpoint.timeout_seconds,
            attempts=endpoint.attempts,
            backoff_seconds=endpoint.backoff_seconds,
            seed=arm.decoding.seed,
        )
        return EndpointArm(arm, endpoint, client, to_sample.served)


ENDPOINT_SAMPLER = EndpointSampler()
