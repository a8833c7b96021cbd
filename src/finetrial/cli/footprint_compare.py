"""`finetrial footprint compare`: several ways of tuning one model in one table, with their ratios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from finetrial.cli.output import JsonOption, print_json
from finetrial.footprint.adapters import Full
from finetrial.footprint.explain import Step, as_text, explain_parameters, explain_storage
from finetrial.footprint.method_words import Spec, parse_spec
from finetrial.footprint.parameters import count_parameters
from finetrial.footprint.stored_bytes import Storage
from finetrial.footprint.stored_bytes import storage as stored_as
from finetrial.footprint.structure import Shape
from finetrial.planning.model_shape import load_shape
from finetrial.units import format_bytes


@dataclass(frozen=True)
class _Row:
    label: str
    stored: Storage
    steps: list[Step]


def compare(
    methods: Annotated[
        list[str],
        typer.Argument(help="full, matrices:q,v, lora:4:q,v, lora:1,2:q,v, ia3:k,v,down ...", metavar="METHOD ..."),
    ],
    model: Annotated[str, typer.Option("--model", help="As of `footprint storage`.", metavar="MODEL")],
    copies: Annotated[int, typer.Option("--copies", help="How many tasks.", metavar="K")] = 1,
    dtype: Annotated[str, typer.Option("--dtype", help="fp32, bf16, fp16, fp8 or int8.", metavar="TYPE")] = "bf16",
    explain: Annotated[bool, typer.Option("--explain", help="Show the derivations.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Several ways of tuning in one table: parameters, bytes, and each as a share of the first."""
    # with pydantic and the plan of memory: --help and the other commands do without
    from finetrial.footprint.estimates import compare as compare_storage
    from finetrial.methods.on_paper import paper_words

    shape = load_shape(model)
    specs = [spec for text in methods for spec in parse_spec(text, words=paper_words())]
    stored = compare_storage(shape, specs, copies=copies, dtype=dtype)
    rows = [_row(spec, shape, stored=stored[spec.label]) for spec in specs]
    published = None
    if shape.published is not None and any(isinstance(spec.method, Full) for spec in specs):
        published = stored_as(shape.published.params, dtype=dtype, copies=copies)
    shares_base = any(not isinstance(spec.method, Full) for spec in specs)
    base = stored_as(count_parameters(shape).total, dtype=dtype).bytes_per_copy if shares_base else None
    first = rows[0].stored.bytes_per_copy
    if as_json:
        print_json(
            {
                "model": shape.name,
                "dtype": dtype,
                "copies": copies,
                "rows": [
                    {
                        "method": row.label,
                        "params_stored": row.stored.params_stored,
                        "bytes_per_copy": row.stored.bytes_per_copy,
                        "bytes_total": row.stored.bytes_total,
                        "ratio_to_first": row.stored.bytes_per_copy / first,
                        "explanation": row.steps if explain else None,
                    }
                    for row in rows
                ],
                "published": published,
                "bytes_base": base,
            }
        )
        return
    print(f"{shape.name}, {dtype}")
    header = ("method", "parameters", "one copy", f"{copies} copies" if copies > 1 else "", "of the first")
    lines = [_cells(row.label, row.stored, ratio=_ratio(row.stored.bytes_per_copy, first)) for row in rows]
    if published is not None:
        place = next(i for i, spec in enumerate(specs) if isinstance(spec.method, Full))
        lines.insert(place + 1, _cells("  as published", published, ratio=""))
    widths = [max(len(line[place]) for line in (header, *lines)) for place in range(len(header))]
    for line in (header, *lines):
        cells = [f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True) if width]
        print("  ".join([f"  {line[0]:<{widths[0]}}", *cells]).rstrip())
    if base is not None:
        print(f"  One copy of the base, which matrices and adapters share, is {format_bytes(base)} more.")
    if explain:
        for row in rows:
            print(f"\n{row.label}\n{as_text(row.steps)}")


def _row(spec: Spec, shape: Shape, *, stored: Storage) -> _Row:
    counted = explain_parameters(shape, method=None if isinstance(spec.method, Full) else spec.method)
    return _Row(spec.label, stored, [*counted, *explain_storage(stored)])


def _cells(label: str, stored: Storage, *, ratio: str) -> tuple[str, ...]:
    total = format_bytes(stored.bytes_total) if stored.copies > 1 else ""
    return label, f"{stored.params_stored:,}", format_bytes(stored.bytes_per_copy), total, ratio


def _ratio(size_bytes: int, first_bytes: int) -> str:
    """1, 1/9,251 or 4.02: a person reads one in so many more easily than a small share."""
    ratio = size_bytes / first_bytes
    if ratio >= 1:
        return f"{ratio:,.4g}"
    return f"1/{1 / ratio:,.0f}" if ratio < 0.01 else f"1/{1 / ratio:.3g}"
