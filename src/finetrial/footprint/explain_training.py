"""The derivation of a training step's peak memory and of its seconds, as a worked exercise with its sources."""

from __future__ import annotations

from finetrial.footprint.adapters import Full
from finetrial.footprint.anatomy import anatomy_of
from finetrial.footprint.beside import Beside
from finetrial.footprint.explain import Step, explain_parameters
from finetrial.footprint.memory_plan import MemoryPlan
from finetrial.footprint.optimizer_bytes import ADAMW_TRAFFIC_BYTES
from finetrial.footprint.parameters import count_parameters
from finetrial.footprint.resident_bytes import NF4_BITS, trained_matrices
from finetrial.footprint.step_seconds import Rates, StepTime
from finetrial.footprint.structure import Shape
from finetrial.footprint.tape_loss import chunk_rows
from finetrial.footprint.tape_pass import LOSS
from finetrial.footprint.tape_values import Kind
from finetrial.footprint.training_memory import Training

_STATES = {
    "adamw": ("8", "Loshchilov & Hutter 2019: two float32 moments"),
    "adamw8bit": ("2 and 8/256", "Dettmers et al. 2022: moments in 8 bits, a float32 scale for 256"),
    "adafactor": ("4 (rows + columns) / (rows x columns)", "Shazeer & Stern 2018, section 3"),
    "sgd": ("0", "no momentum"),
}


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _latex(text: str) -> str:
    return rf"\text{{{text}}}"


def _step(what: str, formula: str, values: str, result: float, source: str | None = None) -> Step:
    return Step(what, formula, _latex(formula), values, _number(result), source)


def explain_training(shape: Shape, plan: MemoryPlan) -> list[Step]:
    """From parameters to the peak, part by part, each with what it is and where that is said."""
    training, memory = plan.training.training, plan.training
    parts = memory.peak.by_kind
    steps = _standing(shape, training, parts)
    steps += _passing(shape, training, parts, at_loss=memory.peak.moment == LOSS)
    others = [k for k in Kind if parts[k] and k not in _STANDING and k not in _WHY and k is not Kind.loss]
    for kind in others:
        steps.append(_step(str(kind), "at the peak", str(memory.peak.moment), parts[kind]))
    steps.append(
        _step(
            f"the peak, {memory.peak.moment}",
            "sum of what stands then",
            " + ".join(_number(size) for size in parts.values() if size),
            memory.total_bytes,
        )
    )
    steps.append(
        _step(
            "what the device must have",
            "the largest of training, evaluation and sampling, and what is beside it",
            f"max({_number(memory.total_bytes)}, {_number(plan.evaluation.total_bytes)}, "
            f"{_number(plan.sampling.total_bytes)}) + {_number(plan.overhead_bytes)}",
            plan.needed_bytes,
            "segments as c10/cuda/CUDACachingAllocator.cpp lays them, context by assumption"
            if training.device == "cuda"
            else "libraries and heap of the process by assumption, docs/results/footprint.md",
        )
    )
    return steps


_STANDING = (Kind.weights, Kind.adapters, Kind.masters, Kind.gradients, Kind.states, Kind.workspace)


def _standing(shape: Shape, training: Training, parts: dict[Kind, int]) -> list[Step]:
    method, size = training.method, training.dtype_bytes
    total = count_parameters(shape).total
    trained = sum(m.entries for m in trained_matrices(shape, method))
    of = f" / {training.devices}, rows rounded up" if training.sharded else ""  # what a device has of it
    steps = explain_parameters(shape, method=None)
    if training.sharded:
        if parts[Kind.weights]:
            values = f"{_number(total - trained)} x {size}{of}"
            steps.append(_step("weights", "parameters not trained x bytes of each", values, parts[Kind.weights]))
    elif training.quantize is None:
        steps.append(
            _step("weights", "parameters x bytes of each", f"{_number(total)} x {size}", parts[Kind.weights])
        )
    else:
        steps.append(
            _step(
                "weights",
                f"{NF4_BITS:.3f} bits for matrices of the layers, {size} bytes for the rest",
                f"{_number(total)} parameters",
                parts[Kind.weights],
                "Dettmers et al. 2023, section 3: 4 + 8/64 + 32/(64 x 256) bits",
            )
        )
    if not isinstance(method, Full):
        steps += explain_parameters(shape, method=method)
    if isinstance(method, Beside):
        values = f"{_number(trained)} x {size}"
        steps.append(_step("adapter weights", "parameters x bytes of each", values, parts[Kind.adapters]))
    if parts[Kind.masters]:
        values = f"{_number(trained)} x 4{of}"
        why = "Micikevicius et al. 2018, section 3.1; masks of a fused matrix beside them"
        steps.append(_step("float32 masters", "trained parameters x 4", values, parts[Kind.masters], why))
    if parts[Kind.gradients]:
        steps.append(
            _step(
                "gradients",
                "trained parameters x 4, and one matrix's own at its precision where it is on its way",
                f"{_number(trained)} x 4{of}",
                parts[Kind.gradients],
                "summed in float32 over micro-batches: training/optimizer.py",
            )
        )
    if parts[Kind.states]:
        each, source = _STATES[training.optimizer]
        values = f"{_number(trained)} x {each}{of}"
        steps.append(_step("optimizer states", "trained parameters x bytes", values, parts[Kind.states], source))
    if parts[Kind.workspace]:
        steps.append(
            _step(
                "workspace",
                "one for the matrix library",
                "32 MiB on Hopper, else 8.125 MiB",
                parts[Kind.workspace],
                "aten/src/ATen/cuda/CublasHandlePool.cpp",
            )
        )
    return steps


_WHY = {
    Kind.gathered: "of all devices, at the precision: what is no layer, this layer, the next one's buffer",
    Kind.summing: "float32 gradients of the layer behind, dealt out; as much again while they are summed",
    Kind.residuals: "tokens x width x bytes, where a norm or a recomputed layer reads it",
    Kind.norms: "a norm's input, float32 where the model's code makes it so; its output where a weight reads it",
    Kind.projections: "tokens x heads x head size x bytes: q, k and v, which attention's backward reads",
    Kind.attention: "tokens x heads x head size x bytes: what the output matrix reads, where it is trained",
    Kind.mlp: "tokens x inner width x bytes: gate, up and their product, where something above asks for them",
    Kind.activation: "tokens x inner width x bytes: the activation's result, or its derivative",
    Kind.low_rank: "tokens x rank x bytes: between A and B",
    Kind.flowing: "gradients of activations on their way down",
    Kind.temporaries: "made and let go inside one operation",
}


def _passing(shape: Shape, training: Training, parts: dict[Kind, int], *, at_loss: bool) -> list[Step]:
    row, anatomy = training.row_of(shape), anatomy_of(shape)
    kept = "all layers" if not training.checkpointing else "one layer, and every layer's input"
    values = f"{_number(row.tokens)} tokens, {kept}"
    steps = [_step(str(kind), why, values, parts[kind]) for kind, why in _WHY.items() if parts[kind]]
    if parts[Kind.loss] and at_loss:
        trains = isinstance(training.method, Full)
        rows = min(row.loss_tokens, chunk_rows(shape.vocabulary, trains_head=trains))
        formula = "all logits" if anatomy.caps_logits else "a chunk of logits at float32, twice while it is summed"
        values = f"{_number(row.loss_tokens if anatomy.caps_logits else rows)} x {_number(shape.vocabulary)} x 8"
        steps.append(_step(str(Kind.loss), formula, values, parts[Kind.loss], "models/kernels/losses.py"))
    elif parts[Kind.loss]:
        formula = "the loss, and the gradient of the hidden states until it is used"
        steps.append(_step(str(Kind.loss), formula, values, parts[Kind.loss], "models/kernels/losses.py"))
    return steps


def explain_time(training: Training, time: StepTime, *, rates: Rates) -> list[Step]:
    """From FLOPs and bytes to seconds."""
    sent = time.pass_link_seconds + time.step_link_seconds
    link = Step(
        "seconds of sending",
        "(devices - 1) / devices of what is gathered and summed / link",
        _latex("bytes / link"),
        f"{0.0 if rates.link is None else rates.link:.4g} bytes a second",
        f"{sent:.3g}",
        rates.link_source,
    )
    return [*_computing(training, time, rates=rates), *([link] if time.devices > 1 else [])]


def _computing(training: Training, time: StepTime, *, rates: Rates) -> list[Step]:
    return [
        _step(
            "FLOPs of a micro-batch",
            "4 N + 6 N_trained a token for adapters, 6 N for full, 2 N again where recomputed, attention, head",
            f"{_number(time.tokens)} tokens",
            time.flops,
            "Kaplan et al. 2020, section 2.1; footprint/flops.py",
        ),
        Step(
            "seconds of a micro-batch",
            "FLOPs / rate",
            _latex("FLOPs / rate"),
            f"{time.flops:.4g} / {rates.step_flops:.4g}",
            f"{time.micro_batch_seconds:.3g}",
            rates.source,
        ),
        Step(
            "seconds of the optimizer's step",
            f"({ADAMW_TRAFFIC_BYTES} + 4 + narrow) bytes a trained parameter / bandwidth",
            _latex("bytes / bandwidth"),
            f"{rates.bandwidth:.4g} bytes a second",
            f"{time.optimizer_seconds:.3g}",
        ),
    ]
