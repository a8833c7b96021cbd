"""Every kernel that stands in place of a module, in the order in which they are tried: larger modules first."""

from __future__ import annotations

import torch

from finetrial.models.kernels.activations import GATED, TANH_GELU
from finetrial.models.kernels.liger import CARD_GATED, CARD_NORM, CARD_ROTARY
from finetrial.models.kernels.linear import CONV1D_BIAS, LORA
from finetrial.models.kernels.place import Kernel
from finetrial.models.kernels.rms_norm import RMS_NORM
from finetrial.models.kernels.rotary_attention import ROTARY_ATTENTION

_ON_A_CPU = (ROTARY_ATTENTION, GATED, RMS_NORM, TANH_GELU, LORA, CONV1D_BIAS)
_ON_A_CARD = (CARD_ROTARY, CARD_GATED, CARD_NORM, LORA)


def kernels_for(device: torch.device) -> tuple[Kernel, ...]:
    """Those that were made for a device; on a card torch's own GELU and biases are as fast."""
    return _ON_A_CPU if device.type == "cpu" else _ON_A_CARD
