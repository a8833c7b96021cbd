"""Choose an arm's micro-batch, recomputation and sampling batch from the device's memory.

Nothing of that changes what an arm becomes: gradients are summed to the same effective batch. Where nothing fits,
the changes of the trial file are listed that would.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from finetrial.footprint.adapters import Method
from finetrial.footprint.anatomy import anatomy_of
from finetrial.footprint.beside import Beside, Lora
from finetrial.footprint.inference_memory import sampling_memory
from finetrial.footprint.memory_plan import (
    CUDA_CONTEXT_BYTES,
    MORE_DEVICES,
    REMEDY_RANK,
    MemoryPlan,
    Sampling,
    cpu_process_bytes,
    memory_plan,
)
from finetrial.footprint.resident_bytes import weight_bytes
from finetrial.footprint.sharded_memory import can_shard
from finetrial.footprint.stored_bytes import bytes_per_param
from finetrial.footprint.structure import Shape
from finetrial.footprint.targets import ALL_LINEAR
from finetrial.footprint.training_memory import Training
from finetrial.planning.token_counts import ArmTokens
from finetrial.store.plan_record import ArmMemory, FitChange

# What the engine takes where memory is no matter: a CPU's caches, a card's width (models/evaluate.py,
# sampling/sample.py)
MICRO_TOKENS = {"cpu": 2048, "cuda": 16384}
SEQUENCES = {"cpu": 144, "cuda": 256}
# A card computes fewer tokens than this little faster; recomputing, which costs a third, is better. Assumption
_WIDE_ENOUGH = {"cpu": 1, "cuda": 2048}
_SHORTEST = 64  # tokens to which examples are cut at the least, in a proposal

Recompute = Literal["auto"] | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningSetting:
    """What a trial file says of an arm's tuning that memory hangs on."""

    method: Method
    dtype: str
    optimizer: str = "adamw"
    checkpointing: Recompute = "auto"
    quantize: str | None = None
    batch_tokens: int = 8192
    devices: int = 1  # that tune together
    sharding: Literal["auto", "none", "full"] = "auto"  # auto: where one device is too small

    @property
    def can_shard(self) -> bool:
        return self.devices > 1 and self.sharding != "none" and can_shard(self.method, optimizer=self.optimizer)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    micro_tokens: int
    checkpointing: bool
    sharded: bool
    plan: MemoryPlan


def training_of(
    shape: Shape, tokens: ArmTokens, *, setting: TuningSetting, micro_tokens: int, checkpointing: bool
) -> Training:
    """An arm's training on a CPU as its memory is counted: a micro-batch of examples of one length."""
    longest = tokens.longest_example
    mean = max(1, round(sum(tokens.train) / len(tokens.train))) if tokens.train else longest
    if not anatomy_of(shape).packs or micro_tokens <= longest:
        length, rows = longest, 1
    else:
        rows = max(1, round(micro_tokens / mean))
        length = -(-micro_tokens // rows)
    return Training(
        method=setting.method,
        length=length,
        rows=rows,
        loss_share=min(1.0, max(1e-6, tokens.train_loss / max(1, sum(tokens.train)))),
        dtype=setting.dtype,
        optimizer=setting.optimizer,
        checkpointing=checkpointing,
        quantize=setting.quantize,
        device="cpu",
    )


class MemoryChooser:
    """Finds what fits one model on one kind of device."""

    def __init__(self, shape: Shape, *, kind: Literal["cpu", "cuda"], hopper: bool = False) -> None:
        self._shape, self._kind, self._hopper = shape, kind, hopper

    def sampled_only(self, tokens: ArmTokens, *, dtype_bytes: int, memory_bytes: int | None) -> ArmMemory:
        """For an arm that is not tuned."""
        prompt, new = max(tokens.prompts, default=1), tokens.max_new_tokens
        sequences = self._sequences(tokens, dtype_bytes=dtype_bytes, memory_bytes=memory_bytes)
        peak = self._sampling_bytes(tokens, dtype_bytes=dtype_bytes, sequences=sequences)
        needed = self._sampling_needs(peak, dtype_bytes=dtype_bytes)
        return ArmMemory(
            needed_bytes=needed,
            training_bytes=None,
            evaluation_bytes=None,
            sampling_bytes=peak,
            length=prompt + new,
            micro_tokens=None,
            checkpointing=None,
            sequences=sequences,
            fits=None if memory_bytes is None else needed <= memory_bytes,
        )

    def tuned(self, tokens: ArmTokens, *, setting: TuningSetting, memory_bytes: int | None) -> ArmMemory:
        """For an arm that is tuned: the first setting that fits, or the smallest and what would make it fit."""
        sequences = self._sequences(tokens, dtype_bytes=bytes_per_param(setting.dtype), memory_bytes=memory_bytes)
        found = self._smallest(tokens, setting=setting, sequences=sequences, memory_bytes=memory_bytes)
        needed = found.plan.needed_bytes
        fits = None if memory_bytes is None else needed <= memory_bytes
        changes: tuple[FitChange, ...] = ()
        if fits is False:
            assert memory_bytes is not None
            changes = tuple(self._changes(tokens, setting=setting, memory_bytes=memory_bytes, needed=needed))
        return ArmMemory(
            needed_bytes=needed,
            training_bytes=found.plan.training.total_bytes,
            evaluation_bytes=found.plan.evaluation.total_bytes,
            sampling_bytes=found.plan.sampling.total_bytes,
            # what measured.json will give: the process on a CPU, on a card what is reserved, without its context
            tuning_bytes=found.plan.training_needed_bytes - (CUDA_CONTEXT_BYTES if self._kind == "cuda" else 0),
            length=tokens.longest_example,
            micro_tokens=found.micro_tokens,
            checkpointing=found.checkpointing,
            sharded=found.sharded,
            sequences=sequences,
            fits=fits,
            changes=changes,
        )

    # -- what fits

    def _smallest(
        self, tokens: ArmTokens, *, setting: TuningSetting, sequences: int, memory_bytes: int | None
    ) -> _Choice:
        """The first choice that fits, in the order of preference, or the one that needs least."""
        tried: list[_Choice] = []
        whole = (False,) if not setting.can_shard or setting.sharding == "auto" else ()
        for sharded in (*whole, *((True,) if setting.can_shard else ())):
            for micro_tokens, checkpointing in self._settings(tokens, setting=setting):
                plan = self._plan(
                    tokens, setting, micro_tokens, checkpointing, sequences=sequences, sharded=sharded
                )
                choice = _Choice(micro_tokens=micro_tokens, checkpointing=checkpointing, sharded=sharded, plan=plan)
                if memory_bytes is None or plan.needed_bytes <= memory_bytes:
                    return choice
                tried.append(choice)
        return min(tried, key=lambda c: c.plan.needed_bytes)

    def _settings(self, tokens: ArmTokens, *, setting: TuningSetting) -> Iterator[tuple[int, bool]]:
        """Micro-batch and recomputation, the fastest first."""
        longest, enough = tokens.longest_example, _WIDE_ENOUGH[self._kind]
        sizes = [max(longest, min(MICRO_TOKENS[self._kind], setting.batch_tokens))]
        while sizes[-1] > longest:
            sizes.append(max(longest, sizes[-1] // 2))
        wide = [size for size in sizes if size >= enough] or sizes[:1]
        narrow = sizes[len(wide) :]
        recompute = (False, True) if setting.checkpointing == "auto" else (setting.checkpointing,)
        for part in (wide, narrow):
            for checkpointing in recompute:
                yield from ((size, checkpointing) for size in part)

    def _plan(
        self,
        tokens: ArmTokens,
        setting: TuningSetting,
        micro_tokens: int,
        checkpointing: bool,
        *,
        sequences: int,
        sharded: bool,
    ) -> MemoryPlan:
        training = replace(
            training_of(
                self._shape, tokens, setting=setting, micro_tokens=micro_tokens, checkpointing=checkpointing
            ),
            device=self._kind,
            hopper=self._hopper,
            devices=setting.devices,
            sharded=sharded,
        )
        sampling = Sampling(
            prompt_tokens=max(tokens.prompts, default=1),
            new_tokens=tokens.max_new_tokens,
            sequences=sequences,
            per_prompt=min(tokens.per_prompt, sequences),
        )
        return memory_plan(self._shape, training, sampling=sampling, varied=len(set(tokens.train)) > 1)

    def _sampling_bytes(self, tokens: ArmTokens, *, dtype_bytes: int, sequences: int) -> int:
        return sampling_memory(
            self._shape,
            prompt_tokens=max(tokens.prompts, default=1),
            new_tokens=tokens.max_new_tokens,
            sequences=sequences,
            per_prompt=min(tokens.per_prompt, sequences),
            dtype_bytes=dtype_bytes,
            device=self._kind,
        ).total_bytes

    def _sampling_needs(self, tensor_bytes: int, *, dtype_bytes: int) -> int:
        """Of the device, for tensors of sampling."""
        if self._kind == "cuda":
            return tensor_bytes + CUDA_CONTEXT_BYTES
        weights = weight_bytes(self._shape, dtype_bytes=dtype_bytes)
        return cpu_process_bytes(
            self._shape, tensor_bytes, stands_bytes=weights, varied=True, dtype_bytes=dtype_bytes
        )

    def _sequences(self, tokens: ArmTokens, *, dtype_bytes: int, memory_bytes: int | None) -> int:
        """How many sequences are sampled at once: as many as the engine takes, halved until they fit."""
        all_of_them = max(1, len(tokens.prompts)) * tokens.per_prompt
        count = min(SEQUENCES[self._kind], all_of_them)
        while memory_bytes is not None and count > tokens.per_prompt:
            peak = self._sampling_bytes(tokens, dtype_bytes=dtype_bytes, sequences=count)
            if self._sampling_needs(peak, dtype_bytes=dtype_bytes) <= memory_bytes:
                break
            count = max(tokens.per_prompt, count // 2)
        return count

    # -- what would fit

    def _changes(
        self, tokens: ArmTokens, *, setting: TuningSetting, memory_bytes: int, needed: int
    ) -> Iterator[FitChange]:
        """Changes of the trial file, the least intrusive first, each alone; what saves nothing is left out."""
        for words, changed, read in self._proposals(tokens, setting=setting):
            sequences = self._sequences(read, dtype_bytes=bytes_per_param(changed.dtype), memory_bytes=memory_bytes)
            found = self._smallest(read, setting=changed, sequences=sequences, memory_bytes=memory_bytes)
            if found.plan.needed_bytes < needed:
                yield FitChange(
                    change=words,
                    needed_bytes=found.plan.needed_bytes,
                    fits=found.plan.needed_bytes <= memory_bytes,
                )
        yield from self._more_devices(tokens, setting=setting, memory_bytes=memory_bytes)

    def _more_devices(self, tokens: ArmTokens, *, setting: TuningSetting, memory_bytes: int) -> Iterator[FitChange]:
        """The fewest such cards, of those that come together, that fit where they share the weights out."""
        for count in MORE_DEVICES:
            changed = replace(setting, devices=count, sharding="full")
            if self._kind != "cuda" or count <= setting.devices or not changed.can_shard:
                continue
            sequences = self._sequences(
                tokens, dtype_bytes=bytes_per_param(setting.dtype), memory_bytes=memory_bytes
            )
            found = self._smallest(tokens, setting=changed, sequences=sequences, memory_bytes=memory_bytes)
            if found.plan.needed_bytes <= memory_bytes:
                words = f"{count} such cards that share the weights out (--devices {count})"
                yield FitChange(change=words, needed_bytes=found.plan.needed_bytes, fits=True)
                return

    def _proposals(
        self, tokens: ArmTokens, *, setting: TuningSetting
    ) -> Iterator[tuple[str, TuningSetting, ArmTokens]]:
        if setting.checkpointing is False:
            yield "training.checkpointing: auto", replace(setting, checkpointing="auto"), tokens
        if bytes_per_param(setting.dtype) == 4:
            yield "precision: bfloat16", replace(setting, dtype="bfloat16"), tokens
        for share in (2, 4):
            most = max(_SHORTEST, tokens.longest_example // share)
            if most < tokens.longest_example:
                yield f"data.max_tokens: {most} with data.overlong: cut", setting, _cut(tokens, most=most)
        if self._kind == "cuda" and setting.optimizer == "adamw":
            yield "training.optimizer: adamw8bit", replace(setting, optimizer="adamw8bit"), tokens
        lora = Lora(rank=REMEDY_RANK, targets=(ALL_LINEAR,))
        words = f"method: lora, rank: {REMEDY_RANK}, targets: [{ALL_LINEAR}]"
        if not isinstance(setting.method, Beside):
            setting = replace(setting, method=lora)
            yield words, setting, tokens
            words += ", "
        else:
            words = ""
        if self._kind == "cuda" and setting.quantize is None:
            yield f"{words}quantize: nf4", replace(setting, quantize="nf4"), tokens


def _cut(tokens: ArmTokens, *, most: int) -> ArmTokens:
    return replace(
        tokens,
        train=tuple(min(most, n) for n in tokens.train),
        validation=tuple(min(most, n) for n in tokens.validation),
        prompts=tuple(min(most, n) for n in tokens.prompts),
    )
