"""Sample all prompts of an arm in one stream: prompts enter as others end, and what is fetched is a few steps late.

Shapes: S slots of k samples each, O tokens of a sample at most.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from finetrial.footprint.inference_memory import ROW_TOKENS
from finetrial.models.kernels.private_calls import attention_of, give_attention
from finetrial.models.kernels.shared_attention import SHARED_ATTENTION
from finetrial.models.special_tokens import embedding_weight
from finetrial.sampling.decode_paths import Paths, choose_paths, placed_modules
from finetrial.sampling.device_rows import DeviceRows, StepSize
from finetrial.sampling.generation import Generation, begin
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.step_runner import StepRunner
from finetrial.sampling.stops import Decode
from finetrial.store.records import Sample
from finetrial.trial.resolve import Decoding

_LATE_STEPS = 8  # on a card, between two looks at what was chosen. Assumption
_PROMPT_STEP, _OWN_STEP = (32, 256), (16, 64)  # places by which a step grows: on a CPU, on a card, for few graphs


@dataclass(slots=True, eq=False)
class _Slot:
    """A prompt whose samples are being made."""

    generations: list[Generation]
    ended: list[bool]
    seconds: list[float]
    steps: int = 0  # tokens that every sample of it has, on the device
    fetched: int = 0

    @property
    def prompt_tokens(self) -> int:
        return len(self.generations[0].task.token_ids)

    @property
    def done(self) -> bool:
        return all(self.ended)


@dataclass(slots=True, eq=False)
class Engine:
    """The stream of one arm's samples."""

    model: PreTrainedModel
    decoding: Decoding
    decode: Decode
    ends: frozenset[int]
    arm: str
    slots: int
    on_progress: Callable[[int, int], None]
    runner: Callable[[DeviceRows], StepRunner] = StepRunner
    late_steps: int | None = None  # between two looks; None: by the device, 0: after each, at once
    paths: Paths | None = None  # None: as the device has them
    keeps: bool = False  # caches and graphs for another run
    rows: Any = None
    finished: int = 0
    _held: list[_Slot | None] = field(default_factory=list)
    _steps: Any = None
    _charged: float = 0.0

    def run(self, prompts: Sequence[PromptTask]) -> Iterator[Sample]:
        """Yield the samples, each as soon as it has ended."""
        samples = frozenset(range(self.decoding.per_prompt))
        missing = [p for p in prompts if samples - p.drawn]
        if not missing:
            return
        waiting = deque(sorted(missing, key=lambda p: -len(p.token_ids)))
        self._prepare(prompts=len(waiting), longest=len(waiting[0].token_ids))
        attention = attention_of(self.model)
        placed = contextlib.ExitStack()
        try:
            self.model.set_attn_implementation(SHARED_ATTENTION)
            placed.enter_context(placed_modules(self.model, self._paths.modules))
            rounds = self._rounds(waiting)
            while True:
                with torch.no_grad():
                    ended = next(rounds, None)
                if ended is None:
                    return
                yield from ended
        finally:
            placed.close()
            give_attention(self.model, attention)
            if not self.keeps:
                self.close()

    def close(self) -> None:
        """Let go of the caches."""
        if self.rows is not None:
            self.rows.store.release()
            self.rows = self._steps = None

    def _prepare(self, *, prompts: int, longest: int) -> None:
        """Make the caches, or take those of the run before where they are large enough."""
        if (
            self.rows is None
            or self.rows.store.prompt_places < longest
            or self.rows.slots < min(self.slots, prompts)
        ):
            self.close()
            self.rows = DeviceRows(
                self.model,
                slots=min(self.slots, prompts),
                decoding=self.decoding,
                prompt_places=longest,
                paths=self._paths,
            )
            self._steps = self.runner(self.rows)
        self._held, self._charged, self.finished = [None] * self.rows.slots, time.perf_counter(), 0

    @property
    def _paths(self) -> Paths:
        if self.paths is None:
            dtype = embedding_weight(self.model).dtype
            self.paths = choose_paths(self.model, dtype=dtype, samples=self.decoding.per_prompt)
        return self.paths

    def _rounds(self, waiting: deque[PromptTask]) -> Iterator[list[Sample]]:
        late: _Fetch | None = None
        while waiting or any(self._held):
            self._enter(waiting)
            self._advance(max(1, self._late))
            held = [(i, s, s.steps) for i, s in enumerate(self._held) if s is not None]
            now = _Fetch(self.rows, held, is_late=self._late > 0)
            fetched = late if self._late else now
            late = now
            if fetched is None:
                continue
            ended, tokens = self._look(fetched)
            self.finished += len(ended)
            yield ended  # written before it is reported
            self.on_progress(tokens, self.finished)

    @property
    def _late(self) -> int:
        if self.late_steps is not None:
            return self.late_steps
        return 0 if self.rows.device.type == "cpu" else _LATE_STEPS

    # -- prompts enter

    def _enter(self, waiting: deque[PromptTask]) -> None:
        """Read prompts into free slots, in packed rows."""
        free = [i for i, slot in enumerate(self._held) if slot is None]
        on_card = self.rows.device.type != "cpu"
        while waiting and free:
            most = ROW_TOKENS["cuda" if on_card else "cpu"]
            chosen: list[PromptTask] = []
            tokens = 0
            while waiting and len(chosen) < len(free):
                tokens += len(waiting[0].token_ids)
                if chosen and tokens > most:
                    break
                chosen.append(waiting.popleft())
            places, free = free[: len(chosen)], free[len(chosen) :]
            samples = range(self.decoding.per_prompt)
            for place, task in zip(places, chosen, strict=True):
                made = [begin(task, index=i, decode=self.decode, decoding=self.decoding) for i in samples]
                there = [i in task.drawn for i in samples]
                self._held[place] = _Slot(made, there, [0.0] * len(made), steps=1)
            uniforms = np.stack([g.uniforms for p in places for g in self._slot(p).generations])
            self.rows.read(places, [task.token_ids for task in chosen], uniforms=uniforms)
        if not waiting:
            self._shrink()

    def _slot(self, place: int) -> _Slot:
        slot = self._held[place]
        assert slot is not None
        return slot

    def _shrink(self) -> None:
        """Once no prompt waits: bring those that go on together where at most half of the slots are in use."""
        going = [i for i, slot in enumerate(self._held) if slot is not None]
        if going and 2 * len(going) <= len(self._held):
            self.rows.bring_forward(going)
            self._held = [self._held[i] for i in going]

    # -- steps

    def _advance(self, count: int) -> None:
        """Give the device steps: at most `count`, none where every row has all its tokens."""
        going = [slot for slot in self._held if slot is not None]
        limit = self.decoding.max_new_tokens
        taken = 0
        while taken < count and going and any(slot.steps < limit for slot in going):
            size = self._size(going)
            self._steps.step(size, rows_N=None if self._late else self._going_rows())
            for slot in going:
                slot.steps = min(limit, slot.steps + 1)
            taken += 1

    def _size(self, going: Sequence[_Slot]) -> StepSize:
        if self.rows.paths.attend is not None:  # it reads what there is: one graph for all lengths
            return StepSize(len(self._held), self.rows.store.prompt_places, self.rows.limit)
        places = max(slot.prompt_tokens for slot in going)
        own = max(slot.steps for slot in going)
        prompt_step, own_step = _PROMPT_STEP[self._late > 0], _OWN_STEP[self._late > 0]
        return StepSize(
            len(self._held),
            min(self.rows.store.prompt_places, -(-places // prompt_step) * prompt_step),
            min(self.rows.limit, -(-own // own_step) * own_step),
        )

    def _going_rows(self) -> torch.Tensor | None:
        """The numbers of the rows that have not ended; None: all rows."""
        samples = self.decoding.per_prompt
        numbers = [
            place * samples + index
            for place, slot in enumerate(self._held)
            if slot is not None
            for index, ended in enumerate(slot.ended)
            if not ended
        ]
        return None if len(numbers) == len(self._held) * samples else torch.tensor(numbers)

    # -- what was chosen

    def _look(self, fetched: _Fetch) -> tuple[list[Sample], int]:
        """Take what was chosen up to a fetch; the samples that have ended, and how many tokens there were."""
        made, logprobs, near = fetched.values()
        self._charge()
        ended, tokens = [], 0
        limit, samples = self.decoding.max_new_tokens, self.decoding.per_prompt
        for place, slot, steps in fetched.slots:
            for index, generation in enumerate(slot.generations):
                row = place * samples + index
                for column in range(slot.fetched, steps):
                    if slot.ended[index]:
                        break
                    tokens += 1
                    more = generation.take(
                        int(made[row, column]),
                        logprob=float(logprobs[row, column]),
                        ends=self.ends,
                        near=None if near is None else bool(near[row, column]),
                    )
                    if not more or column + 1 == limit:
                        slot.ended[index] = True
                        generation.settle(decode=self.decode, stops=self.decoding.stop, strip=self.decoding.strip)
                        ended.append((slot, index))
            slot.fetched = max(slot.fetched, steps)
            if slot.done and slot in self._held:
                self._held[self._held.index(slot)] = None
        return [s.generations[i].as_sample(arm=self.arm, seconds=s.seconds[i]) for s, i in ended], tokens

    def _charge(self) -> None:
        """Share out the seconds since the last time among the samples that are being made."""
        seconds = -self._charged + (now := time.perf_counter())
        self._charged = now
        going = [(s, i) for s in self._held if s is not None for i, ended in enumerate(s.ended) if not ended]
        for slot, index in going:
            slot.seconds[index] += seconds / len(going)


class _Fetch:
    """What the device had chosen when it was asked; it is waited for when it is looked at."""

    def __init__(self, rows: DeviceRows, slots: list[tuple[int, _Slot, int]], *, is_late: bool) -> None:
        self.slots = slots
        on_card = rows.device.type == "cuda"
        held = (rows.made_BO, rows.logprob_BO, *(() if rows.near_BO is None else (rows.near_BO,)))
        found = (x.to("cpu", non_blocking=on_card) for x in held)
        # on a CPU they are the very tensors that later steps write to
        self._found = tuple(x.clone() if is_late and not on_card else x for x in found)
        self._event = None
        if on_card:
            self._event = torch.cuda.Event()
            self._event.record()

    def values(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Tokens and log-probabilities of all rows, and which were near-ties."""
        if self._event is not None:
            self._event.synchronize()
        made, logprobs, *near = (x.numpy() for x in self._found)
        return made, logprobs, near[0] if near else None
