"""Tune several LoRA arms in one pass: their rows side by side, each frozen weight held once and read once for all.

Every arm is a run of its own, with its optimizer, schedule, norm, clip and files, and ends with the weights that it
has alone but for rounding. One that fails leaves the others going. Arms that a kill left at different steps are
brought level first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from finetrial.errors import EndsRun, FinetrialError, UserError
from finetrial.models.device import DTYPES, choose_precision, pick_device
from finetrial.models.evaluate import default_micro_tokens
from finetrial.models.library_calls import quiet
from finetrial.models.out_of_memory import memory_errors, raises_when_full
from finetrial.store.records import Measured, TrainingPoint
from finetrial.training.arm_run import ArmRun, Taken
from finetrial.training.arm_setup import set_mode
from finetrial.training.checkpoint import Checkpoint, read_checkpoint
from finetrial.training.loop import may_run_on
from finetrial.training.meter import Meter, SharedClock
from finetrial.training.mounted_arms import CannotShare, SharedSetup
from finetrial.training.process import Interrupts, kept_heap
from finetrial.training.ranks import ranks_now
from finetrial.training.shared_base import SharedBase
from finetrial.training.shared_passes import SharedPasses
from finetrial.training.step_plan import check_examples
from finetrial.training.task import Progress, TuneTask, task_fingerprint
from finetrial.trial.examples import Encoded

Outcome = Measured | FinetrialError


def _nothing(*_: object) -> None:
    """Hear nothing."""


@dataclass(frozen=True, slots=True)
class Hears:
    """What is told of one arm: every step, every row of metrics.jsonl, and from which step it goes on."""

    on_progress: Callable[[Progress], None] = _nothing
    on_point: Callable[[TrainingPoint], None] = _nothing
    on_resume: Callable[[int, int], None] = _nothing


def tune_together(
    tasks: Sequence[TuneTask],
    base: SharedBase,
    *,
    hears: Sequence[Hears] | None = None,
) -> list[Outcome]:
    """Tune arms that `pass_groups` found together, with the files that they have alone. Returns each one's outcome.

    Checkpoints are continued, whoever wrote them. Ctrl-C leaves one of every arm and raises KeyboardInterrupt.
    Raises CannotShare, before anything is written, where the arms must be tuned one by one.
    """
    assert ranks_now().is_alone, "several processes tune one arm at a time"
    device = pick_device(tasks[0].device)
    for task in tasks:
        check_examples(task)
    prints = [task_fingerprint(task) for task in tasks]
    saved = [
        read_checkpoint(task.folder / "checkpoint", fingerprint=found)
        for task, found in zip(tasks, prints, strict=True)
    ]
    dtypes = {DTYPES[one.values["precision"]] for one in saved if one is not None}
    if len(dtypes) > 1:
        raise CannotShare("their checkpoints have different precisions")
    dtype = dtypes.pop() if dtypes else choose_precision(tasks[0].precision, device=device)
    clock = SharedClock(len(tasks))

    def whole() -> list[Outcome]:  # what it holds is gone when the heap is handed back
        shared = base.prepare_arms(tasks, dtype=dtype, device=device)
        group = _Group(tasks, shared, clock, prints=prints, saved=saved, hears=hears)
        with quiet(), Interrupts() as interrupts:
            return group.tuned(interrupts)

    with kept_heap(), memory_errors():
        return whole()


class _Group:
    """Arms that are tuned together, by their places."""

    def __init__(
        self,
        tasks: Sequence[TuneTask],
        shared: SharedSetup,
        clock: SharedClock,
        *,
        prints: Sequence[str],
        saved: Sequence[Checkpoint | None],
        hears: Sequence[Hears] | None,
    ) -> None:
        self._clock, self._device = clock, shared.arms[0].device
        self._hears = hears or [Hears()] * len(tasks)
        self._runs: list[ArmRun] = []
        for place, (task, setup, one) in enumerate(zip(tasks, shared.arms, saved, strict=True)):
            values = one.values if one else {}
            meter = Meter(
                self._device,
                seconds_before=values.get("seconds", 0.0),
                peak_before=values.get("peak_bytes") or 0,
                share=partial(clock.seconds, place),
            )
            run = ArmRun(
                task,
                setup,
                meter,
                fingerprint=prints[place],
                saved=one,
                on_point=self._hears[place].on_point,
                measure=partial(self._measure, place),
            )
            if one is not None:
                self._hears[place].on_resume(run.step, run.steps)
            self._runs.append(run)
        before = [one.values["state"]["micro_tokens"] for one in saved if one is not None]
        self._passes = SharedPasses(
            shared, self._runs, micro_tokens=min(before) if before else self._micro_tokens()
        )
        self._outcomes: dict[int, Outcome] = {}
        self._asking: list[int] = []
        self._measured: dict[int, tuple[tuple[str, ...], float | None]] = {}

    def _micro_tokens(self) -> int:
        """What passes at once, of all arms together: on a CPU as much as of one, so that memory is one arm's.

        One arm passes no more than a batch at once, and more at once is no faster: it leaves the cache. A card
        takes as much of each as alone, as long as its width allows; memory that runs out halves it.
        """
        most = max(run.state.micro_tokens for run in self._runs)
        if not raises_when_full(self._device):
            one = self._runs[0]
            return min(most, max(sum(one.lengths[i] for i in batch) for batch in one.batches))
        return max(most, min(default_micro_tokens(self._device), len(self._runs) * most))

    @property
    def _live(self) -> list[int]:
        return [place for place in range(len(self._runs)) if place not in self._outcomes]

    def _each(self, places: Sequence[int], work: Callable[[int], object]) -> None:
        """Do something for each arm. Its mistake is its outcome and leaves the others going."""
        self._asking, self._measured = list(places), {}
        for place in places:
            try:
                work(place)
            except EndsRun:
                raise
            except FinetrialError as error:
                self._outcomes[place] = error
                self._runs[place].setup.optimizer.forget()
                self._clock.work_for(self._live)

    # -- validation

    def _measure(self, place: int, rows: Sequence[Encoded]) -> tuple[float | None, float]:
        """An arm's loss on rows, and its share of the seconds: of all arms that stand at the same point at once."""
        key = tuple(example.example_id for example in rows)
        if place not in self._measured or self._measured[place][0] != key:
            asking = [one for one in self._asking if one not in self._outcomes]
            self._before = self._clock.seconds(place)
            model = self._runs[place].setup.model
            set_mode(model, training=False, model_dropout=False)
            losses = self._passes.mean_losses(asking, rows)
            set_mode(model, training=True, model_dropout=False)
            self._seconds = self._clock.seconds(place) - self._before
            self._measured = {one: (key, loss) for one, loss in zip(asking, losses, strict=True)}
        return self._measured[place][1], self._seconds

    # -- steps

    def tuned(self, interrupts: Interrupts) -> list[Outcome]:
        """Take all steps, and write every arm."""
        self._each(self._live_at_start(fresh=False), lambda place: self._runs[place].begin())
        self._each(self._live_at_start(fresh=True), lambda place: self._runs[place].begin())
        if any(self._runs[place].is_fresh for place in self._live) and raises_when_full(self._device):
            self._passes.try_longest(self._live, interrupts)
        for place in self._live:
            self._runs[place].start_clock()
        while live := self._live:
            if done := [place for place in live if self._runs[place].is_done]:
                self._finish(done)
                continue
            step = min(self._runs[place].step for place in live)
            self._level(step, [place for place in live if self._runs[place].step == step], interrupts)
        return [self._outcomes[place] for place in range(len(self._runs))]

    def _live_at_start(self, *, fresh: bool) -> list[int]:
        return [place for place in self._live if self._runs[place].is_fresh == fresh]

    def _level(self, step: int, places: Sequence[int], interrupts: Interrupts) -> None:
        """Take steps with these arms, all of which stand at `step`, until one stops, or they meet the others."""
        self._clock.work_for(places)
        others = [self._runs[place].step for place in self._live if place not in places]
        until = min(others, default=self._runs[places[0]].steps)
        pending: deque[dict[int, Taken]] = deque()  # handed to the device, not read yet
        while True:
            losses = self._passes.gradients(places, step, interrupts)
            if losses is not None:
                pending.append(self._take(places, step, losses))
            step += 1
            due = any(self._runs[place].checkpoint_due for place in places)
            done = interrupts.asked or losses is None or due or step >= until
            done = done or not all(may_run_on(self._runs[place], step) for place in places)
            while len(pending) > (0 if done else 1):
                self._settle(pending.popleft())
            done = done or any(place in self._outcomes for place in places)
            if done:
                break
        while pending:
            self._settle(pending.popleft())
        if interrupts.asked or due:
            for place in self._live:
                self._runs[place].save()
        if interrupts.asked:
            raise KeyboardInterrupt

    def _take(self, places: Sequence[int], step: int, losses: Sequence[torch.Tensor]) -> dict[int, Taken]:
        taken: dict[int, Taken] = {}

        def take(place: int) -> None:
            run = self._runs[place]
            if step == 0 and all(master.grad is None for master in run.setup.optimizer.masters):
                raise UserError(
                    "what this arm trains does not reach the loss, so that nothing would be learned",
                    fix="Name other targets: matrices of attention, or all-linear.",
                )
            taken[place] = run.take(step, losses[list(places).index(place)])

        self._each(places, take)
        return taken

    def _settle(self, taken: dict[int, Taken]) -> None:
        def settle(place: int) -> None:
            self._hears[place].on_progress(self._runs[place].settle(taken[place]))

        self._each([place for place in taken if place not in self._outcomes], settle)

    def _finish(self, places: Sequence[int]) -> None:
        """Write arms that are done."""
        self._clock.work_for(places)
        self._each(places, lambda place: self._runs[place].take_best())
        written: dict[int, Measured] = {}

        def finish(place: int) -> None:
            written[place] = self._runs[place].finish()

        self._each([place for place in places if place not in self._outcomes], finish)
        self._outcomes |= written
        self._clock.work_for(self._live)
        for place in self._live[:1]:  # what an end switched off
            set_mode(self._runs[place].setup.model, training=True, model_dropout=False)
