"""Every kernel that stands in place of a module, in the order in which they are tried: larger modules first."""

from __future__ import annotations

from finetrial.engine.kernels.bias import CONV1D_BIAS
from finetrial.engine.kernels.gated import GATED
from finetrial.engine.kernels.gelu import TANH_GELU
from finetrial.engine.kernels.lora import LORA
from finetrial.engine.kernels.place import Kernel
from finetrial.engine.kernels.rms_norm import RMS_NORM
from finetrial.engine.kernels.rotary_attention import ROTARY_ATTENTION

KERNELS: tuple[Kernel, ...] = (ROTARY_ATTENTION, GATED, RMS_NORM, TANH_GELU, LORA, CONV1D_BIAS)
