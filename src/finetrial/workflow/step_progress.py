"""Turn the progress of training and sampling into lines, bars and the forecast of the whole run."""

from __future__ import annotations

import time
from collections.abc import Sequence

from finetrial.training.task import Progress
from finetrial.units import format_seconds, listing
from finetrial.workflow.context import TrialContext


def search_label(arm: str, rate: float) -> str:
    """The name of one rate's run in a search."""
    return f"search {arm}, learning rate {rate:g}"


def tune_label(name: str) -> str:
    """The name of a training run among a run's jobs."""
    return f"tune {name}"


def sample_label(name: str) -> str:
    """The name of an arm's sampling among a run's jobs."""
    return f"sample {name}"


def _whole_run(context: TrialContext, label: str) -> str:
    """What everything still to come takes, in words; empty where that is this job alone, or not known yet."""
    left = None if context.forecast.only(label) else context.forecast.seconds_left()
    return "" if left is None else f"the whole run about {format_seconds(left)}"


class TuningProgress:
    """Hears of every training step."""

    def __init__(self, context: TrialContext, label: str, *, announces: str | None = None) -> None:
        """`label` names the bar; `announces` opens the line that says how long it will take, if one is wanted."""
        self._context, self._listener, self._label, self._announces = context, context.listener, label, announces
        self._micro_tokens: int | None = None

    def __call__(self, progress: Progress) -> None:
        self._context.forecast.progress(self._label, seconds=progress.seconds, seconds_left=progress.seconds_left)
        run = _whole_run(self._context, self._label)
        if progress.seconds_left is not None and self._announces is not None:
            alone = format_seconds(progress.seconds + progress.seconds_left)
            line = f"{self._announces}: {progress.steps:,} steps, about {alone}"
            self._listener.line(f"{line}; {run}" if run else line)
            self._announces = None
        if self._micro_tokens is not None and progress.micro_tokens != self._micro_tokens:
            self._listener.line(
                f"{self._label}: memory ran out; at most {progress.micro_tokens:,} tokens at once from now on, the "
                "effective batch stays"
            )
        self._micro_tokens = progress.micro_tokens
        self._listener.step(
            self._label,
            done=progress.step,
            total=progress.steps,
            detail="; ".join(p for p in ("" if progress.loss is None else f"loss {progress.loss:.3f}", run) if p),
            seconds_left=progress.seconds_left,
        )


class GroupProgress:
    """Hears of every step of arms that are tuned together, and shows one bar for all."""

    def __init__(
        self, context: TrialContext, labels: Sequence[str], *, names: Sequence[str], announces: bool
    ) -> None:
        """`labels` are the arms' jobs; `announces`: a line says how long all will take."""
        self._context, self._labels, self._names, self._announces = context, labels, listing(names), announces
        self._now: dict[str, Progress] = {}

    def __call__(self, place: int, progress: Progress) -> None:
        """The arm at this place has taken a step; its seconds are its share of all."""
        label, self._now[self._labels[place]] = self._labels[place], progress
        self._context.forecast.progress(label, seconds=progress.seconds, seconds_left=progress.seconds_left)
        left = [one.seconds_left for one in self._now.values() if one.step < one.steps]
        known = [seconds for seconds in left if seconds is not None]
        seconds_left = sum(known) if known and len(known) == len(left) == len(self._labels) else None
        if self._announces and seconds_left is not None:
            whole = seconds_left + sum(one.seconds for one in self._now.values())
            self._context.listener.line(
                f"{self._names}: {progress.steps:,} steps each, together, about {format_seconds(whole)}"
            )
            self._announces = False
        losses = [one.loss for one in self._now.values() if one.loss is not None]
        run = _whole_run(self._context, label)
        shown = f"loss {min(losses):.3f} to {max(losses):.3f}" if losses else ""
        self._context.listener.step(
            f"tune {self._names}",
            done=min(one.step for one in self._now.values()),
            total=progress.steps,
            detail="; ".join(part for part in (shown, run) if part),
            seconds_left=seconds_left,
        )


class SamplingProgress:
    """Hears of every decoding step."""

    def __init__(self, context: TrialContext, name: str, *, total: int, longest: int, before: float) -> None:
        """`total` samples of at most `longest` tokens; `before` seconds went by until the first."""
        self._context, self._label, self._total, self._longest = context, sample_label(name), total, longest
        self._before, self._tokens, self._began = before, 0, time.perf_counter()
        self._finished, self._in_finished = 0, 0  # samples that are done, and their tokens

    def __call__(self, tokens: int, finished: int) -> None:
        self._tokens += tokens
        if finished > self._finished:
            self._finished, self._in_finished = finished, self._tokens
        seconds = time.perf_counter() - self._began
        rate = self._tokens / max(seconds, 1e-9)
        left = self._seconds_left(rate)
        self._context.forecast.progress(self._label, seconds=self._before + seconds, seconds_left=left)
        detail = "; ".join(p for p in (f"{rate:,.0f} tokens/s", _whole_run(self._context, self._label)) if p)
        self._context.listener.step(self._label, done=finished, total=self._total, detail=detail, seconds_left=left)

    def _seconds_left(self, rate: float) -> float | None:
        """By the length of the samples that are done; before there are any, by the limit: so long at most."""
        if not self._tokens:
            return None
        length = self._in_finished / self._finished if self._finished else self._longest
        return max(0.0, self._total * length - self._tokens) / rate
