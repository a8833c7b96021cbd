"""Import the torch half of a method, when an arm is tuned or loaded: the one lazy seam of the room."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from finetrial.methods.method import TunedMethod

if TYPE_CHECKING:
    from finetrial.methods.torch_half import TorchHalf


def half_of(method: TunedMethod) -> TorchHalf[Any]:
    """The torch half of the method: `HALF` of the module that the method names."""
    half: TorchHalf[Any] = importlib.import_module(method.torch_half).HALF
    return half
