"""By how much is a float16 arm's loss multiplied, so that its small gradients do not vanish?

float16 holds nothing below 6e-8. The loss is multiplied before the backward pass and the gradients divided after it
(Micikevicius et al. 2018, section 3.2). After an overflow the same batch is taken again at half the scale, so no
batch is lost. Other precisions have the scale 1, which changes nothing.
"""

from __future__ import annotations

import torch

# torch.amp.GradScaler's defaults: 2^16 at first, doubled after 2,000 steps without an overflow
_FIRST, _GROW_AFTER_STEPS = 65536.0, 2000


def first_loss_scale(dtype: torch.dtype) -> float:
    """The scale that an arm at this precision starts with."""
    return _FIRST if dtype == torch.float16 else 1.0


def grown_loss_scale(scale: float, *, steps: int) -> tuple[float, int]:
    """The scale and the steps since it changed, after `steps` steps without an overflow. A scale of 1 stays."""
    if scale > 1.0 and steps >= _GROW_AFTER_STEPS:
        return 2 * scale, 0
    return scale, steps
