"""Which trials are made, with which arms and data?"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from finetrial.starter.corpus import CorpusWriter

Task = Literal["tldr", "verse", "plays", "abstracts"]
Arms = dict[str, dict[str, Any]]
SHARED = Path(__file__).parents[2].parent / "shared" / "data"
ATTENTION, ALL = ["q", "k", "v", "o"], ["q", "k", "v", "o", "gate", "up", "down"]


@dataclass(frozen=True, slots=True)
class Spec:
    """One trial."""

    name: str
    model: Literal["starter", "real"]
    task: Task
    rows: int
    batch_tokens: int
    arms: Arms
    data_seed: int = 0  # other rows of the same task
    epochs: float = 1.0
    seeds: int = 1


def _lora(rank: int, targets: list[str], rate: float, **more: Any) -> dict[str, Any]:
    return {"method": "lora", "rank": rank, "targets": targets, "learning_rate": rate, **more}


def _full(rate: float, **more: Any) -> dict[str, Any]:
    return {"method": "full", "learning_rate": rate, **more}


def _ranks(rates: dict[int, float], targets: list[str]) -> Arms:
    return {f"r{rank}": _lora(rank, targets, rate) for rank, rate in rates.items()}


def _real(name: str, task: Task, arms: Arms, *, rows: int = 64, data_seed: int = 0) -> Spec:
    """A trial on the real model: one row a step."""
    return Spec(name, "real", task, rows, 8, arms, data_seed=data_seed)


QV = ["q", "v"]
OTHER = "OTHER"  # stands for another base: the starter after some verse, or after some posts

STARTER: tuple[Spec, ...] = (
    Spec(
        "s-ways",
        "starter",
        "tldr",
        96,
        384,
        {"full": _full(1e-3), "lora": _lora(8, QV, 1e-2), "small": _lora(2, ["q"], 1e-2)},
    ),
    Spec(
        "s-full-rates",
        "starter",
        "verse",
        256,
        256,
        {"low": _full(1e-4), "middle": _full(5e-4), "high": _full(2e-3), "higher": _full(1e-2)},
    ),
    Spec(
        "s-lora-rates",
        "starter",
        "verse",
        256,
        256,
        {"low": _lora(8, QV, 1e-3), "middle": _lora(8, QV, 5e-3), "high": _lora(8, QV, 2e-2)},
        data_seed=1,
    ),
    Spec("s-ranks", "starter", "verse", 256, 256, _ranks(dict.fromkeys((1, 4, 16), 1e-2), QV), data_seed=2),
    Spec(
        "s-targets",
        "starter",
        "tldr",
        96,
        384,
        {
            "q": _lora(8, ["q"], 1e-2),
            "qv": _lora(8, QV, 1e-2),
            "attention": _lora(8, ATTENTION, 1e-2),
            "mlp": _lora(8, ["up", "down"], 1e-2),
        },
        data_seed=1,
    ),
    Spec(
        "s-close-ranks",
        "starter",
        "verse",
        256,
        256,
        _ranks(dict.fromkeys((7, 8, 9), 1e-2), QV),
        data_seed=3,
    ),
    Spec(
        "s-close-rates",
        "starter",
        "tldr",
        96,
        384,
        {"a": _full(9e-4), "b": _full(1e-3), "c": _full(1.1e-3)},
        data_seed=2,
    ),
    Spec(
        "s-bases",
        "starter",
        "tldr",
        96,
        384,
        {
            "starter": _full(1e-3),
            "other": _full(1e-3, **{"from": OTHER}),
            "other-lora": _lora(8, QV, 1e-2, **{"from": OTHER}),
        },
        data_seed=3,
    ),
    Spec(
        "s-epochs",
        "starter",
        "verse",
        96,
        256,
        {"full": _full(1e-3), "lora": _lora(8, ALL[:4], 1e-2), "wide": _lora(32, ALL[:4], 1e-2)},
        data_seed=4,
        epochs=3,
    ),
    Spec(
        "s-ways-verse",
        "starter",
        "verse",
        256,
        256,
        {"full": _full(5e-4), "dora": _lora(8, QV, 1e-2, dora=True), "mlp": _lora(8, ["up", "down"], 1e-2)},
        data_seed=6,
    ),
    Spec(
        "s-rows",
        "starter",
        "verse",
        256,
        256,
        {"half": _full(1e-3, rows=128), "whole": _full(1e-3), "whole-lora": _lora(4, QV, 5e-3)},
        data_seed=7,
    ),
    Spec(
        "s-crossing",
        "starter",
        "verse",
        256,
        256,
        {"full-slow": _full(2e-4), "lora-fast": _lora(4, QV, 3e-2), "full": _full(1e-3)},
        data_seed=5,
    ),
    Spec(
        "s-tldr-rates",
        "starter",
        "tldr",
        96,
        384,
        {"low": _lora(8, QV, 2e-3), "middle": _lora(8, QV, 1e-2), "high": _lora(8, QV, 4e-2)},
        data_seed=4,
    ),
    Spec(
        "s-close-targets",
        "starter",
        "verse",
        256,
        256,
        {"q": _lora(8, ["q"], 1e-2), "k": _lora(8, ["k"], 1e-2), "qk": _lora(8, ["q", "k"], 1e-2)},
        data_seed=8,
    ),
)

# People's texts on the embedded starter: small, and far from what it has read.
STARTER_ON_REAL_DATA: tuple[Spec, ...] = (
    Spec("p-ranks", "starter", "plays", 128, 128, _ranks(dict.fromkeys((2, 8, 32), 1e-2), QV)),
    Spec(
        "p-ways",
        "starter",
        "plays",
        128,
        128,
        {"full": _full(1e-3), "lora": _lora(8, QV, 1e-2), "small": _lora(1, ["q"], 1e-2)},
        data_seed=1,
    ),
    Spec(
        "p-rates",
        "starter",
        "plays",
        128,
        128,
        {"low": _full(2e-4), "middle": _full(1e-3), "high": _full(3e-3)},
        data_seed=2,
    ),
    Spec(
        "a-targets",
        "starter",
        "abstracts",
        96,
        160,
        {"qv": _lora(8, QV, 1e-2), "mlp": _lora(8, ["up", "down"], 1e-2), "attention": _lora(8, ATTENTION, 1e-2)},
    ),
    Spec(
        "a-close-rates",
        "starter",
        "abstracts",
        96,
        160,
        {"a": _full(9e-4), "b": _full(1e-3), "c": _full(1.1e-3)},
        data_seed=1,
    ),
    Spec(
        "a-bases",
        "starter",
        "abstracts",
        96,
        160,
        {"starter": _full(1e-3), "other": _full(1e-3, **{"from": OTHER}), "lora": _lora(8, QV, 1e-2)},
        data_seed=2,
    ),
)

REAL: tuple[Spec, ...] = (
    _real("r-ways", "plays", {"full": _full(5e-5), "lora": _lora(8, QV, 1e-3), "small": _lora(1, ["q"], 1e-3)}),
    _real(
        "r-rates",
        "plays",
        {"low": _lora(8, QV, 1e-4), "middle": _lora(8, QV, 1e-3), "high": _lora(8, QV, 5e-3)},
        data_seed=1,
    ),
    _real("r-ranks", "abstracts", _ranks(dict.fromkeys((1, 4, 16), 2e-3), QV), data_seed=1),
    _real(
        "r-targets",
        "plays",
        {"q": _lora(8, ["q"], 1e-3), "qv": _lora(8, QV, 1e-3), "all": _lora(8, ALL, 1e-3)},
        data_seed=2,
    ),
    _real("r-close-ranks", "plays", _ranks(dict.fromkeys((7, 8, 9), 1e-3), QV), data_seed=3),
    _real(
        "r-close-rates",
        "abstracts",
        {"a": _lora(4, QV, 9e-4), "b": _lora(4, QV, 1e-3), "c": _lora(4, QV, 1.1e-3)},
        data_seed=2,
    ),
    _real(
        "r-verse",
        "verse",
        {"slow": _lora(8, QV, 2e-4), "wide": _lora(8, ALL, 1e-3), "fast": _lora(8, ALL, 1e-2)},
    ),
    _real(
        "r-verse-mlp",
        "verse",
        {
            "attention": _lora(8, ATTENTION, 1e-3),
            "mlp": _lora(8, ["gate", "up", "down"], 1e-3),
            "low": _lora(8, ATTENTION, 3e-4),
        },
        data_seed=1,
    ),
    _real(
        "r-crossing",
        "abstracts",
        {"slow": _lora(16, ALL, 2e-4), "fast": _lora(2, QV, 5e-3), "middle": _lora(8, ALL, 7e-4)},
        data_seed=3,
    ),
    _real(
        "r-rows",
        "plays",
        {"half": _lora(8, QV, 2e-3, rows=64), "whole": _lora(8, QV, 2e-3), "whole-low": _lora(8, QV, 5e-4)},
        data_seed=4,
        rows=128,
    ),
)

# Looked at before any other; three seeds show what the noise of a training run is.
_SEEDS = Spec(
    "d-starter",
    "starter",
    "verse",
    1024,
    1024,
    {"full": _full(7e-4), "lora": _lora(6, QV, 7e-3), "mlp": _lora(4, ["up", "down"], 7e-3)},
    data_seed=9,
    seeds=3,
)
# After these the constants were chosen as they are.
_NOT_RUN = {"s-epochs", "s-ways-verse", "s-close-targets", "a-bases"}
_FIRST = (*STARTER, *STARTER_ON_REAL_DATA)
DESIGN: tuple[Spec, ...] = (_SEEDS, *(spec for spec in _FIRST if spec.name not in _NOT_RUN), REAL[1])


def _longer(spec: Spec) -> Spec:
    """The same arms on other rows, with so small a batch that a sixteenth of the rows is eight steps or so."""
    rows, batch_tokens, slower, other_rows = {
        "tldr": (192, 192, 2, 50),
        "verse": (spec.rows, 64, 2, 50),
        "plays": (spec.rows, spec.batch_tokens, 1, 3),
        "abstracts": (128, spec.batch_tokens, 1, 3),
    }[spec.task]
    arms = {name: {**arm, "learning_rate": arm["learning_rate"] / slower} for name, arm in spec.arms.items()}
    return replace(
        spec,
        name=f"{spec.name}-long",
        rows=rows,
        batch_tokens=batch_tokens,
        arms=arms,
        data_seed=spec.data_seed + other_rows,
    )


SCORED: tuple[Spec, ...] = (*map(_longer, _FIRST), REAL[0], *REAL[2:])


def write_data(spec: Spec, folder: Path) -> Path:
    """The trial's rows as one JSON Lines file: to train on, for validation, and held out, in this order."""
    path = folder / f"{spec.task}-{spec.data_seed}.jsonl"
    count = {"starter": 1024, "real": 128}[spec.model] + 2 * EVALUATED[spec.model]
    rows = [{"prompt": prompt, "completion": completion} for prompt, completion in _rows(spec, count)]
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


EVALUATED: dict[str, int] = {"starter": 48, "real": 32}  # validation rows, and as many held out


def _rows(spec: Spec, count: int) -> list[tuple[str, str]]:
    if spec.task == "plays":
        lines = (SHARED / "shakespeare.txt").read_text(encoding="utf-8").splitlines()
        lines = [line for line in lines if len(line) > 20 and not line.endswith(":")]
        first = spec.data_seed * 3 * count
        chosen = lines[first : first + 3 * count]
        found = {chosen[at]: "\n" + "\n".join(chosen[at + 1 : at + 3]) for at in range(0, len(chosen) - 2, 3)}
        return list(found.items())[:count]
    if spec.task == "abstracts":
        text = (SHARED / "scitldr_train.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in text.splitlines()]
        first = spec.data_seed * min(count, 300)
        found = {row["prompt"][:240] + "\nTL;DR:": " " + row["completions"][0] for row in rows[first:]}
        return list(found.items())[:count]
    writer = CorpusWriter(seed=1000 + spec.data_seed)
    made = (
        writer.tldr_rows("train", count=count) if spec.task == "tldr" else writer.verse_rows("train", count=count)
    )
    rows = [asdict(row) for row in made]
    return [(row["prompt"] if spec.task == "tldr" else row["prompt"] + "\n", row["completion"]) for row in rows]


def trial_keys(spec: Spec, *, model: str, other: str | None, data: Path) -> dict[str, Any]:
    """The trial's file as an object."""
    arms = {
        name: {key: other if value == OTHER else value for key, value in arm.items()}
        for name, arm in spec.arms.items()
    }
    return {
        "trial": spec.name,
        "model": model,
        "data": {
            "source": str(data),
            "template": "{prompt}",
            "chat": "never",
            "max_tokens": 112,
            "overlong": "cut",
            "overlap": "drop",
            "train": spec.rows,
            "validation": EVALUATED[spec.model],
            "heldout": EVALUATED[spec.model],
        },
        "arms": arms,
        "training": {
            "epochs": spec.epochs,
            "batch_tokens": spec.batch_tokens,
            "precision": "float32",
            "seeds": spec.seeds,
            "checkpoint_seconds": 30,
        },
        "sampling": {"prompts": EVALUATED[spec.model], "per_prompt": 1, "max_new_tokens": 1, "temperature": 0},
        "judging": {"grade_prompts": 0},
    }
