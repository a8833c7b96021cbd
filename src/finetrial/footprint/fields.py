"""Read the fields of a Hugging Face configuration, with their defaults; name what is missing or invalid.

Also the few builders that every family's reader uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from finetrial.errors import UserError
from finetrial.footprint.structure import Linear


class UnknownShape(UserError):
    """This configuration cannot be counted. Nothing else is wrong with it: training may go on without a count."""


class Fields:
    """A configuration, read field by field; what is missing or invalid is named."""

    def __init__(self, config: Mapping[str, Any], *, name: str) -> None:
        self._config = config
        self.name = name

    def count(self, *names: str, default: int | None = None) -> int:
        """A whole number above zero, under the first of `names` that is given and not null."""
        for name in names:
            value = self._config.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
                raise UnknownShape(
                    f"cannot count {self.name}: its configuration has an invalid {name}",
                    got=repr(value),
                    expected="a whole number above zero",
                )
            return value
        if default is None:
            raise UnknownShape(
                f"cannot count {self.name}: its configuration has no {names[0]}",
                fix="Give the config.json that was saved with the model.",
            )
        return default

    def count_if_given(self, name: str) -> int | None:
        return None if self._config.get(name) is None else self.count(name)

    def is_null(self, name: str) -> bool:
        """True when the field stands in the configuration and holds null, which some defaults tell from absent."""
        return name in self._config and self._config[name] is None

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._config.get(name)
        return default if value is None else bool(value)

    def numbers(self, name: str) -> frozenset[int]:
        return frozenset(self._config.get(name) or ())

    def windows(
        self, *, depth: int, default: int | None = None, slides: Callable[[int], bool] = lambda _: True
    ) -> tuple[int | None, ...]:
        """Each layer's attention window: by `layer_types` when given, else where `slides(layer)` says."""
        size = self._config.get("sliding_window", default)
        if not size:
            return (None,) * depth
        kinds = self._config.get("layer_types")
        if kinds is not None and len(kinds) == depth:
            return tuple(size if kind == "sliding_attention" else None for kind in kinds)
        return tuple(size if slides(layer) else None for layer in range(depth))


def one_role(path: str, role: str, inputs: int, outputs: int, bias: bool = False) -> Linear:
    return Linear(path=path, roles=(role,), inputs=inputs, widths=(outputs,), bias=bias)


def head_linear(width: int, vocabulary: int, *, path: str = "lm_head", bias: bool = False) -> Linear:
    return Linear(path=path, roles=("head",), inputs=width, widths=(vocabulary,), bias=bias)
