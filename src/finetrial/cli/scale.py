"""The commands of `finetrial scale`, which stand in the scale_* modules."""

from __future__ import annotations

import typer

from finetrial.cli import scale_fit, scale_optimal, scale_plan, scale_plot, scale_tokens

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Scaling laws: loss, tokens, epochs, the best size, and a law fitted to your own runs.",
)
app.command("loss")(scale_plan.loss)
app.command("tokens")(scale_tokens.tokens)
app.command("epochs")(scale_plan.epochs)
app.command("optimal")(scale_optimal.optimal)
app.command("fit")(scale_fit.fit)
app.command("plot")(scale_plot.plot)
