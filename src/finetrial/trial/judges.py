"""Define the keys by which a trial file names model judges, and when grading may stop."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from finetrial.endpoints.setting import Budget, Endpoint, TokenPrices
from finetrial.methods.method import NonEmpty
from finetrial.trial.setting_types import Strict


class JudgeSetting(Strict):
    """A model that judges: over the wire, or loaded here and drawn from as an arm is."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=40)]
    endpoint: Endpoint | None = None
    model: NonEmpty | None = None  # hub id or local folder
    rubric: NonEmpty | None = None  # what is asked; None: the trial's criterion
    scale: Literal["good_bad", "1-5", "pairs"] = "good_bad"
    order: Literal["both", "one"] = "both"  # pairs: which text stands first; `one` is drawn for each pair
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=300, ge=8)  # of an answer
    concurrency: int = Field(default=4, ge=1, le=256)  # requests under way at once
    timeout_seconds: float = Field(default=120, gt=0)
    attempts: int = Field(default=5, ge=1)  # at one question, where the server is busy, broken or silent
    backoff_seconds: float = Field(default=1.0, ge=0)  # before the second attempt; twice that before the third
    budget: Budget = Budget()
    prices: TokenPrices | None = None
    family: NonEmpty | None = None  # of models, such as llama; None: read off the model's name
    seed: int = 0

    @model_validator(mode="after")
    def _one_place(self) -> JudgeSetting:
        if (self.endpoint is None) == (self.model is None):
            raise ValueError("a judge has either an `endpoint` or a `model`")
        if self.budget.money is not None and self.prices is None:
            raise ValueError("a budget in money needs `prices: {input_million, output_million}`")
        return self

    @property
    def model_name(self) -> str:
        """The model, as the endpoint or the trial file names it."""
        return self.endpoint.model if self.endpoint is not None else str(self.model)


class Stopping(Strict):
    """Grading that may be looked at at any time: what counts as good enough, and how often it may be wrong."""

    margin: float = Field(gt=0, lt=1)  # of the share of good answers
    alpha: float = Field(default=0.05, gt=0, lt=0.5)


# Families of models by what their names begin with; a warning for people, so that a miss costs little. Assumption
_FAMILIES = (
    ("llama", r"llama|smollm|vicuna|alpaca|hermes|tulu"),
    ("qwen", r"qwen|qwq"),
    ("gpt", r"gpt-?[345o]|chatgpt|\bo[134](-|\b)"),
    ("gpt2", r"gpt-?2|distilgpt"),
    ("mistral", r"mistral|mixtral|ministral|zephyr"),
    ("gemma", r"gemma|gemini"),
    ("claude", r"claude"),
    ("phi", r"\bphi"),
    ("deepseek", r"deepseek"),
    ("falcon", r"falcon"),
    ("olmo", r"olmo"),
    ("pythia", r"pythia|gpt-?neo"),
)


def family_of(model: str) -> str | None:
    """The family that a model's name tells of; None where it tells none."""
    name = model.rsplit("/", 1)[-1].lower()
    return next((family for family, pattern in _FAMILIES if re.search(pattern, name)), None)
