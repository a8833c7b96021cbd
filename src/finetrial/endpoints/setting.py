"""Define the keys by which a trial file names a server, the price of its tokens, and what may be spent on it."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_NonEmpty = Annotated[str, Field(min_length=1)]
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Endpoint(_Strict):
    """A server that speaks OpenAI's completions. Its key stays in the environment, never written down."""

    url: _NonEmpty  # up to and without /chat/completions, such as http://127.0.0.1:8000/v1
    model: _NonEmpty  # as the server calls it
    key_env: EnvironmentName | None = None  # the variable that holds the key; None: no key is sent

    @field_validator("url")
    @classmethod
    def _an_address_without_secrets(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"must be an address such as http://127.0.0.1:8000/v1, not {value!r}")
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "holds a user, a password or a query; name the variable that holds the key as `key_env`"
            )
        return value.rstrip("/").removesuffix("/chat/completions").removesuffix("/completions")


class TokenPrices(_Strict):
    """What an endpoint asks, in any one currency, for a million tokens."""

    input_million: float = Field(ge=0)
    output_million: float = Field(ge=0)

    def cost(self, *, prompt_tokens: float, generated_tokens: float) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.input_million + generated_tokens * self.output_million) / 1e6


class Budget(_Strict):
    """What may be spent before it stops, with everything that was answered kept. None: no limit."""

    requests: int | None = Field(default=None, ge=1)  # sent, those that failed and were repeated among them
    money: float | None = Field(default=None, gt=0)


class ArmEndpoint(Endpoint):
    """A server that answers for an arm, and how it is asked."""

    concurrency: int = Field(default=4, ge=1, le=256)  # requests under way at once
    timeout_seconds: float = Field(default=120, gt=0)
    attempts: int = Field(default=5, ge=1)  # at one prompt, where the server is busy, broken or silent
    backoff_seconds: float = Field(default=1.0, ge=0)  # before the second attempt; twice that before the third
    budget: Budget = Budget()
    prices: TokenPrices | None = None

    @model_validator(mode="after")
    def _money_has_prices(self) -> ArmEndpoint:
        if self.budget.money is not None and self.prices is None:
            raise ValueError("a budget in money needs `prices: {input_million, output_million}`")
        return self
