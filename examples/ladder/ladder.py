"""Which loss will a larger run reach, judged by a ladder of small ones? Your own law, on your own machine.

    python examples/ladder/ladder.py [--text ../shared/data/shakespeare.txt] [--out runs/ladder]

Trains every rung of rungs.csv with `finetrial pretrain`, fits the law with `finetrial scale fit`, writes the
prediction for the larger run with its time, and only then trains that run. Stopped and started again, it continues;
what is done is skipped. Everything stands under --out: the runs as csv, the fits, the prediction and the
measurement as JSON, two pictures, and the tables as ladder.md.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import random
import shlex
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: so small a model gains nothing from a second thread
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from ladder_plan import Run, Settings, read_rungs
from ladder_tables import write_tables

from finetrial.cli.main import dispatch
from finetrial.errors import FinetrialError, UserError
from finetrial.models.evaluate import mean_loss
from finetrial.models.loading import load_model, load_tokenizer
from finetrial.models.pretraining_corpus import cut, read_documents, train_tokenizer
from finetrial.store.files import atomic_path, atomic_text
from finetrial.store.hashes import hash_file

HERE = Path(__file__).parent
DEFINITIONS = ("params", "params_body")  # of N: every parameter, or those outside the embeddings
COUNTS = "params=1,tokens=1,unique_tokens=1"  # said, for sizes so small could be taken for a table in millions


def main() -> None:
    """Climb the ladder and print what it says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=Path, default=Path("../shared/data/shakespeare.txt"))
    parser.add_argument("--out", type=Path, default=Path("runs/ladder"))
    parser.add_argument("--rungs", type=Path, default=HERE / "rungs.csv")
    parser.add_argument("--bootstrap", type=int, default=1000)
    chosen = parser.parse_args()
    try:
        climb(chosen.text, out=chosen.out, rungs=chosen.rungs, bootstrap=chosen.bootstrap)
    except FinetrialError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        sys.exit(130)


def climb(text: Path, *, out: Path, rungs: Path, bootstrap: int) -> None:
    """The ladder, the prediction, the larger run, in this order."""
    runs = read_rungs(rungs)
    if not text.is_file():
        raise UserError(f"there is no file {text}", expected="a text", fix="Name one with --text FILE.")
    settings = Settings(text=text.name, text_sha256=hash_file(text))
    prepare(text, out=out, settings=settings)
    small, larger = [run for run in runs if run.role == "rung"], next(run for run in runs if run.role == "larger")
    rows = []
    for number, run in enumerate(small, 1):
        rows.append(measure(run, out=out, settings=settings))
        say(f"[{number}/{len(runs)}] {run.name}: loss {rows[-1]['loss']:.4f}, {rows[-1]['seconds']:.0f} s")
    write_csv(out / "one_epoch.csv", [row for row in rows if row["epochs"] == 1])
    write_csv(out / "rungs.csv", rows)
    fits = {name: fit(name, larger, out=out, settings=settings, bootstrap=bootstrap) for name in DEFINITIONS}
    prediction = predict(larger, fits, out=out)
    low, high = prediction["interval"]
    say(f"predicted for {larger.name}: {prediction['predicted']:.4f}, 95 % {low:.4f} to {high:.4f}")
    columns = [f"--columns=params={prediction['definition']}", f"--units={COUNTS}"]
    if any(row["epochs"] > 1 for row in rows):
        command = ["scale", "fit", str(out / "rungs.csv"), *columns, "--repeat", "--bootstrap", "0"]
        atomic_text(out / "repetition.json", finetrial(*command, "--json"))
    draw = ["scale", "plot", "fit", str(out / "one_epoch.csv"), *columns, "--bootstrap", str(bootstrap)]
    finetrial(*draw, "-o", str(out / "fit.svg"))
    found = measure(larger, out=out, settings=settings)
    assert found["started_at"] > prediction["made_at"], "the larger run is older than its prediction"
    atomic_text(out / "larger.json", as_json(found))
    say(f"[{len(runs)}/{len(runs)}] {larger.name}: loss {found['loss']:.4f}, {found['seconds']:.0f} s")
    write_tables(out)
    inside = "inside" if low <= found["loss"] <= high else "outside"
    say(f"measured {found['loss']:.4f}: {inside} the interval. The tables: {out / 'ladder.md'}")


def prepare(text: Path, *, out: Path, settings: Settings) -> None:
    """Speeches shuffled and parted, so that any part is a fair sample of the whole; one tokenizer for all runs."""
    path = out / "settings.json"
    if path.exists():
        if json.loads(path.read_text(encoding="utf-8")) != asdict(settings):
            raise UserError(f"{out} holds a ladder with other settings", fix="Name another --out, or remove it.")
        return
    speeches = text.read_text(encoding="utf-8").strip().split("\n\n")
    random.Random(settings.seed).shuffle(speeches)
    held = round(settings.heldout_share * len(speeches))
    atomic_text(out / "heldout.txt", "\n\n".join(speeches[:held]) + "\n")
    atomic_text(out / "train.txt", "\n\n".join(speeches[held:]) + "\n")
    tokenizer = train_tokenizer(speeches[held:], size=settings.vocabulary, context=settings.context)
    tokenizer.save_pretrained(out / "tokenizer")
    atomic_text(path, as_json(asdict(settings)))


def measure(run: Run, *, out: Path, settings: Settings) -> dict[str, Any]:
    """Train a run unless it is done, and take its loss on the text that no run has read."""
    done, folder = out / "models" / f"{run.name}.json", out / "models" / run.name
    if done.exists():
        return json.loads(done.read_text(encoding="utf-8"))
    begun = out / "models" / f"{run.name}.begun"
    if not begun.exists():
        atomic_text(begun, now())
    if not (folder / "manifest.json").exists():  # written last
        finetrial(
            *("pretrain", str(unique_text(run.unique_tokens, out=out)), "--out", str(folder)),
            *("--config", str(config_file(run, out=out, settings=settings)), "--tokenizer", str(out / "tokenizer")),
            *("--tokens", str(processed_tokens(run, settings=settings)), "--heldout", "0%"),
            *("--batch-tokens", str(settings.batch_windows * (settings.context + 1))),
            *("--learning-rate", f"{settings.rate_at_width_1 / run.width:.4g}", "--precision", "float32"),
            *("--seed", str(run.seed)),
        )
    measured = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
    assert measured["trained_tokens"] == run.tokens(), (measured["trained_tokens"], run.tokens())
    assert measured["total_parameters"] == run.params(settings)
    row = {
        "name": run.name,
        **asdict(run),
        "params": run.params(settings),
        "params_body": run.params_body(),
        "tokens": run.tokens(),
        "unique_tokens": run.unique_tokens + 1,
        "loss": heldout_loss(folder, out=out, settings=settings),
        "learning_rate": measured["learning_rate"],
        "steps": measured["steps"],
        "seconds": measured["tune_seconds"],
        "started_at": begun.read_text(encoding="utf-8"),
    }
    atomic_text(done, as_json(row))
    return row


def config_file(run: Run, *, out: Path, settings: Settings) -> Path:
    """A Llama of the run's shape, its first weights scaled to its width; README.md says why."""
    path = out / "configs" / f"l{run.layers}-w{run.width}.json"
    config = {
        "model_type": "llama",
        "num_hidden_layers": run.layers,
        "hidden_size": run.width,
        "intermediate_size": run.feed_forward,
        "num_attention_heads": run.heads,
        "max_position_embeddings": settings.context,
        "initializer_range": round(settings.init_at_width_1 / run.width**0.5, 4),
        "tie_word_embeddings": True,
    }
    atomic_text(path, as_json(config))
    return path


def processed_tokens(run: Run, *, settings: Settings) -> int:
    """What `--tokens` must say for whole epochs: each window is read with the token before its first."""
    windows = -(-(run.unique_tokens + 1) // settings.context)
    return (run.unique_tokens + 1 + windows) * run.epochs


def unique_text(tokens: int, *, out: Path) -> Path:
    """The first so many tokens of the training text, as a file."""
    path = out / f"train-{tokens}.txt"
    if not path.exists():
        tokenizer = load_tokenizer(str(out / "tokenizer"))
        ids = tokenizer((out / "train.txt").read_text(encoding="utf-8"), verbose=False)["input_ids"]
        # a text file ends with a line break, which pretrain reads as a token
        if len(ids) < tokens:
            raise UserError("the text is too short for a rung", got=f"{len(ids)} tokens", expected=f"{tokens}")
        atomic_text(path, tokenizer.decode(ids[: tokens - 1]) + "\n")
    return path


def heldout_loss(folder: Path, *, out: Path, settings: Settings) -> float:
    """Nats a token on the held-out speeches, the same for every run."""
    documents = read_documents([str(out / "heldout.txt")])
    tokenizer = load_tokenizer(str(out / "tokenizer"))
    windows = cut(documents, tokenizer=tokenizer, context=settings.context, heldout=0.0, seed=0).train
    return mean_loss(load_model(str(folder)), windows)


def fit(definition: str, larger: Run, *, out: Path, settings: Settings, bootstrap: int) -> dict[str, Any]:
    """The law of the rungs of one epoch, and what it says of the larger run."""
    size = larger.params(settings) if definition == "params" else larger.params_body()
    command = ["scale", "fit", str(out / "one_epoch.csv"), "--columns", f"params={definition}"]
    command += ["--units", COUNTS, "--predict", f"{size}:{larger.tokens()}", "--bootstrap", str(bootstrap)]
    found = finetrial(*command, "--json")
    atomic_text(out / f"fit-{definition}.json", found)
    return json.loads(found)


def predict(larger: Run, fits: dict[str, Any], *, out: Path) -> dict[str, Any]:
    """The larger run's loss by the law that fits the rungs better; written before that run begins, never after."""
    path, rungs_hash = out / "prediction.json", hash_file(out / "one_epoch.csv")
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if (kept["run"], kept["rungs_sha256"]) == (larger.name, rungs_hash):
            return kept
    if (out / "models" / f"{larger.name}.begun").exists():
        raise UserError(
            "the larger run has begun, and the rungs are not those of its prediction",
            fix="Name another --out: a prediction made afterwards is none.",
        )
    best = min(fits, key=lambda name: fits[name]["objective"])
    prediction = {
        "made_at": now(),
        "run": larger.name,
        "definition": best,
        **fits[best]["predictions"][0],
        "rungs_sha256": rungs_hash,
        "fits": {name: {key: fit[key] for key in ("objective", "predictions")} for name, fit in fits.items()},
    }
    atomic_text(path, as_json(prediction))
    return prediction


def finetrial(*arguments: str) -> str:
    """Run one finetrial command in this process, which spares loading torch for every rung; returns its output."""
    sys.argv = ["finetrial", *arguments]  # the manifest keeps the command
    with contextlib.redirect_stdout(io.StringIO()) as output:
        status = dispatch(list(arguments))
    if status == 130:
        raise KeyboardInterrupt
    if status:
        raise UserError(f"`{shlex.join(sys.argv)}` ended with status {status}")
    return output.getvalue()


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def as_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
