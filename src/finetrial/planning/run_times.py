"""How long each step of a run takes, from its work and a pace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from finetrial.footprint.adapters import Method, trained_parameters
from finetrial.footprint.flops import forward_flops
from finetrial.footprint.optimizer_bytes import ADAMW_TRAFFIC_BYTES
from finetrial.footprint.resident_bytes import weight_bytes
from finetrial.footprint.step_seconds import link_bytes
from finetrial.footprint.structure import Shape
from finetrial.planning.device_pace import Pace
from finetrial.planning.token_counts import ArmTokens
from finetrial.planning.tuning_work import TuningWork

# Measured on two cores of an AMD EPYC (docs/results/plan.md); elsewhere assumptions.
START_SECONDS = 8.0  # Python's libraries, once
DATA_BYTES_A_SECOND = 1.0e6  # read, tokenised and compared
LOAD_SECONDS = 1.5  # of a model whatever its size: built, its fast paths probed
LOAD_BYTES_A_SECOND = 500e6
SAMPLES_A_SECOND = 250.0  # scored by three ROUGEs and looked through for what goes wrong
REPORT_SECONDS = 6.0
_RETAINED_BLOCK = 1024  # tokens of other text that are read at once, about


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningTime:
    """One training run."""

    step_seconds: float  # of all its steps
    evaluation_seconds: float
    load_seconds: float

    @property
    def seconds(self) -> float:
        return self.step_seconds + self.evaluation_seconds + self.load_seconds


def optimizer_traffic(trained: int, *, dtype_bytes: int) -> int:
    """Bytes that a step of AdamW moves: 28 a parameter, the gradients' norm, and narrow parameters besides."""
    return trained * (ADAMW_TRAFFIC_BYTES + 4 + (2 if dtype_bytes < 4 else 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """The devices that tune an arm: each computes its share of every batch, in passes of `micro_tokens` at most."""

    devices: int = 1
    sharded: bool = False  # each holds and steps a share of what is trained
    micro_tokens: int = 1


def tuning_time(
    shape: Shape,
    work: TuningWork,
    *,
    method: Method,
    dtype_bytes: int,
    pace: Pace,
    together: Together | None = None,
) -> TuningTime:
    """Seconds of a training run: FLOPs at the step's rate, the optimizer's traffic, evaluations, loading.

    Of several devices each computes a share, and nothing while something is sent; a pace without a link counts
    nothing for that. Where they share a model out, each steps its share, and they load one after another.
    """
    together = together or Together()
    count = together.devices
    traffic = optimizer_traffic(trained_parameters(shape, method=method), dtype_bytes=dtype_bytes)
    if together.sharded:
        traffic //= count
    computed = work.flops / (count * pace.step_flops) + work.steps * traffic / pace.optimizer_bandwidth
    return TuningTime(
        step_seconds=computed + _link_seconds(shape, work, method, dtype_bytes, pace=pace, together=together),
        evaluation_seconds=work.evaluation_flops / (count * pace.forward_flops),
        load_seconds=load_seconds(shape) * (count if together.sharded else 1),
    )


def _link_seconds(
    shape: Shape, work: TuningWork, method: Method, dtype_bytes: int, *, pace: Pace, together: Together
) -> float:
    if together.devices == 1 or pace.link is None:
        return 0.0
    sent = link_bytes(
        shape, method=method, dtype_bytes=dtype_bytes, devices=together.devices, sharded=together.sharded
    )
    passes = max(work.steps, work.tokens / (together.devices * together.micro_tokens))
    return (passes * sent.of_pass + work.steps * sent.of_step) / pace.link


def load_seconds(shape: Shape) -> float:
    """Of reading a model and setting it up."""
    return LOAD_SECONDS + weight_bytes(shape, dtype_bytes=2) / LOAD_BYTES_A_SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingTime:
    """One arm's sampling: `seconds` of drawing samples, and before them loading and the losses on text."""

    seconds: float
    before_seconds: float
    tokens: int


def batches_of(prompts: Sequence[int], *, per_prompt: int, sequences: int) -> list[list[int]]:
    """The places of the prompts that are sampled together: similar in length, as many as `sequences` allow."""
    each = max(1, sequences // per_prompt)
    order = sorted(range(len(prompts)), key=lambda place: prompts[place])
    return [order[start : start + each] for start in range(0, len(order), each)]


def sampling_time(
    shape: Shape, tokens: ArmTokens, *, ends: bool, sequences: int, retained_tokens: int, pace: Pace
) -> SamplingTime:
    """Seconds of sampling every prompt.

    `ends`: the arm has learned or is shown how long answers are; another goes on to the limit, so that its time is
    the most it can take. A finished sequence leaves the batch, and the batch ends with its longest.
    """
    limit, seconds, total = tokens.max_new_tokens, 0.0, 0
    for batch in batches_of(tokens.prompts, per_prompt=tokens.per_prompt, sequences=sequences):
        width = max(tokens.prompts[place] for place in batch)
        flops = forward_flops(shape, lengths=[width] * len(batch), head_tokens=len(batch)).total
        made = [min(limit, tokens.answers[place]) if ends else limit for place in batch]
        generated = tokens.per_prompt * sum(made)
        seconds += flops / pace.prefill_flops + max(made) * pace.decode_seconds + generated * pace.sequence_seconds
        total += generated
    pairs = zip(tokens.prompts, tokens.answers, strict=True)
    lengths = [prompt + answer for prompt, answer in pairs]
    loss = forward_flops(shape, lengths=lengths, head_tokens=sum(tokens.answers)).total if lengths else 0
    if retained_tokens:
        blocks = [_RETAINED_BLOCK] * -(-retained_tokens // _RETAINED_BLOCK)
        loss += forward_flops(shape, lengths=blocks, head_tokens=sum(blocks)).total
    return SamplingTime(
        seconds=seconds,
        before_seconds=load_seconds(shape) + loss / pace.forward_flops,
        tokens=total,
    )
