"""Keep what a model judge may still spend, over restarts and over the requests that are under way."""

from __future__ import annotations

import threading

from finetrial.store.judge_records import Spent
from finetrial.trial.judge_questions import Question
from finetrial.trial.judges import JudgeSetting

# Where an endpoint counts no tokens: English has about four characters a token, so this errs on the dear side.
# Assumption
_CHARACTERS_A_TOKEN = 3


class JudgeBudget:
    """Requests and money, counted when a request leaves, so that those under way are never beyond the limit."""

    def __init__(self, judge: JudgeSetting, *, so_far: Spent) -> None:
        self._judge = judge
        self._requests = so_far.requests
        self._money = so_far.money or 0.0
        self._lock = threading.Lock()
        self.is_spent = False

    def take(self, question: Question) -> bool:
        """Whether one more request for this question may leave; then it is counted, in money at its dearest."""
        limit, dearest = self._judge.budget, self._dearest(question)
        with self._lock:
            if (limit.requests is not None and self._requests >= limit.requests) or (
                limit.money is not None and self._money + dearest > limit.money
            ):
                self.is_spent = True
                return False
            self._requests += 1
            self._money += dearest
            return True

    def settle(self, question: Question, *, requests: int, cost: float | None) -> None:
        """Put what the requests for a question really cost in place of their dearest; None: nothing is known."""
        with self._lock:
            self._money -= requests * self._dearest(question)
            self._money += cost or 0.0

    def cost(self, question: Question, *, prompt_tokens: int | None, generated_tokens: int | None) -> float | None:
        """What one answered request cost; None without prices."""
        prices = self._judge.prices
        if prices is None:
            return None
        read = prompt_tokens if prompt_tokens is not None else self._prompt_tokens(question)
        written = generated_tokens if generated_tokens is not None else self._judge.max_tokens
        return (read * prices.input_million + written * prices.output_million) / 1e6

    def _prompt_tokens(self, question: Question) -> int:
        return sum(len(content) for _, content in question.messages) // _CHARACTERS_A_TOKEN + 1

    def _dearest(self, question: Question) -> float:
        return self.cost(question, prompt_tokens=None, generated_tokens=None) or 0.0
