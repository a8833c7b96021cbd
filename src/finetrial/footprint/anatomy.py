"""Describe what an architecture computes between its matrix products: norms, positions, activation, residuals.

Read off the modeling files of transformers 5 (the modules named in each row's comment). A fast path is a way of
computing such a part that keeps less for backward; which ones act depends on the device and the precision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from finetrial.footprint.structure import Shape


class Norm(StrEnum):
    """How a norm computes, which decides what it keeps."""

    layer = "layer norm"  # one operation
    rms = "RMS norm"  # the row is normalised at float32 and rounded before the weight
    rms_wide = "RMS norm at float32"  # the weight, too, is applied at float32


class Placement(StrEnum):
    """Where a layer's norms stand."""

    before = "before"  # attention and MLP
    beside = "beside"  # one norm, or two, read the layer's input; attention and MLP run side by side
    after = "after"
    around = "around"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    norm: Norm
    activation: str  # gelu_tanh, gelu, relu, relu2 or silu
    placement: Placement = Placement.before
    shared_norm: bool = False  # side by side: attention and MLP read the same norm
    rotary_share: float = 1.0  # of a head's size that is rotated; 0: learned positions
    head_norms: bool = False  # of q and k
    scaled_embedding: bool = False
    caps_logits: bool = False  # the head is not one linear map: all logits of a micro-batch stand at once
    packs: bool = True  # block attention computes it


_LLAMA = Anatomy(norm=Norm.rms, activation="silu")
_ANATOMIES: dict[str, Anatomy] = {
    # ALiBi is added to all scores, which no block attention computes
    "bloom": Anatomy(norm=Norm.layer, activation="gelu_tanh", rotary_share=0.0, packs=False),
    "codegen": Anatomy(
        norm=Norm.layer,
        activation="gelu_tanh",
        placement=Placement.beside,
        shared_norm=True,
        rotary_share=0.5,
    ),
    "falcon": Anatomy(norm=Norm.layer, activation="gelu", placement=Placement.beside),
    "gemma": Anatomy(norm=Norm.rms_wide, activation="gelu_tanh", scaled_embedding=True),
    "gemma2": Anatomy(  # attention scores and logits are capped
        norm=Norm.rms_wide,
        activation="gelu_tanh",
        placement=Placement.around,
        scaled_embedding=True,
        caps_logits=True,
        packs=False,
    ),
    "gemma3_text": Anatomy(
        norm=Norm.rms_wide,
        activation="gelu_tanh",
        placement=Placement.around,
        head_norms=True,
        scaled_embedding=True,
    ),
    "gpt2": Anatomy(norm=Norm.layer, activation="gelu_tanh", rotary_share=0.0),
    "gpt_bigcode": Anatomy(norm=Norm.layer, activation="gelu_tanh", rotary_share=0.0),
    "gpt_neox": Anatomy(norm=Norm.layer, activation="gelu", placement=Placement.beside, rotary_share=0.25),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "mixtral": _LLAMA,
    "mpt": Anatomy(norm=Norm.layer, activation="gelu", rotary_share=0.0, packs=False),
    "olmo2": Anatomy(norm=Norm.rms, activation="silu", placement=Placement.after, head_norms=True),
    "opt": Anatomy(norm=Norm.layer, activation="relu", rotary_share=0.0),
    "persimmon": Anatomy(norm=Norm.layer, activation="relu2", rotary_share=0.5, head_norms=True),
    "phi": Anatomy(
        norm=Norm.layer,
        activation="gelu_tanh",
        placement=Placement.beside,
        shared_norm=True,
        rotary_share=0.5,
    ),
    "phi3": _LLAMA,
    "qwen2": _LLAMA,
    "qwen2_moe": _LLAMA,
    "qwen3": Anatomy(norm=Norm.rms, activation="silu", head_norms=True),
    "qwen3_moe": Anatomy(norm=Norm.rms, activation="silu", head_norms=True),
    "smollm3": _LLAMA,
}


def anatomy_of(shape: Shape) -> Anatomy:
    """What stands between the matrix products of this shape; every architecture that has a shape has one."""
    found = _ANATOMIES[shape.architecture]
    if found.placement is Placement.beside and shape.layers[0].norm_params == shape.final_norm_params:
        return replace(found, shared_norm=True)  # Falcon has one norm a layer, or two
    return found


def anatomies() -> dict[str, Anatomy]:
    """Every architecture's, by Hugging Face's `model_type`."""
    return dict(_ANATOMIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class FastPaths:
    """Which parts are computed by finetrial's own kernels or a library's, instead of the model's code."""

    tanh_gelu: bool = False  # its derivative is kept instead of its input
    rms_norm: bool = False  # the input and one number a row are kept
    rotary: bool = False  # of q and k together with attention, where all of a head is rotated
    gate: bool = False  # SiLU is made again in backward
    low_rank: bool = False  # an adapter's product is added in place
    remakes: bool = False  # a matrix keeps how its input is made where that is a norm or a gate
    grouped: bool = False  # keys and values are not repeated for their query heads
    flash: bool = False  # attention keeps its output and one number a query instead of making them again
    sums_gradients: bool = False  # gradients go to float32 sums at once, the embedding's row by row
    widens_parts: bool = False  # a narrow gradient is copied to float32 before it is added: torch on a CPU
    on_card: bool = (
        False  # a card's kernels: q and k are turned in place, a gate's gradients overwrite what it kept
    )


def fast_paths(*, device: str, dtype_bytes: int) -> FastPaths:
    """What the engine puts in place on a device ("cpu" or "cuda") at a precision of 2 or 4 bytes."""
    narrow = dtype_bytes == 2
    if device == "cuda":
        return FastPaths(
            rms_norm=narrow,
            rotary=narrow,
            gate=narrow,
            low_rank=narrow,
            remakes=narrow,
            grouped=True,
            flash=narrow,
            sums_gradients=narrow,
            on_card=True,
        )
    return FastPaths(
        tanh_gelu=narrow,
        rms_norm=narrow,
        rotary=True,
        gate=narrow,
        low_rank=narrow,
        remakes=narrow,
        grouped=True,
        sums_gradients=narrow,
        widens_parts=narrow,
    )
