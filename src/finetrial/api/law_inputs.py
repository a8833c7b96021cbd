"""Read laws, rules of repetition, counts and sizes from what people write: names, numbers, files."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from finetrial.errors import UserError
from finetrial.scaling.laws import DataLimitedLaw, Law, ParametricLaw
from finetrial.scaling.published_laws import NAMED_LAWS, law_by_name, law_from_constants
from finetrial.scaling.repeated_data import Rule, Saturating, rule_by_name
from finetrial.units import format_count, parse_count

if TYPE_CHECKING:
    from finetrial.footprint.structure import Shape

_LARGEST_COUNT = 1e36  # assumption: a slip of the pen beyond; products stay far from a float's end


@dataclass(frozen=True)
class Question:
    """The law and the rule of one question."""

    law: Law
    rule: Rule


@dataclass(frozen=True)
class Size:
    """One size asked about."""

    label: str
    params: float
    note: str | None = None


def read_question(law: str | Law, repeat: str | Rule) -> Question:
    """The law and the rule of repetition; the rule `fitted` is taken from the law's file."""
    found, fitted_rule = read_law(law) if isinstance(law, str) else (law, None)
    if not isinstance(repeat, str):
        return Question(found, repeat)
    if repeat != "fitted":
        return Question(found, rule_by_name(repeat))
    if fitted_rule is None:
        raise UserError(
            "--repeat fitted needs a law file that holds a fitted repetition",
            got=found.name,
            fix="Make one with `finetrial scale fit RUNS.csv --repeat --save law.json`.",
        )
    return Question(found, fitted_rule)


def read_law(text: str) -> tuple[Law, Rule | None]:
    """A law by name, by constants, or from the file that `scale fit --save` writes."""
    if "=" in text:
        return law_from_constants(text), None
    path = Path(text)
    if text not in NAMED_LAWS and (path.suffix == ".json" or path.exists()):
        return _law_from_file(path)
    return law_by_name(text), None


def _law_from_file(path: Path) -> tuple[Law, Rule | None]:
    if not path.is_file():
        raise UserError(f"there is no law file {path}", fix="Write one with `finetrial scale fit --save`.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        given = content["coefficients"]
        values = {key: float(given[key]) for key in ("E", "A", "B", "alpha", "beta")}
        largest = content.get("largest_run_flops")
        repetition = content.get("repetition")
        rule = None
        if repetition is not None:
            params = repetition.get("r_star_params")
            rule = Saturating(
                float(repetition["r_star_tokens"]),
                None if params is None else float(params),
                name="fitted",
                source=f"fitted, {path.name}",
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a law file",
            got=f"{type(error).__name__}: {error}",
            expected="what `finetrial scale fit --save` writes",
        ) from None
    bad = [key for key, value in values.items() if not (math.isfinite(value) and value > 0)]
    if bad:
        raise UserError(f"{path}: {', '.join(bad)} must be finite and more than zero")
    law = ParametricLaw(
        name=str(content.get("name", path.stem)),
        E=values["E"],
        A=values["A"],
        B=values["B"],
        alpha=values["alpha"],
        beta=values["beta"],
        source=str(content.get("source", path.name)),
        params_meaning=str(content.get("params_meaning", "as in the runs fitted")),
        largest_run_flops=None if largest is None else float(largest),
    )
    return law, rule


def count(value: str | float, what: str) -> float:
    """A count of parameters, tokens or FLOPs that could be meant: one to 1e36."""
    number = parse_count(value, what=what)
    if not 1 <= number <= _LARGEST_COUNT:
        raise UserError(f"{what} is out of range", got=repr(value), expected=f"1 to {_LARGEST_COUNT:g}")
    return number


def optional_count(value: str | float | None, what: str) -> float | None:
    """The count, or None where none was given."""
    return None if value is None else count(value, what)


def require_parametric(law: Law, *, purpose: str) -> ParametricLaw:
    """The law where it has an optimum; raises UserError for one of another form."""
    if isinstance(law, ParametricLaw):
        return law
    raise UserError(
        f"{purpose} needs a law E + A/N^alpha + B/D^beta",
        got=law.name,
        fix=f"{law.name}: {law.caveat}.",
    )


def size_of(size: str | float | Shape, *, law: Law) -> Size:
    """The size that a number, a text such as 67B, a model or its shape means, as the law counts it."""
    if isinstance(size, str) and not size:
        raise UserError("--params names no size", expected="a count such as 67B, or a model such as gpt3-175b")
    if isinstance(size, (int, float)) or (isinstance(size, str) and (size[0].isdigit() or size[0] in "+-.")):
        params = count(size, "--params")
        return Size(format_count(params), params)
    from finetrial.footprint.parameters import count_parameters
    from finetrial.planning.model_shape import load_shape  # counting loads the families of shapes

    shape = load_shape(size) if isinstance(size, str) else size
    counted = count_parameters(shape)
    if counted.active != counted.total:
        raise UserError(
            f"{shape.name} is a mixture of experts, and the laws are of dense models",
            got=f"{format_count(counted.total)} parameters, {format_count(counted.active)} of them for a token",
            fix=f"Give the number you mean: --params {format_count(counted.active)}.",
        )
    params, which = counted.total, "counted from its shape"
    if isinstance(law, DataLimitedLaw):
        params -= counted.embedding + counted.positions + counted.head
        which = f"without embeddings, as {law.name} counts"
    published = "" if shape.published is None else f"; published as {format_count(shape.published.params)}"
    return Size(shape.name, float(params), f"{shape.name}: {params:,} parameters, {which}{published}")
