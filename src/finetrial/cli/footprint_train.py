"""`finetrial footprint train`: the memory and time that training takes, and what would make a misfit fit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

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
from finetrial.cli.output import JsonOption, print_json
from finetrial.errors import UserError
from finetrial.footprint.beside import Beside
from finetrial.footprint.explain import as_latex
from finetrial.planning.model_shape import load_shape
from finetrial.units import format_bytes, parse_count


def train(
    model: ModelOption = None,
    length: Annotated[
        int | None, typer.Option("--length", help="Tokens of an example, prompt and answer.", metavar="N")
    ] = None,
    method: Annotated[str, typer.Option("--method", help=METHOD_HELP)] = "lora",
    targets: TargetsOption = None,
    rank: Annotated[int | None, typer.Option("--rank", help="The LoRA's rank.", metavar="R")] = None,
    memory: Annotated[
        str | None,
        typer.Option("--memory", help="Of the device: 24GB; unless --device says.", metavar="BYTES"),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, or a card by name: rtx-4090, h100.", metavar="NAME")
    ] = None,
    micro_batch: Annotated[
        int, typer.Option("--micro-batch", help="Examples of one pass, packed end to end.", metavar="N")
    ] = 1,
    devices: Annotated[
        int, typer.Option("--devices", min=1, help="That train together, each a micro-batch.", metavar="N")
    ] = 1,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Activations are made again in backward.")
    ] = False,
    quantize: Annotated[
        str | None, typer.Option("--quantize", help="nf4: the frozen base in four bits.", metavar="TYPE")
    ] = None,
    optimizer: Annotated[
        str, typer.Option("--optimizer", help="adamw, adamw8bit, adafactor or sgd.", metavar="NAME")
    ] = "adamw",
    dtype: DtypeOption = "bf16",
    loss_share: Annotated[
        str, typer.Option("--loss-share", help="Of the tokens, those that carry loss.", metavar="SHARE")
    ] = "100%",
    new_tokens: Annotated[
        int, typer.Option("--new-tokens", help="Of a sampled answer, within --length.", metavar="N")
    ] = 1,
    tokens: Annotated[
        str | None, typer.Option("--tokens", help="Of the whole run, for its time: 10M.", metavar="N")
    ] = None,
    hour: Annotated[float | None, typer.Option("--hour", help="Price of an hour.", metavar="MONEY")] = None,
    traced: Annotated[
        bool, typer.Option("--traced", help="The model's own step, followed without numbers; needs torch, a CPU's.")
    ] = False,
    explain: ExplainOption = False,
    format: FormatOption = Format.text,
    as_json: JsonOption = False,
) -> None:
    """Memory and time of training; whether it fits, and what would make it fit. Exit status 1 where it does not."""
    # the plan of memory, which the other commands of `footprint` answer without
    from finetrial.cli.footprint_train_view import print_training, training_json
    from finetrial.footprint.estimates import train as train_footprint
    from finetrial.footprint.explain_training import explain_time, explain_training

    if model is None:
        raise UserError("training needs a model", fix="--model llama-3-8b, say.")
    if length is None:
        raise UserError("training needs the examples' length", fix="--length 2048, say.")
    shape = load_shape(model)
    names = names_of(targets)
    chosen = method_of(method, targets=names, rank=rank)
    if isinstance(chosen, Beside) and not names:
        raise UserError(f"{chosen.words} needs targets", fix="Add --targets all-linear, or q,v.")
    found = train_footprint(
        shape,
        length=length,
        method=chosen,
        memory=memory,
        device=device,
        micro_batch=micro_batch,
        checkpointing=checkpointing,
        quantize=quantize,
        optimizer=optimizer,
        dtype=dtype,
        loss_share=loss_share,
        new_tokens=new_tokens,
        devices=devices,
    )
    plan, time, rates = found.plan, found.time, found.rates
    total = None if tokens is None else parse_count(tokens, what="--tokens")
    if time is None and (total is not None or hour is not None):
        raise UserError("the time of a run needs a device whose rates are known", fix="Add --device rtx-4090, say.")
    tracing = None
    if traced:
        from finetrial.workflow.traced_peak import traced_peak  # with pydantic: --help does without

        keys = {"rank": rank, "targets": list(names)}
        given = {key: value for key, value in keys.items() if value}
        tracing = traced_peak(model, method=method, keys=given, training=found.training)
    steps = explain_training(shape, plan) if explain else []
    if explain and time is not None and rates is not None:
        steps += explain_time(found.training, time, rates=rates)
    if as_json:
        content = training_json(
            found, tokens=total, hour=hour, method=method, targets=names, rank=rank, device=device
        )
        print_json(
            {
                **content,
                "traced": None if tracing is None else asdict(tracing),
                "explanation": steps if explain else None,
            }
        )
    elif explain and format is Format.latex:
        print(as_latex(steps))
    else:
        print_training(found, tokens=total, hour=hour, device=device, explanation=steps)
        if tracing is not None:
            counted = found.plan.training.total_bytes
            print(
                f"\nTraced, the model's own step followed without numbers: {format_bytes(tracing.peak_bytes)} at "
                f"the peak; counted from the shape {counted / tracing.peak_bytes - 1:+.1%} of it."
            )
    if found.fits is False:
        raise typer.Exit(1)
