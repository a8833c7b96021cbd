"""The rules by which default learning rates follow from a model's width."""

from __future__ import annotations

import math

# Full tuning: 5e-5 at width 2000, falling with the width to the power 0.781: the rule that Thinking Machines'
# tinker-cookbook (hyperparam_utils.get_lr, 2025) fits for Llama models. It gives 1.1e-4 for GPT-2 and 2.9e-5 for
# width 4096, within the range that published full fine-tunes use.
_FULL_RATE, _FULL_WIDTH, _WIDTH_POWER = 5e-5, 2000, 0.781
# LoRA's best rate is about ten times full tuning's: Schulman et al., "LoRA Without Regret" (2025).
_LORA_FACTOR = 10.0
_FULL_CEILING, _LORA_CEILING = 1e-3, 1e-2  # for very narrow models. Assumption


def full_learning_rate(width: int) -> float:
    """The default for tuning the matrices themselves of a model of this width."""
    return min(_FULL_CEILING, _FULL_RATE * math.pow(_FULL_WIDTH / width, _WIDTH_POWER))


def lora_learning_rate(width: int) -> float:
    """The default for LoRA on a model of this width."""
    return min(_LORA_CEILING, _LORA_FACTOR * _FULL_RATE * math.pow(_FULL_WIDTH / width, _WIDTH_POWER))
