"""`finetrial pretrain`: make a small base model from text."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from finetrial.cli.output import JsonOption, print_json
from finetrial.errors import unknown_name
from finetrial.units import format_bytes, format_count, format_seconds, parse_count, parse_share

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)

_PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@app.command()
def pretrain(
    texts: Annotated[
        list[str],
        typer.Argument(
            help="Text to read: .txt, .jsonl, .csv, .parquet; a slice as in plays.txt[:30000].", metavar="TEXT..."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The model's folder.", metavar="DIR")],
    config: Annotated[
        Path | None, typer.Option("--config", help="A config.json of any architecture; else a GPT-2.")
    ] = None,
    layers: Annotated[int, typer.Option("--layers", min=1)] = 4,
    width: Annotated[int, typer.Option("--width", min=1)] = 256,
    heads: Annotated[int, typer.Option("--heads", min=1)] = 4,
    context: Annotated[int | None, typer.Option("--context", min=2, help="Tokens; 512 unless given.")] = None,
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", help="A tokenizer's folder, or train:SIZE.", metavar="DIR|train:N")
    ] = "train:4096",
    column: Annotated[
        str | None, typer.Option("--column", help="Where rows keep their text; text or prompt unless given.")
    ] = None,
    tokens: Annotated[
        str | None, typer.Option("--tokens", help="To process, repeats included: 20M. Four epochs unless given.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.01, help="Stop the plan at what fits into this time.")
    ] = None,
    heldout: Annotated[str, typer.Option("--heldout", help="Share that is never trained on.")] = "5%",
    dropout: Annotated[float, typer.Option("--dropout", min=0, max=0.9)] = 0.0,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", min=1e-9, help="By the width unless given.")
    ] = None,
    batch_tokens: Annotated[str, typer.Option("--batch-tokens", help="Tokens of a step.")] = "8192",
    precision: Annotated[
        str, typer.Option("--precision", help="float32, bfloat16 or float16; auto takes the faster.")
    ] = "auto",
    seed: Annotated[int, typer.Option("--seed")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Make a small base model from text, in Hugging Face layout, with a manifest of what it has read.

    Stopped and started again, it continues.
    """
    share = parse_share(heldout, what="--heldout")
    token_count = None if tokens is None else parse_count(tokens, what="--tokens")
    batch = int(parse_count(batch_tokens, what="--batch-tokens"))
    if precision not in _PRECISIONS:
        raise unknown_name("precision", precision, _PRECISIONS)
    from finetrial.api.progress import Progressing
    from finetrial.training.pretraining import PretrainTask, pretrain
    from finetrial.training.task import Progress, resumed_text  # sound options first: this loads torch

    task = PretrainTask(
        texts=tuple(texts),
        folder=out,
        config=config,
        layers=layers,
        width=width,
        heads=heads,
        context=context,
        tokenizer=tokenizer,
        column=column,
        tokens=token_count,
        minutes=minutes,
        heldout=share,
        dropout=dropout,
        learning_rate=learning_rate,
        batch_tokens=batch,
        precision=cast(Literal["auto", "float32", "bfloat16", "float16"], precision),
        seed=seed,
        command=shlex.join(["finetrial", *sys.argv[1:]]),
    )
    with Progressing() as listener:
        announced = False

        def watch(progress: Progress) -> None:
            nonlocal announced
            if progress.seconds_left is not None and not announced:
                announced = True
                total = format_seconds(progress.seconds + progress.seconds_left)
                listener.line(f"{progress.steps:,} steps, about {total}")
            rate = progress.tokens / progress.seconds if progress.seconds else 0.0
            loss = "" if progress.loss is None else f"loss {progress.loss:.3f}  "
            listener.step(
                "pretrain",
                done=progress.step,
                total=progress.steps,
                detail=f"{loss}{format_count(rate, digits=3)} tokens/s",
                seconds_left=progress.seconds_left,
            )

        result = pretrain(
            task,
            on_progress=watch,
            on_resume=lambda step, steps: listener.line(resumed_text(step, steps=steps)),
        )
    if as_json:
        print_json(result)
        return
    measured = result.measured
    loss = "no held-out text" if result.heldout_loss is None else f"{result.heldout_loss:.4f} nats a token"
    bits = "" if result.bits_per_byte is None else f", {result.bits_per_byte:.3f} bits a byte"
    print(f"{format_count(result.parameters)} parameters, {result.vocabulary:,} tokens in the vocabulary")
    print(
        f"read {format_count(measured.tokens_processed)} tokens: {result.epochs:.2f} epochs of "
        f"{format_count(result.train_tokens)}, in {format_seconds(measured.tune_seconds)}"
    )
    print(f"held-out loss {loss}{bits}")
    peak = measured.peak_memory_bytes
    if peak is not None:
        print(f"peak memory {format_bytes(peak)}, {measured.precision} on {measured.device}")
    print(f"the model: {result.folder}")
