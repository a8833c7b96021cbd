"""The versions and the device that the models run on, as a manifest records them."""

from __future__ import annotations

import os
import platform
from typing import Any

import peft
import torch
import transformers

from finetrial import __version__


def versions_and_device() -> dict[str, Any]:
    """What another machine would need to know to repeat a run."""
    cuda = torch.cuda.is_available()
    return {
        "versions": {
            "finetrial": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        },
        "device": {
            "name": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
            "kind": "cuda" if cuda else "cpu",
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
    }
