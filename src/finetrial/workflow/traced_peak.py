"""Trace a training step in a process of its own, for a model by name, folder, config.json, GGUF file or hub id.

    python -m finetrial.workflow.traced_peak < REQUEST.json

Tracing leaves tensors without data in this package's caches, hence the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.footprint.known_models import NAMED_MODELS
from finetrial.footprint.shapes import find_name
from finetrial.footprint.training_memory import Training
from finetrial.methods.method import TunedMethod
from finetrial.methods.method_table import all_methods


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedPeak:
    """The peak of a traced step, beside what stands between steps, and the largest parts by operation."""

    peak_bytes: int
    standing_bytes: int
    at_peak: dict[str, int]


def traced_peak(
    model: str, *, method: str, keys: Mapping[str, Any], training: Training, trust_remote_code: bool = False
) -> TracedPeak:
    """Trace the step of a training on a CPU. `keys` are those of the method in a trial file.

    Raises UserError for another device, and for a step that cannot be traced.
    """
    if training.device != "cpu":
        raise UserError(
            "a step is traced by a CPU's rules",
            got=f"a plan for {training.device}",
            fix="Add --device cpu; a card's plan is counted from the shape.",
        )
    request = {
        "model": model,
        "method": method,
        "keys": dict(keys),
        "trust_remote_code": trust_remote_code,
        "length": training.length,
        "rows": training.rows,
        "loss_share": training.loss_share,
        "dtype": training.dtype,
        "optimizer": training.optimizer,
        "checkpointing": training.checkpointing,
    }
    command = [sys.executable, "-m", "finetrial.workflow.traced_peak"]
    run = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True)
    if run.returncode:
        raise UserError("the step could not be traced", got=(run.stderr.strip().splitlines() or ["no reason"])[-1])
    answer = json.loads(run.stdout.splitlines()[-1])
    if "error" in answer:
        raise UserError(**answer["error"])
    return TracedPeak(**answer)


def _method(name: str, keys: dict[str, Any]) -> TunedMethod:
    name = "full" if name == "matrices" else name  # full tuning of some targets
    found = next(method for method in all_methods() if method.name == name)
    assert issubclass(found, TunedMethod)
    return found(**keys)


def _config(model: str, *, trust_remote_code: bool) -> Any:
    from transformers import AutoConfig

    from finetrial.models.loading import load_config

    path, name = Path(model).expanduser(), find_name(model)
    if path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf-8"))
    elif name is not None and not path.exists():
        content = dict(NAMED_MODELS[name].config)
    else:
        return load_config(model, trust_remote_code=trust_remote_code)
    return AutoConfig.for_model(content.pop("model_type"), **content)


def main() -> None:
    """Answer the request on standard input with one object on standard output."""
    from finetrial.models.device import DTYPES
    from finetrial.models.library_calls import quiet
    from finetrial.training.traced_memory import traced_memory

    asked = json.load(sys.stdin)
    dtype = {"bf16": "bfloat16", "fp32": "float32"}.get(asked["dtype"], asked["dtype"])
    tokens = asked["length"] * asked["rows"]
    try:
        with quiet():
            found = traced_memory(
                _config(asked["model"], trust_remote_code=asked["trust_remote_code"]),
                method=_method(asked["method"], asked["keys"]),
                lengths=[asked["length"] + 1] * asked["rows"],  # the last token is predicted and not read
                loss_tokens=max(1, round(asked["loss_share"] * tokens)),
                dtype=DTYPES[dtype],
                optimizer=asked["optimizer"],
                checkpointing=asked["checkpointing"],
            )
    except UserError as error:
        print(json.dumps({"error": {"what": error.what, "got": error.got, "fix": error.fix}}))
        return
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
