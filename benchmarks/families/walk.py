"""Take one small causal-LM class the whole way, and hold every station against transformers and peft alone.

A model with random weights is saved and loaded by finetrial, tuned for three steps (full and LoRA), saved, loaded
again and sampled. Its losses must be those of a plain loop that shows one example at a time to the model's own
forward pass, without a cache; the likelihoods of its samples and its greedy tokens those of the saved model under
transformers alone.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from benchmarks.families.small_configs import END, POSITIONS, VOCABULARY, class_name, small_config
from finetrial.errors import FinetrialError
from finetrial.footprint.targets import ALL_LINEAR
from finetrial.methods.full.full_method import Full
from finetrial.methods.halves import half_of
from finetrial.methods.lora.lora_method import Lora
from finetrial.methods.method import TunedMethod
from finetrial.methods.model_targets import matrices_in
from finetrial.methods.torch_half import Where
from finetrial.models.batches import effective_batches
from finetrial.models.library_calls import quiet
from finetrial.models.loading import load_tokenizer
from finetrial.models.pretraining_corpus import train_tokenizer
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample import sample_arm
from finetrial.sampling.sampling_way import SamplingWay
from finetrial.sampling.way_probe import choose_way
from finetrial.store.records import FastPath, TrainingPoint, read_rows
from finetrial.training.loop import tune
from finetrial.training.task import TuneTask
from finetrial.trial.examples import Encoded
from finetrial.trial.resolve import Decoding
from finetrial.workflow.arm_mistakes import look_at_model

_STEPS, _PER_STEP = 3, 4
_LENGTHS = (23, 9, 14, 31, 6, 12, 19, 9, 27, 11, 8, 17)  # tokens of the examples
_PROMPTS = (3, 17, 9)
_NEW = 6
# Relative differences of losses that float32 in another order explains over three steps. Assumption
SAME_LOSS = 2e-5
SAME_NATS = 1e-3  # of a sample's log-likelihood
SAME_LOGITS = 1e-4  # of a saved, reloaded and merged model, relative: Mamba's recurrence makes 1e-5 of rounding

Verdict = Literal["right", "refused", "wrong", "not built"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassWalk:
    """What became of one class."""

    model_type: str
    class_name: str
    verdict: Verdict
    reason: str | None = None  # of a refusal, or what went wrong
    parameters: int | None = None
    packed: bool | None = None
    not_packed: str | None = None  # why one example stands alone
    fused: bool | None = None
    way: str | None = None
    way_reason: str | None = None
    lora: str | None = None  # the targets of LoRA, with why not all linear modules are
    losses: dict[str, float] | None = None  # by method: the largest relative difference of a step's loss
    reloaded: dict[str, float] | None = None  # by method: of the logits of the saved arm, relative
    nats: float | None = None  # the largest difference of a sample's log-likelihood
    greedy: str | None = None  # how greedy tokens compare with plain generation
    seconds: float = 0.0


def walk_class(model_type: str, folder: Path) -> ClassWalk:
    """Walk one class; what the walk cannot do is told in its row."""
    began = time.perf_counter()
    head: dict[str, Any] = {"model_type": model_type, "class_name": class_name(model_type)}
    try:
        with quiet():
            parameters = save_small(model_type, folder / "base")
    except Exception as error:  # whatever transformers raises for its own class
        return ClassWalk(**head, verdict="not built", reason=_said(error))
    head["parameters"] = parameters
    try:
        found = _walk(head, folder)
    except FinetrialError as error:
        found = ClassWalk(**head, verdict="refused", reason=f"late: {error}")
    except Exception as error:
        found = ClassWalk(**head, verdict="wrong", reason=f"{_said(error)} at {_place(error)}")
    return dataclasses.replace(found, seconds=round(time.perf_counter() - began, 2))


def _said(error: Exception) -> str:
    return f"{type(error).__name__} {' '.join(str(error).split())}"[:240]


def _place(error: Exception) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "finetrial" in f.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


def save_small(model_type: str, folder: Path) -> int:
    """Write a small model with random weights and its tokenizer; returns its number of parameters.

    Matrices are larger than transformers initialises them, so that tokens differ in what they predict.
    """
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(small_config(model_type))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Embedding, Conv1D)):
                module.weight.mul_(4)
    model.save_pretrained(folder)
    train_tokenizer(["one two three four"], size=VOCABULARY, context=POSITIONS).save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def _sequence(length: int, *, start: int) -> tuple[int, ...]:
    ids = [1 + start % (VOCABULARY - 1)]
    while len(ids) < length:
        ids.append(1 + (5 * ids[-1] + 3) % (VOCABULARY - 1))
    return tuple(ids)


def examples() -> list[Encoded]:
    """Examples in which each token follows from the one before; the later half carries loss."""
    return [
        Encoded(f"e{i}", _sequence(n, start=37 * i), tuple(j >= n // 2 for j in range(n)))
        for i, n in enumerate(_LENGTHS)
    ]


def _task(method: TunedMethod, *, base: Path, folder: Path) -> TuneTask:
    return TuneTask(
        model=str(base),
        train=examples(),
        folder=folder,
        method=method,
        epochs=1.0,
        batch_tokens=66,
        learning_rate=3e-3,
        weight_decay=0.0,
        warmup=0.0,
        schedule="constant",
        precision="float32",
        micro_tokens=60,
        evaluations=0,
        device="cpu",
    )


def _walk(head: dict[str, Any], folder: Path) -> ClassWalk:
    base = folder / "base"
    try:
        config = look_at_model(str(base), trust_remote_code=False)
    except FinetrialError as error:
        return ClassWalk(**head, verdict="refused", reason=str(error).replace(str(base), "the model"))
    methods: dict[str, TunedMethod] = {"full": Full()}
    try:
        methods["lora"], head["lora"] = _lora(_stock(base), config)
    except FinetrialError as error:
        head["lora"] = f"refused: {error}"
    losses, reloaded, paths = {}, {}, None
    for name, method in methods.items():
        task = _task(method, base=base, folder=folder / name)
        paths = tune(task).fast_paths
        found = [p.train_loss for p in read_rows(task.folder / "metrics.jsonl", TrainingPoint)][1:]
        expected = plain_losses(task)
        assert len(found) == len(expected) >= _STEPS, (found, expected)
        losses[name] = max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))
        reloaded[name] = reloaded_difference(task)
    assert paths is not None
    where = Where(base=str(base), dtype=torch.float32)
    model = half_of(Full()).load(Full(), where, folder=folder / "full").model
    way, nats, greedy = sampled(model, folder / "full")
    packed, fused = (_path(paths, name) for name in ("packed rows", "loss without logits"))
    wrong = []
    wrong += [f"losses of {k}: {v:.1e}" for k, v in losses.items() if not v <= SAME_LOSS]
    wrong += [f"logits of {k} reloaded: {v:.1e}" for k, v in reloaded.items() if not v <= SAME_LOGITS]
    wrong += [] if nats <= SAME_NATS else [f"samples: {nats:.1e} nats"]
    wrong += [] if greedy.startswith("same") else [f"greedy: {greedy}"]
    return ClassWalk(
        **head,
        verdict="wrong" if wrong else "right",
        reason="; ".join(wrong) or None,
        packed=packed.on,
        not_packed=None if packed.on else packed.reason,
        fused=fused.on,
        way=str(way.way),
        way_reason=way.reason,
        losses=losses,
        reloaded=reloaded,
        nats=nats,
        greedy=greedy,
    )


def _lora(model: PreTrainedModel, config: Any) -> tuple[Lora, str]:
    """LoRA on every linear module, or on the first kind of module that it can adapt; with the targets in words."""
    names = sorted((m.name for m in matrices_in(model)), key=lambda name: "attn" not in name)  # attention first
    kinds = list(dict.fromkeys(name.rsplit(".", 1)[-1] for name in names))
    refused: FinetrialError | None = None
    for target in (ALL_LINEAR, *kinds):
        method = Lora(rank=2, targets=(target,), alpha=8.0)
        try:
            half_of(method).check(method, config)
        except FinetrialError as error:
            refused = refused or error
            continue
        return method, target if refused is None else f"{target}; {ALL_LINEAR} is refused: {refused}"
    assert refused is not None
    raise refused


def _path(paths: Sequence[FastPath], name: str) -> FastPath:
    return next(path for path in paths if path.name == name)


def _stock(folder: str | Path) -> PreTrainedModel:
    with quiet():
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


def _logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """The model's own logits, without a cache where it takes no for an answer."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    takes = "use_cache" in inspect.signature(type(base).forward).parameters
    logits: torch.Tensor = model(input_ids=ids, **({"use_cache": False} if takes else {})).logits
    return logits


def plain_losses(task: TuneTask) -> list[float]:
    """The losses of every step by a loop as plain as can be: one example at a time, every logit, torch's AdamW."""
    model: Any = _stock(task.model)
    attached = half_of(task.method).attach(model, method=task.method, fresh=(), seed=task.seed, dtype=torch.float32)
    model = attached.model.eval()
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=task.learning_rate, weight_decay=0.0, betas=task.betas)
    ids, lengths = [e.example_id for e in task.train], [len(e.token_ids) for e in task.train]
    losses = []
    for batch in effective_batches(
        ids, lengths=lengths, epochs=task.epochs, batch_tokens=task.batch_tokens, seed=task.seed
    ):
        parts = [_example_loss(model, task.train[i]) for i in batch]
        loss = sum(part for part, _ in parts) / sum(count for _, count in parts)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, task.clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    return losses


def _example_loss(model: Any, example: Encoded) -> tuple[torch.Tensor, int]:
    ids = torch.tensor(example.token_ids)[None]
    logits = _logits(model, ids)[0, :-1].float()
    trained = torch.tensor(example.trained[1:])
    return F.cross_entropy(logits[trained], ids[0, 1:][trained], reduction="sum"), int(trained.sum())


@torch.no_grad()
def reloaded_difference(task: TuneTask) -> float:
    """How far the logits of the arm as sampled are from those of its files under transformers and peft alone."""
    if isinstance(task.method, Full):
        stock: Any = _stock(task.folder)
    else:
        with quiet():
            stock = PeftModel.from_pretrained(_stock(task.model), str(task.folder)).eval()
    loaded = half_of(task.method).load(task.method, Where(base=task.model, dtype=torch.float32), folder=task.folder)
    ids = torch.tensor(_sequence(19, start=5))[None]
    expected, found = _logits(stock, ids), _logits(loaded.model, ids)
    return float((found - expected).abs().max() / expected.abs().max())


@torch.no_grad()
def sampled(model: PreTrainedModel, folder: Path) -> tuple[SamplingWay, float, str]:
    """How the model is sampled, and how far that is from transformers alone."""
    tokenizer = load_tokenizer(str(folder))
    stock: Any = _stock(folder)
    way = choose_way(model, tokenizer)
    prompts = [
        PromptTask(str(n), None, "", _sequence(n, start=n), (), "")  #
        for n in _PROMPTS
    ]
    random = Decoding(per_prompt=2, max_new_tokens=_NEW, temperature=1.0, top_p=1.0)
    nats = 0.0
    for sample in sample_arm(model, tokenizer, prompts, decoding=random, arm="a", way=way.way):
        made = torch.tensor(sample.token_ids)
        prompt = torch.tensor(_sequence(int(sample.prompt_id), start=int(sample.prompt_id)))
        logits = _logits(stock, torch.cat([prompt, made])[None])[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits.double(), dim=-1).gather(1, made[:, None]).sum()
        nats = max(nats, abs(float(expected) - (sample.logprob or math.nan)))
    greedy = Decoding(per_prompt=1, max_new_tokens=_NEW, temperature=0.0)
    samples = {
        s.prompt_id: list(s.token_ids or ())
        for s in sample_arm(model, tokenizer, prompts, decoding=greedy, arm="a", way=way.way)
    }
    plain = sum(samples[p.prompt_id] == _argmax(stock, p.token_ids) for p in prompts)
    generated = []
    for prompt_task in prompts:
        try:
            generated.append(samples[prompt_task.prompt_id] == _generated(stock, prompt_task.token_ids))
        except Exception as error:
            return (
                way,
                nats,
                f"same as argmax {plain} of {len(prompts)}; generate itself fails: {_said(error)[:120]}",
            )
    if plain == len(prompts):
        return way, nats, f"same as argmax; as generate {sum(generated)} of {len(prompts)}"
    return way, nats, f"as argmax {plain} of {len(prompts)}; as generate {sum(generated)} of {len(prompts)}"


def _argmax(stock: Any, prompt: Sequence[int]) -> list[int]:
    """The most probable tokens by whole forward passes."""
    ids = list(prompt)
    for _ in range(_NEW):
        ids.append(int(_logits(stock, torch.tensor([ids]))[0, -1].argmax()))
        if ids[-1] == END:
            break
    return ids[len(prompt) :]


def _generated(stock: Any, prompt: Sequence[int]) -> list[int]:
    ids = torch.tensor([prompt])
    with quiet():
        found = stock.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=_NEW, do_sample=False
        )
    made: list[int] = found[0, ids.shape[1] :].tolist()
    return made
