"""Every kernel that stands in place of a module, in the order in which they are tried: larger modules first."""

from __future__ import annotations

from finetrial.engine.kernels.bias import CONV1D_BIAS
from finetrial.engine.kernels.gelu import TANH_GELU
from finetrial.engine.kernels.place import Kernel

KERNELS: tuple[Kernel, ...] = (TANH_GELU, CONV1D_BIAS)
