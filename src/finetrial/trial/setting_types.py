"""Types that the keys of a trial file share: strict mappings, and values that may be `auto`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

ChatUse = Literal["auto", "always", "never"]


def tag_of(strip: str) -> str | None:
    """The tag of `sampling.strip` where it names blocks: `<think>`; None where it is an expression."""
    return strip if re.fullmatch(r"<[A-Za-z][A-Za-z0-9_-]*>", strip) else None


def is_path(name: str) -> bool:
    """Whether a model's or adapter's name is written as a path."""
    return name.startswith(("/", ".", "~"))


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _texts_or_auto(value: object) -> object:
    """In these words, for the branches of a union are named by their types."""
    texts = isinstance(value, (list, tuple)) and all(isinstance(text, str) and text for text in value)
    if value is not None and value != "auto" and not texts:
        raise ValueError(f'must be auto or a list of texts, such as ["\\n"], not {value!r}')
    return value


def _whole_or_auto(value: object) -> object:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value != "auto" and not whole:
        raise ValueError(f"must be a whole number from 1 on or auto, not {value!r}")
    return value


Stops = Annotated[Literal["auto"] | tuple[str, ...], BeforeValidator(_texts_or_auto)]
WholeOrAuto = Annotated[int | Literal["auto"], BeforeValidator(_whole_or_auto)]


def number_or_auto(value: object) -> object:
    """YAML reads 1e-3 as text; other text than a number or `auto` is refused in these words."""
    if isinstance(value, str) and value != "auto":
        try:
            float(value)
        except ValueError:
            raise ValueError(f"must be a number or auto, not {value!r}") from None
    return value


def positive(value: float | str | None) -> float | str | None:
    if isinstance(value, float) and value <= 0:
        raise ValueError("must be more than zero")
    return value
