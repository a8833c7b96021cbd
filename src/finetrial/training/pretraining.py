"""Make a small base model from text: full tuning from random weights, through the same loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, PretrainedConfig, PreTrainedTokenizerBase

from finetrial import __version__
from finetrial.errors import UserError
from finetrial.models.batches import pack, trained_tokens
from finetrial.models.device import PrecisionSetting, choose_precision, pick_device
from finetrial.models.evaluate import mean_loss
from finetrial.models.loading import fuse_activations, load_model, load_tokenizer
from finetrial.models.pretraining_corpus import Corpus, Document, cut, read_documents, train_tokenizer
from finetrial.store.files import atomic_path, atomic_text
from finetrial.store.hashes import hash_file, hash_value
from finetrial.store.records import Measured
from finetrial.training.arm_setup import TrainingSetup, set_up
from finetrial.training.loop import OnProgress, OnResume, tune_with
from finetrial.training.optimizer import pretrain_learning_rate
from finetrial.training.task import TuneTask
from finetrial.trial.contamination import fingerprint
from finetrial.trial.examples import Encoded
from finetrial.trial.sources import parse_source

# Up to four epochs, repeated tokens are nearly as good as new ones: Muennighoff et al. 2023, section 6.
_DEFAULT_EPOCHS = 4.0
_WEIGHT_DECAY, _BETAS = 0.1, (0.9, 0.95)  # Brown et al. 2020, appendix B
_WARMUP = 0.02  # share of the steps. Assumption
_BUDGET_USE = 0.93  # of the minutes, so that evaluation and saving fit as well. Assumption
_TIMED_SECONDS = 6.0
_BLOCK_CHARACTERS = 1 << 23
_SHINGLES, _BUDGET = "shingles.npy", "budget.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainTask:
    """What a base model is made from."""

    texts: tuple[str, ...]
    folder: Path
    config: Path | None = None  # a config.json; else a GPT-2 of the shape below
    layers: int = 4
    width: int = 256
    heads: int = 4
    context: int | None = None  # None: the configuration's, else 512
    tokenizer: str = "train:4096"  # or a tokenizer's folder or hub id
    column: str | None = None
    tokens: float | None = None  # processed tokens; None: four epochs
    minutes: float | None = None  # a cap on the time, by the rate measured before the start
    heldout: float = 0.05
    dropout: float = 0.0
    learning_rate: float | None = None
    batch_tokens: int = 8192
    micro_tokens: int | None = None
    precision: PrecisionSetting = "auto"
    evaluations: int = 10
    seed: int = 0
    device: str = "auto"
    command: str | None = None  # for the manifest


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A base model as it came out."""

    folder: Path
    parameters: int
    vocabulary: int
    train_tokens: int  # distinct windows' tokens
    epochs: float
    heldout_loss: float | None  # nats a token
    bits_per_byte: float | None
    measured: Measured


def pretrain(
    task: PretrainTask, *, on_progress: OnProgress | None = None, on_resume: OnResume | None = None
) -> Pretrained:
    """Make a base model, or continue one whose run was stopped. Deterministic given seed and threads."""
    if (task.folder / "config.json").exists() and not (task.folder / "checkpoint").exists():
        raise UserError(f"{task.folder} holds a model already", fix="Name another --out, or remove it.")
    documents = read_documents(task.texts, column=task.column)
    config = _config(task)
    context = int(config.max_position_embeddings)
    tokenizer = _tokenizer(task, (d.text for d in documents), context=context)
    _fit_vocabulary(config, tokenizer)
    corpus = cut(documents, tokenizer=tokenizer, context=context, heldout=task.heldout, seed=task.seed)
    make = _Make(config, tokenizer)
    epochs = _epochs(task, corpus, make)
    tuning = _tuning(task, corpus, config=config, epochs=epochs)
    task.folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(task.folder / _SHINGLES) as path, path.open("wb") as stream:
        np.save(stream, fingerprint(_joined(documents)))
    measured = tune_with(tuning, make, on_progress=on_progress, on_resume=on_resume)
    loss = _heldout_loss(task, corpus, measured)
    result = Pretrained(
        folder=task.folder,
        parameters=measured.total_parameters,
        vocabulary=config.vocab_size,
        train_tokens=corpus.train.token_count,
        epochs=epochs,
        heldout_loss=loss,
        bits_per_byte=_bits_per_byte(loss, corpus),
        measured=measured,
    )
    _write_manifest(task, result, documents=len(documents))
    (task.folder / _BUDGET).unlink(missing_ok=True)
    return result


class _Make:
    """Brings the model with random weights: the same for the same seed."""

    def __init__(self, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        self._config, self._tokenizer = config, tokenizer

    def __call__(self, task: TuneTask, *, dtype: torch.dtype, device: torch.device) -> TrainingSetup:
        torch.manual_seed(task.seed)
        model = AutoModelForCausalLM.from_config(self._config, dtype=torch.float32).to(device)
        fuse_activations(model)
        return set_up(task, model=model, tokenizer=self._tokenizer, fresh=(), dtype=dtype)


def _joined(documents: Sequence[Document]) -> Iterator[str]:
    """The documents in blocks of some size: a fingerprint's cost grows with the number of its texts."""
    block: list[str] = []
    characters = 0
    for document in documents:
        block.append(document.text)
        characters += len(document.text)
        if characters >= _BLOCK_CHARACTERS:
            yield "\n".join(block)
            block, characters = [], 0
    yield "\n".join(block)


def initial_deviation(width: int) -> float:
    """Of the random weights: sqrt(2 / (5 width)), Nguyen & Salazar 2019, "Transformers without Tears", section 2.2.

    GPT-2's 0.02 is about this at its width of 768; narrow models start too close to zero with it.
    """
    return math.sqrt(2 / (5 * width))


def _config(task: PretrainTask) -> PretrainedConfig:
    if task.config is not None:
        try:
            content = json.loads(task.config.read_text(encoding="utf-8"))
            config = AutoConfig.for_model(content.pop("model_type"), **content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{task.config} is not a model's configuration", got=str(error)[:200]) from None
        if task.context is not None:
            config.max_position_embeddings = task.context
        return config
    if task.width % task.heads:
        raise UserError(
            "the width is not divisible by the number of heads", got=f"--width {task.width} --heads {task.heads}"
        )
    return GPT2Config(
        n_layer=task.layers,
        n_embd=task.width,
        n_head=task.heads,
        n_positions=task.context or 512,
        activation_function="gelu_new",
        resid_pdrop=task.dropout,
        embd_pdrop=task.dropout,
        attn_pdrop=0.0,  # dropout inside attention leaves its fast kernels
        initializer_range=initial_deviation(task.width),
    )


def _tokenizer(task: PretrainTask, texts: Any, *, context: int) -> PreTrainedTokenizerBase:
    kind, separator, size = task.tokenizer.partition(":")
    if kind != "train":
        return load_tokenizer(task.tokenizer)
    if not separator or not size.isdigit():
        raise UserError("--tokenizer is not understood", got=task.tokenizer, expected="a folder, or train:4096")
    return train_tokenizer(texts, size=int(size), context=context)


def _fit_vocabulary(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    config.vocab_size = len(tokenizer)
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id


def _tuning(task: PretrainTask, corpus: Corpus, *, config: PretrainedConfig, epochs: float) -> TuneTask:
    rate = task.learning_rate or pretrain_learning_rate(config.hidden_size)
    return TuneTask(
        model=f"random-{hash_value(config.to_dict())[:16]}",
        train=corpus.train,
        validation=corpus.heldout,
        folder=task.folder,
        epochs=epochs,
        batch_tokens=task.batch_tokens,
        micro_tokens=task.micro_tokens,
        warmup=_WARMUP,
        learning_rate=rate,
        weight_decay=_WEIGHT_DECAY,
        betas=_BETAS,
        precision=task.precision,
        model_dropout=task.dropout > 0,
        evaluations=task.evaluations,
        seed=task.seed,
        device=task.device,
    )


def _epochs(task: PretrainTask, corpus: Corpus, make: _Make) -> float:
    """How often the text is read: by tokens, else four times, and no more than the minutes allow."""
    wanted = _DEFAULT_EPOCHS if task.tokens is None else task.tokens / corpus.train.token_count
    if task.minutes is None:
        return wanted
    budget = task.folder / _BUDGET
    if budget.exists() and (task.folder / "checkpoint").exists():
        return float(json.loads(budget.read_text(encoding="utf-8"))["epochs"])
    rate = _tokens_per_second(task, corpus, make)
    epochs = min(wanted, _BUDGET_USE * 60 * task.minutes * rate / corpus.train.token_count)
    atomic_text(budget, json.dumps({"epochs": epochs, "tokens_per_second": rate}) + "\n")
    return epochs


def _tokens_per_second(task: PretrainTask, corpus: Corpus, make: _Make) -> float:
    """Forward, backward and optimizer, timed for a few seconds on real windows."""
    device = pick_device(task.device)
    tuning = _tuning(task, corpus, config=make._config, epochs=1.0)
    setup = make(tuning, dtype=choose_precision(task.precision, device=device), device=device)
    micro = min(task.micro_tokens or task.batch_tokens, task.batch_tokens)
    taken: list[Encoded] = []
    tokens = 0
    while tokens < micro and len(taken) < len(corpus.train):
        taken.append(corpus.train[len(taken)])
        tokens += len(taken[-1].token_ids)
    batch = setup.loss_model.bring(pack(taken))
    count = sum(trained_tokens(example) for example in taken)
    began, steps = 0.0, -1  # the first step warms up
    limit = min(_TIMED_SECONDS, 3 * (task.minutes or 1.0))
    while steps < 1 or time.monotonic() - began < limit:
        if steps == 0:
            began = time.monotonic()
        setup.loss_model.loss(batch, scale=1.0 / count).backward()
        float(setup.optimizer.step(learning_rate=0.0, clip=1.0))  # waits for a card
        steps += 1
    return steps * tokens / (time.monotonic() - began)


def _heldout_loss(task: PretrainTask, corpus: Corpus, measured: Measured) -> float | None:
    """Of the model as it stands in its folder."""
    if not len(corpus.heldout):
        return None
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(measured.precision or "", torch.float32)
    model = load_model(str(task.folder), dtype=dtype, device=pick_device(task.device))
    return mean_loss(model, corpus.heldout)


def _bits_per_byte(loss: float | None, corpus: Corpus) -> float | None:
    """Nats a token to bits a byte of the held-out text."""
    if loss is None or not corpus.heldout_bytes:
        return None
    trained = sum(trained_tokens(example) for example in corpus.heldout)
    return loss * trained / corpus.heldout_bytes / math.log(2)


def _sources(names: Sequence[str]) -> list[dict[str, Any]]:
    """What was read, by file name and content; folders of this machine are left out."""
    found = []
    for name in names:
        path = Path.cwd() / parse_source(name, base=Path.cwd()).place
        known = path.is_file()
        found.append({"name": Path(name).name if known else name, "sha256": hash_file(path) if known else None})
    return found


def _write_manifest(task: PretrainTask, result: Pretrained, *, documents: int) -> None:
    content = {
        "made_by": f"finetrial {__version__} pretrain",
        "read": _sources(task.texts),
        "documents": documents,
        "train_tokens": result.train_tokens,
        "epochs": result.epochs,
        "tokens_processed": result.measured.tokens_processed,
        "heldout_share": task.heldout,
        "heldout_loss": result.heldout_loss,
        "bits_per_byte": result.bits_per_byte,
        "parameters": result.parameters,
        "vocabulary": result.vocabulary,
        "shingles": _SHINGLES,
        "seed": task.seed,
        "threads": torch.get_num_threads(),
        "precision": result.measured.precision,
        "learning_rate": result.measured.learning_rate,
        "batch_tokens": task.batch_tokens,
        "seconds": result.measured.tune_seconds,
        "versions": {"finetrial": __version__, "torch": torch.__version__},
        "command": task.command,
    }
    atomic_text(task.folder / "manifest.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
