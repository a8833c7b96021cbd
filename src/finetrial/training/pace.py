"""How long the rest of a run will take, from what its own steps, evaluations and checkpoints took so far.

Steps differ in tokens, evaluations are few and heavy: each is timed by its work (`engine.steps`), not counted.
"""

from __future__ import annotations

from itertools import accumulate

from finetrial.training.step_plan import RunWork

_COLD_STEPS = 2  # warm up memory, caches and kernels, and say nothing of the rest. Assumption
_WARM_STEPS = 3  # before an answer is given, and ...
_WARM_SHARE = 0.03  # ... this share of the steps' work, or ...
_WARM_SECONDS = 20.0  # ... so many seconds of it. All assumptions


class _Rate:
    """Seconds a unit of work, over everything timed."""

    def __init__(self) -> None:
        self.times, self._seconds, self._work = 0, 0.0, 0.0

    def add(self, seconds: float, *, work: float = 1.0) -> None:
        self.times, self._seconds, self._work = self.times + 1, self._seconds + seconds, self._work + work

    @property
    def seconds(self) -> float:
        return self._seconds

    def value(self) -> float | None:
        return self._seconds / self._work if self._work else None


class Pace:
    """Times one run. What ran before a pause is not in it."""

    def __init__(self, work: RunWork, *, checkpoint_seconds: float) -> None:
        """`checkpoint_seconds` lie between two checkpoints."""
        self._work, self._checkpoint_seconds = work, checkpoint_seconds
        # work from a step to the end
        self._steps_left = [0.0, *accumulate(reversed(work.steps))][::-1]
        self._steps, self._saves = _Rate(), _Rate()
        self._evaluations, self._first_evaluation = _Rate(), _Rate()
        self._seen, self._end = 0, work.end
        self._mark, self._aside = 0.0, 0.0  # when the last step ended, and what was no step since

    def start(self, *, now: float) -> None:
        """The first step begins, by a clock in seconds."""
        self._mark, self._aside = now, 0.0

    def stepped(self, step: int, *, now: float) -> None:
        """The step with this index has ended; what was evaluated or saved since the last one is no part of it."""
        seconds = now - self._mark - self._aside
        self._mark, self._aside = now, 0.0
        self._seen += 1
        if self._seen > _COLD_STEPS:
            self._steps.add(seconds, work=self._work.steps[step])

    def evaluated(self, step: int, *, seconds: float) -> None:
        """The evaluation after `step` steps took `seconds`."""
        rate = self._evaluations if self._first_evaluation.times else self._first_evaluation
        rate.add(seconds, work=self._work.evaluations[step])
        self._aside += seconds

    def saved(self, *, seconds: float) -> None:
        """A checkpoint took `seconds`."""
        self._saves.add(seconds)
        self._aside += seconds

    def seconds_left(self, done: int, *, since_saved: float = 0.0) -> float | None:
        """The time until the end after `done` steps, `since_saved` seconds after the last checkpoint.

        None before enough steps were timed.
        """
        rate, left = self._steps.value(), self._steps_left[done]
        whole = self._steps_left[0]
        warm = self._steps.seconds >= _WARM_SECONDS or whole - left >= _WARM_SHARE * whole
        if rate is None or self._steps.times < _WARM_STEPS or not warm:
            return None
        # a unit of work is one token forward in steps as in evaluations; the first evaluation ran cold
        evaluating = self._evaluations.value() or min(rate, self._first_evaluation.value() or rate)
        evaluations = sum(work for step, work in self._work.evaluations.items() if step > done)
        seconds = left * rate + (evaluations + self._end) * evaluating
        saves = (seconds + since_saved) // self._checkpoint_seconds if self._checkpoint_seconds > 0 else left
        return seconds + saves * (self._saves.value() or 0.0)
