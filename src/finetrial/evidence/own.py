"""What does the user's own metric say of each sample? `file.py:function`, text and references to a number."""

from __future__ import annotations

import importlib.util
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from finetrial.errors import UserError, unknown_name
from finetrial.evidence.measures import OwnFunction
from finetrial.store.hashes import hash_file


@dataclass(frozen=True, slots=True)
class OwnMetric:
    """The user's function, loaded, and the signature of its scores."""

    name: str
    signature: str
    function: Callable[[str, tuple[str, ...]], float | None]

    def value(self, text: str, references: tuple[str, ...], *, sample_id: str) -> float | None:
        """The function's number for one sample; None (or NaN) where the function has none.

        Raises UserError, naming the sample, where the function fails or returns something else.
        """
        try:
            found = self.function(text, references)
        except Exception as error:
            raise UserError(
                f"{self.name} failed on the sample {sample_id}",
                got=f"{type(error).__name__}: {error}",
                fix="It is called as function(text, references) with a str and a tuple of str.",
            ) from error
        if found is None:
            return None
        if not isinstance(found, numbers.Real):
            raise UserError(
                f"{self.name} returned no number for the sample {sample_id}",
                got=type(found).__name__,
                expected="a float, an int, a bool, or None where undefined",
            )
        value = float(found)
        return None if math.isnan(value) else value


def load_own(metric: str, own: OwnFunction, *, base: Path) -> OwnMetric:
    """Load the user's function; its file is relative to `base`. This runs the file.

    The signature names the file's content by its hash, so that a changed function is another metric.
    """
    path = (base / Path(own.file).expanduser()).resolve()
    if not path.exists():
        raise UserError(
            f"there is no file {path} for the metric {metric}", expected=f"a path relative to {base.resolve()}"
        )
    spec = importlib.util.spec_from_file_location(f"_finetrial_own_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{path} cannot be run", got=f"{type(error).__name__}: {error}") from error
    functions = {
        name: value for name, value in vars(module).items() if callable(value) and not name.startswith("_")
    }
    if own.function not in functions:
        raise unknown_name(f"function of {path.name}", own.function, functions)
    signature = f"{metric}|sha256:{hash_file(path)[:12]}"
    return OwnMetric(metric, signature, functions[own.function])
