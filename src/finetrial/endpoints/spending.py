"""Keep what may still be spent on an endpoint, over restarts and over the requests that are under way."""

from __future__ import annotations

import threading

from finetrial.endpoints.client import Reply
from finetrial.endpoints.setting import Budget, TokenPrices

# Where an endpoint counts no tokens: English has about four characters a token, so this errs on the dear side.
# Assumption
_CHARACTERS_A_TOKEN = 3


class Spending:
    """Requests and money, counted when a request leaves, so that those under way are never beyond the limit."""

    def __init__(
        self,
        budget: Budget,
        prices: TokenPrices | None,
        *,
        max_tokens: int,
        requests: int,
        money: float,
    ) -> None:
        """`max_tokens` an answer may have; `requests` and `money` were spent before."""
        self._budget, self._prices, self._max_tokens = budget, prices, max_tokens
        self._requests, self._money = requests, money
        self._lock = threading.Lock()
        self.is_spent = False

    def take(self, characters: int) -> bool:
        """Whether one more request of so many characters may leave; then it is counted, in money at its dearest."""
        limit, dearest = self._budget, self._dearest(characters)
        with self._lock:
            if (limit.requests is not None and self._requests >= limit.requests) or (
                limit.money is not None and self._money + dearest > limit.money
            ):
                self.is_spent = True
                return False
            self._requests += 1
            self._money += dearest
            return True

    def settle(self, reply: Reply, *, characters: int) -> float | None:
        """Put what a reply's requests really cost in place of their dearest, and give that back; None: unknown."""
        cost = None
        if reply.raw is not None and self._prices is not None:
            read, written = reply.prompt_tokens, reply.generated_tokens
            cost = self._prices.cost(
                prompt_tokens=self._tokens_of(characters) if read is None else read,
                generated_tokens=self._max_tokens if written is None else written,
            )
        with self._lock:
            self._money += (cost or 0.0) - reply.requests * self._dearest(characters)
        return cost

    def _tokens_of(self, characters: int) -> int:
        return characters // _CHARACTERS_A_TOKEN + 1

    def _dearest(self, characters: int) -> float:
        if self._prices is None:
            return 0.0
        return self._prices.cost(prompt_tokens=self._tokens_of(characters), generated_tokens=self._max_tokens)
