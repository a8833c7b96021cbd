"""`finetrial footprint`: what copies, matrices, adapters and training take, which rank fits, what a model is."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

from finetrial.cli import footprint_compare
from finetrial.cli.footprint_options import (
    METHOD_HELP,
    DtypeOption,
    ExplainOption,
    Format,
    FormatOption,
    ModelOption,
    TargetsOption,
    method_of,
    names_of,
)
from finetrial.cli.footprint_train import train
from finetrial.cli.output import JsonOption, print_json
from finetrial.errors import UserError
from finetrial.footprint.adapters import Full, trained_parameters
from finetrial.footprint.beside import Beside
from finetrial.footprint.explain import as_latex, as_text, explain_parameters, explain_rank, explain_storage
from finetrial.footprint.known_models import NAMED_MODELS
from finetrial.footprint.method_words import parse_spec
from finetrial.footprint.parameters import count_parameters
from finetrial.footprint.shapes import named_shape, shape_names
from finetrial.footprint.stored_bytes import Storage, bytes_per_param
from finetrial.footprint.stored_bytes import storage as stored_as
from finetrial.footprint.targets import ROLES, matrices_of, resolve_targets, target_names
from finetrial.planning.model_shape import load_shape
from finetrial.units import format_bytes, format_count, format_share, parse_count

_NEAR_MISS = 0.05  # of the budget: a rank that misses by no more is named

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)
app.command("compare")(footprint_compare.compare)
app.command()(train)


@app.callback()
def footprint() -> None:
    """What copies and adapters weigh; memory and time of training; which rank fits; what a model is made of."""


@app.command()
def storage(
    model: ModelOption = None,
    params: Annotated[
        str | None, typer.Option("--params", help="Parameters as given, in place of a model: 175B.", metavar="N")
    ] = None,
    method: Annotated[str, typer.Option("--method", help=METHOD_HELP)] = "full",
    targets: TargetsOption = None,
    rank: Annotated[int | None, typer.Option("--rank", help="The LoRA's rank.", metavar="R")] = None,
    dtype: DtypeOption = "bf16",
    copies: Annotated[int, typer.Option("--copies", help="How many tasks.", metavar="K")] = 1,
    explain: ExplainOption = False,
    format: FormatOption = Format.text,
    as_json: JsonOption = False,
) -> None:
    """The bytes of copies: whole models, tuned matrices, or adapters."""
    if (model is None) == (params is None):
        raise UserError(
            "give a model or a number of parameters, one of the two", fix="--model gpt2, or --params 175B."
        )
    shape = None if model is None else load_shape(model)
    chosen = method_of(method, targets=names_of(targets), rank=rank)
    if shape is None:
        if not isinstance(chosen, Full):
            raise UserError(f"--method {method} needs --model: a number of parameters has no matrices")
        stored = stored_as(parse_count(params or "", what="--params"), dtype=dtype, copies=copies)
        published = base = None
    else:
        stored = stored_as(trained_parameters(shape, method=chosen), dtype=dtype, copies=copies)
        whole = isinstance(chosen, Full)
        published = shape.published.params if shape.published and whole else None
        base = None if whole else stored_as(count_parameters(shape).total, dtype=dtype).bytes_per_copy
    as_published = None if published is None else stored_as(published, dtype=dtype, copies=copies)
    source = shape.published.source if shape is not None and shape.published is not None else None
    steps = [] if shape is None else explain_parameters(shape, method=None if isinstance(chosen, Full) else chosen)
    steps += explain_storage(stored)
    if as_published is not None:
        steps += explain_storage(as_published, of="as published", source=source)
    if as_json:
        print_json(
            {
                "model": shape.name if shape else None,
                "method": method,
                "targets": names_of(targets) or None,
                "rank": rank,
                "dtype": dtype,
                "copies": copies,
                "params_stored": stored.params_stored,
                "bytes_per_param": stored.bytes_per_param,
                "bytes_per_copy": stored.bytes_per_copy,
                "bytes_total": stored.bytes_total,
                "bytes_base": base,
                "published": None
                if as_published is None
                else {
                    "params_stored": as_published.params_stored,
                    "bytes_per_copy": as_published.bytes_per_copy,
                    "bytes_total": as_published.bytes_total,
                    "source": source,
                },
                "explanation": steps if explain else None,
            }
        )
        return
    if explain and format is Format.latex:
        print(as_latex(steps))
        return
    what = "the whole model"
    if not isinstance(chosen, Full):
        what = chosen.words if isinstance(chosen, Beside) else "the matrices"
    on = f" on {', '.join(names_of(targets))}" if targets else ""
    print(f"{shape.name if shape else params}: {what}{on}, {dtype}")
    rows = {"counted" if shape else "as given": stored}
    if as_published is not None:
        rows["as published"] = as_published
    for label, row in rows.items():
        _print_storage(label, row)
    if as_published is not None:
        _print_wrapped(f"published: {source}")
    if base is not None:
        print(f"  One copy of the base, which all share, is {format_bytes(base)} more.")
    if explain:
        print("\n" + as_text(steps))


def _print_wrapped(text: str) -> None:
    print(textwrap.fill(text, width=79, initial_indent="  ", subsequent_indent="    "))


def _print_storage(label: str, stored: Storage) -> None:
    print(f"  {label}")
    print(f"    parameters  {stored.params_stored:>23,.0f}")
    rows = [("one copy", stored.bytes_per_copy)]
    if stored.copies > 1:
        rows.append((f"{stored.copies} copies", stored.bytes_total))
    for name, size in rows:
        units = f"{format_bytes(size, binary=False)} = {format_bytes(size)}"
        print(f"    {name:<11} {size:>23,} bytes   {units}")


@app.command()
def rank(
    budget: Annotated[
        str | None, typer.Option("--budget", help="The bytes of one adapter: 36MiB.", metavar="BYTES")
    ] = None,
    same_as: Annotated[
        str | None,
        typer.Option("--same-as", help="As many bytes as another way takes: lora:4:q,v.", metavar="METHOD"),
    ] = None,
    model: ModelOption = None,
    targets: TargetsOption = None,
    dtype: DtypeOption = "bf16",
    explain: ExplainOption = False,
    format: FormatOption = Format.text,
    as_json: JsonOption = False,
) -> None:
    """The largest LoRA rank whose adapter fits a budget, or the bytes of another way of tuning."""
    from finetrial.footprint.estimates import rank as largest_rank  # with the plan of memory

    if model is None:
        raise UserError("a rank needs a model", fix="--model gpt3-175b, say.")
    shape = load_shape(model)
    from finetrial.methods.on_paper import paper_words  # with pydantic: --help does without

    names = names_of(targets)
    specs = () if same_as is None else parse_spec(same_as, words=paper_words())
    other = specs[0].method if len(specs) == 1 else same_as
    answer = largest_rank(shape, targets=names, budget=budget, same_as=other, dtype=dtype)
    asked = str(budget) if same_as is None else f"the {answer.budget_bytes:,} bytes of {same_as}"
    steps = explain_rank(shape, targets=names, bytes_per_param=bytes_per_param(dtype), answer=answer)
    if as_json:
        print_json(
            {
                "model": shape.name,
                "targets": names,
                "dtype": dtype,
                "budget_bytes": answer.budget_bytes,
                "rank": answer.rank,
                "params_stored": answer.params_stored,
                "bytes_per_copy": answer.bytes_per_copy,
                "capped": answer.capped,
                "matrix_bytes": answer.matrix_bytes,
                "same_as": same_as,
                "next_rank_bytes": answer.next_rank_bytes,
                "next_rank_excess": answer.next_rank_excess,
                "explanation": steps if explain else None,
            }
        )
        return
    if explain and format is Format.latex:
        print(as_latex(steps))
        return
    size = f"{answer.bytes_per_copy:,} bytes = {format_bytes(answer.bytes_per_copy)}"
    print(f"{shape.name}: rank {answer.rank} on {', '.join(names)} fits {asked} in {dtype}")
    print(f"  {answer.params_stored:,} parameters, {size}")
    if answer.next_rank_excess is not None and answer.next_rank_excess <= _NEAR_MISS:
        print(
            f"  A near miss: rank {answer.rank + 1} needs {answer.next_rank_bytes:,} bytes, "
            f"{format_share(answer.next_rank_excess, digits=2)} more."
        )
    if answer.capped:
        print("  The budget holds more, but no rank beyond the matrices' smaller side adds anything.")
    if answer.bytes_per_copy >= answer.matrix_bytes:
        print(f"  The matrices themselves are no heavier: {format_bytes(answer.matrix_bytes)}.")
    if explain:
        print("\n" + as_text(steps))


@app.command()
def shape(
    model: Annotated[
        str | None, typer.Argument(help="As --model elsewhere. Left out, all names are listed.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the models known by name, or print what one is made of."""
    if model is None:
        _list_names(as_json=as_json)
        return
    found = load_shape(model)
    count = count_parameters(found)
    targets = resolve_targets(found, targets=[t for t in target_names(matrices_of(found)) if t in ROLES])
    if as_json:
        print_json(
            {
                "model": found.name,
                "architecture": found.architecture,
                "layers": found.depth,
                "width": found.width,
                "heads": found.heads,
                "kv_heads": found.kv_heads,
                "head_size": found.head_size,
                "vocabulary": found.vocabulary,
                "context": found.context,
                "windows": [layer.window for layer in found.layers],
                "tied_head": found.tied_head,
                "params": count.total,
                "params_active": count.active,
                "groups": count.groups(),
                "published": found.published,
                "targets": [
                    {
                        "target": t.name,
                        "module": t.linear.path,
                        "inputs": t.inputs,
                        "outputs": t.outputs,
                        "matrices": t.matrices,
                    }
                    for t in targets
                ],
            }
        )
        return
    groups = f", {found.kv_heads} of keys and values" if found.kv_heads != found.heads else ""
    context = f", context {found.context:,}" if found.context else ""
    print(f"{found.name} ({found.architecture}): {found.depth} layers of width {found.width:,}{context}")
    print(f"  {found.heads} heads of {found.head_size}{groups}; {found.vocabulary:,} words")
    windows = sorted({layer.window for layer in found.layers if layer.window})
    if windows:
        slid = sum(layer.window is not None for layer in found.layers)
        print(f"  {slid} of the layers look back {', '.join(f'{w:,}' for w in windows)} tokens, the others all")
    print()
    for name, params in count.groups().items():
        print(f"  {name:<12} {params:>19,}  {100 * params / count.total:5.1f} %")
    print(f"  {'total':<12} {count.total:>19,}")
    if found.tied_head:
        print("  The head's matrix is the embedding, counted once.")
    if found.mixture:
        print(f"  A token passes {count.active:,} of them.")
    if found.published:
        active = f", {format_count(found.published.active_params)} a token" if found.published.active_params else ""
        published = format_count(found.published.params, digits=10)
        _print_wrapped(f"Published: {published}{active} ({found.published.source})")
    print("\n  target  module                        inputs -> outputs  matrices")
    for t in targets:
        print(f"  {t.name:<7} {t.linear.path:<27} {t.inputs:>8,} -> {t.outputs:<8,} {t.matrices:>8,}")


def _list_names(*, as_json: bool) -> None:
    shapes = [named_shape(name) for name in shape_names()]
    published = {s.name: s.published.params for s in shapes if s.published is not None}
    if as_json:
        rows = [
            {
                "name": s.name,
                "architecture": s.architecture,
                "params": count_parameters(s).total,
                "published": published[s.name],
                "hub_ids": NAMED_MODELS[s.name].hub_ids,
            }
            for s in shapes
        ]
        print_json({"models": rows})
        return
    print(f"{'name':<19} {'counted':>16} {'published':>12}  architecture")
    for s in shapes:
        stated = format_count(published[s.name])
        print(f"{s.name:<19} {count_parameters(s).total:>16,} {stated:>12}  {s.architecture}")
