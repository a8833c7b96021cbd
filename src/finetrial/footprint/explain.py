"""The derivation of a storage figure, as a worked exercise in text or LaTeX."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from finetrial.footprint.adapters import Matrices
from finetrial.footprint.beside import Beside, Lora
from finetrial.footprint.parameters import count_parameters
from finetrial.footprint.stored_bytes import RankAnswer, Storage
from finetrial.footprint.structure import Shape
from finetrial.footprint.targets import Target, resolve_targets


@dataclass(frozen=True)
class Step:
    """One line: what is computed, the formula, the same with values put in, the result, and the source."""

    what: str
    formula: str
    formula_latex: str
    values: str
    result: str
    source: str | None = None

    @property
    def values_latex(self) -> str:
        values = _grouped(_escape(self.values)).replace(" x ", r" \times ").replace("min(", r"\min(")
        for word in ("layers", "experts"):
            values = values.replace(f" {word}", rf"\ \text{{{word}}}")
        return values

    @property
    def result_latex(self) -> str:
        return _grouped(self.result)


_WIDTH = 80


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _count(target: Target) -> str:
    count = f"{len(target.layers)} layers" if target.layers else "1"
    return f"{count} x {target.linear.copies} experts" if target.linear.copies > 1 else count


def _matrix_steps(targets: Sequence[Target]) -> list[Step]:
    """For each target its matrices, inputs x outputs each."""
    return [
        Step(
            f"{t.name} ({t.linear.path})",
            "matrices x d_in x d_out",
            r"n\, d_\mathrm{in} d_\mathrm{out}",
            f"{_count(t)} x {_number(t.inputs)} x {_number(t.outputs)}",
            _number(t.inputs * t.outputs * t.matrices),
        )
        for t in targets
    ]


def _beside_steps(method: Beside, targets: Sequence[Target]) -> list[Step]:
    """For each target what stands beside its matrices."""
    steps = []
    for t in targets:
        formula, latex, each, source = method.formula(t)
        total = method.on(t.linear, (t,)).trained[0] * t.matrices
        steps.append(
            Step(f"{t.name} ({t.linear.path})", formula, latex, f"{_count(t)} x {each}", _number(total), source)
        )
    return steps


def explain_parameters(shape: Shape, *, method: Beside | Matrices | None) -> list[Step]:
    """How the parameters of a copy are counted; `method` None is the whole model."""
    if method is None:
        groups = count_parameters(shape).groups()
        return [
            Step(
                f"parameters of {shape.name}",
                " + ".join(groups),
                " + ".join(rf"N_\mathrm{{{name}}}" for name in groups),
                " + ".join(map(_number, groups.values())),
                _number(sum(groups.values())),
            )
        ]
    targets = resolve_targets(shape, targets=method.targets, layers=method.layers)
    steps = _matrix_steps(targets) if isinstance(method, Matrices) else _beside_steps(method, targets)
    if len(steps) > 1:
        total = sum(int(step.result.replace(",", "")) for step in steps)
        values = " + ".join(step.result for step in steps)
        steps.append(Step("parameters stored", "sum of the targets", r"\sum_t N_t", values, _number(total)))
    return steps


def explain_storage(stored: Storage, *, of: str | None = None, source: str | None = None) -> list[Step]:
    """From parameters to the bytes of one copy and of all; `of`: which parameters, where they are not counted."""
    n, size, copies = _number(stored.params_stored), stored.bytes_per_param, stored.copies
    one, total = _number(stored.bytes_per_copy), _number(stored.bytes_total)
    which = f" {of}" if of else ""
    return [
        Step(f"bytes of a copy{which}", "parameters x bytes of each", r"N\, b", f"{n} x {size}", one, source),
        *_in_binary_units(stored.bytes_per_copy, what=f"a copy{which}"),
        Step(f"bytes in all{which}", "copies x bytes of a copy", r"k\, N\, b", f"{copies} x {one}", total),
        *(_in_binary_units(stored.bytes_total, what=f"all{which}") if copies > 1 else ()),
    ]


def _in_binary_units(size_bytes: int, *, what: str) -> list[Step]:
    """The size in MiB, GiB or TiB, and where two decimals depend on rounding or cutting."""
    power = min(max((size_bytes.bit_length() - 1) // 10, 0), 4)
    if power == 0:
        return []
    unit, scale = ("KiB", "MiB", "GiB", "TiB")[power - 1], 1024**power
    value = size_bytes / scale
    rounded, cut = round(value, 2), math.floor(value * 100) / 100
    remark = f"rounded to two decimals {rounded:.2f}, cut off {cut:.2f}" if rounded != cut else None
    return [
        Step(
            f"{what}, in {unit}",
            f"bytes / 2^{10 * power}",
            rf"\mathrm{{bytes}} / 2^{{{10 * power}}}",
            f"{_number(size_bytes)} / {_number(scale)}",
            f"{value:.9g}",
            remark,
        )
    ]


def explain_rank(shape: Shape, *, targets: Sequence[str], bytes_per_param: int, answer: RankAnswer) -> list[Step]:
    """From one rank's parameters to the largest rank that fits."""
    steps = explain_parameters(shape, method=Lora(rank=1, targets=tuple(targets)))
    of_one = answer.params_per_rank * bytes_per_param
    steps.append(
        Step(
            "bytes of a rank",
            "parameters x bytes of each",
            r"N_1 b",
            f"{_number(answer.params_per_rank)} x {bytes_per_param}",
            _number(of_one),
        )
    )
    fits = str(answer.budget_bytes // of_one)
    quotient = f"{_number(answer.budget_bytes)} / {_number(of_one)} = {answer.budget_bytes / of_one:.6g}"
    formula = "budget / bytes of a rank, downward"
    steps.append(Step("largest rank", formula, r"\lfloor B / (N_1 b) \rfloor", quotient, fits))
    if answer.capped:
        sides = [f"min({t.inputs}, {t.outputs})" for t in resolve_targets(shape, targets=targets)]
        formula, latex = "largest of min(d_in, d_out)", r"\max_t \min(d_\mathrm{in}, d_\mathrm{out})"
        steps.append(Step("useful rank", formula, latex, ", ".join(sides), str(answer.rank)))
    return steps


def as_text(steps: Sequence[Step]) -> str:
    """The steps as lines of text, the values under the formula."""
    lines = []
    for step in steps:
        first, source = f"{step.what} = {step.formula}", f"[{step.source}]" if step.source else ""
        beside = source and len(first) + 3 + len(source) <= _WIDTH
        lines += [f"{first}   {source}"] if beside else _wrapped(first)
        lines += _wrapped(f"  {source}") if source and not beside else []
        lines += [*_wrapped(f"  = {step.values}"), f"  = {step.result}"]
    return "\n".join(lines)


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(
        line,
        width=_WIDTH,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def as_latex(steps: Sequence[Step]) -> str:
    """The steps as one `align*` of amsmath."""
    rows = []
    for step in steps:
        source = rf" && \text{{{_escape(step.source)}}}" if step.source else ""
        rows.append(rf"  \text{{{_escape(step.what)}}} &= {step.formula_latex}{source} \\")
        rows.append(rf"  &= {step.values_latex} \\")
        rows.append(rf"  &= {step.result_latex} \\")
    rows[-1] = rows[-1].removesuffix(r" \\")
    return "\n".join([r"\begin{align*}", *rows, r"\end{align*}"])


def _grouped(text: str) -> str:
    """A comma between digits without the space that LaTeX would set after it."""
    return re.sub(r"(?<=\d),(?=\d)", "{,}", text)


def _escape(text: str) -> str:
    return text.replace("_", r"\_")
