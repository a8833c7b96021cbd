"""Let a model in this process answer a judge's questions, drawn as an arm's answers are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetrial.endpoints.client import Reply
from finetrial.errors import UserError
from finetrial.models.device import choose_precision, pick_device
from finetrial.models.encode import encode_prompt, end_ids
from finetrial.models.loading import load_model, load_tokenizer
from finetrial.models.own_forward import context_left
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample import sample_arm
from finetrial.sampling.sampling_way import Way
from finetrial.sampling.way_probe import choose_way
from finetrial.trial.examples import Example, Message
from finetrial.trial.form import Form
from finetrial.trial.judge_questions import Question
from finetrial.trial.judges import JudgeSetting
from finetrial.trial.resolve import Decoding
from finetrial.trial.trial_file import LoadedTrial


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The judge's model in memory."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    way: Way
    ends: frozenset[int]


class LocalJudge:
    """One judge in this process. It answers one question at a time, and nothing constrains its words."""

    def __init__(self, judge: JudgeSetting, loaded: LoadedTrial) -> None:
        """The model is loaded at the first question."""
        assert judge.model is not None
        self._judge, self._source = judge, loaded.model_source(judge.model)
        self._trusted = loaded.trial.trust_remote_code
        self._lock = threading.Lock()
        self._held: _Loaded | None = None

    def _load(self) -> _Loaded:
        device = pick_device()
        model = load_model(
            self._source,
            dtype=choose_precision("auto", device=device),
            device=device,
            trust_remote_code=self._trusted,
        )
        tokenizer = load_tokenizer(self._source, trust_remote_code=self._trusted)
        if not tokenizer.chat_template:
            raise UserError(
                f"{self._judge.model} has no chat template, so judge {self._judge.name} cannot be asked",
                fix="Name a chat model under judging.judges, or an endpoint.",
            )
        return _Loaded(model, tokenizer, choose_way(model, tokenizer).way, end_ids(tokenizer, chat=True))

    def ask(self, question: Question, *, may_send: Callable[[], bool]) -> Reply:
        if not may_send():
            return Reply(None, "the budget is spent", 0)
        with self._lock:
            if self._held is None:
                self._held = self._load()
            return self._answer(self._held, question)

    def _answer(self, held: _Loaded, question: Question) -> Reply:
        turns = tuple(Message(role, content) for role, content in question.messages)
        example = Example(
            id=question.request_hash,
            origin=f"the question about {question.cell_id}",
            prompt=turns[-1].content,
            references=(),
            fields={},
            messages=turns,
        )
        positions = context_left(held.model)
        room = None if positions is None else positions - self._judge.max_tokens
        try:
            prompt = encode_prompt(
                example, tokenizer=held.tokenizer, form=Form(chat=True), max_tokens=room, overlong="refuse"
            )
        except UserError as error:  # this text is too long for the judge; others may not be
            return Reply(None, error.what, 1)
        task = PromptTask(example.id, None, prompt.text, prompt.token_ids, (), example.prompt)
        decoding = Decoding(
            per_prompt=1,
            max_new_tokens=self._judge.max_tokens,
            temperature=self._judge.temperature,
            top_p=1.0,
            seed=self._judge.seed,
        )
        (sample,) = sample_arm(
            held.model,
            held.tokenizer,
            [task],
            decoding=decoding,
            arm=self._judge.name,
            ends=held.ends,
            way=held.way,
        )
        return Reply(
            raw=sample.text,
            error=None,
            requests=1,
            answered_by=self._judge.model,
            finish_reason="length" if sample.end_reason == "length" else "stop",
            prompt_tokens=len(prompt.token_ids),
            generated_tokens=sample.tokens,
        )
