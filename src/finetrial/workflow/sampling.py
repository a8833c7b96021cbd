"""What does every arm answer, and what did answering cost?"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from finetrial.errors import UserError
from finetrial.methods.halves import half_of
from finetrial.methods.model_targets import shape_of
from finetrial.methods.torch_half import Loaded, Where
from finetrial.models.bits_per_byte import retained_texts
from finetrial.models.device import choose_precision, dtype_name, pick_device
from finetrial.models.encode import end_ids
from finetrial.models.evaluate import mean_loss
from finetrial.models.load import load_arm
from finetrial.sampling.prompts import arm_prompts, behind_prompt
from finetrial.sampling.request_cost import request_cost
from finetrial.sampling.sample import PromptTask, context_length, sample_arm
from finetrial.store.hashes import hash_file, hash_value
from finetrial.store.layout import run_name
from finetrial.store.records import Measured, Sample, Turns, read_object, write_object, write_rows
from finetrial.training.requirements import check_quantize
from finetrial.trial.examples import Encoded, Example
from finetrial.units import format_seconds
from finetrial.workflow.context import TrialContext
from finetrial.workflow.tune_tasks import sample_label, whole_run


def _weights_hash(context: TrialContext, arm: str) -> Any:
    chosen = context.trial.arms[arm]
    if chosen.tuned:
        hashes = []
        for name in (run_name(arm, run=run) for run in range(context.trial.runs_of(arm))):
            weights = sorted(context.folder.arm(name).glob("*.safetensors"))
            if not weights:
                raise UserError(f"arm {name} is not tuned yet", fix="`finetrial tune` or `finetrial run` tunes it.")
            hashes += [hash_file(path) for path in weights]
        return hashes
    named = chosen.model or chosen.adapter
    return context.source_hash(context.loaded.model_source(named)) if named else None


def sample_inputs(context: TrialContext, arm: str) -> dict[str, Any]:
    """Everything that decides what the arm answers, by the name a user knows it by."""
    trial, resolved = context.trial, context.resolved[arm]
    decoding, form = resolved.decoding, resolved.form
    other = {"data.retain": hash_value([d.text for d in context.retained])} if context.retained else {}
    if resolved.shots and not form.chat:
        other["the separator"] = resolved.separator
    return other | {
        "the model": context.model_hash,
        "the arm's weights": _weights_hash(context, arm),
        "the data": context.splits.content_hash,
        "the template": form.template,
        "chat": form.chat,
        "the system text": form.system,
        "shots": resolved.shots,
        "precision": trial.arms[arm].precision or trial.training.precision,
        "sampling.prompts": trial.sampling.prompts,
        **{f"sampling.{key}": value for key, value in dataclasses.asdict(decoding).items()},
        "data.max_tokens": trial.data.max_tokens,
        "data.overlong": trial.data.overlong,
    }


def _load(context: TrialContext, arm: str, *, name: str, dtype: Any, device: Any) -> Loaded:
    chosen, loaded = context.trial.arms[arm], context.loaded
    trusted = context.trial.trust_remote_code
    if chosen.tuned:
        if chosen.tuning.base_bits is not None:
            check_quantize(device=device)
        where = Where(base=context.model, dtype=dtype, device=device, trust_remote_code=trusted)
        return half_of(chosen.tuning).load(chosen.tuning, where, folder=context.folder.arm(name))
    model = load_arm(
        context.model,
        adapter=loaded.path(chosen.adapter) if chosen.adapter else None,
        model=loaded.model_source(chosen.model) if chosen.model else None,
        dtype=dtype,
        device=device,
        trust_remote_code=trusted,
    )
    return Loaded(model)


class _Watch:
    """Turns decoding steps into the watcher's bar and the run's forecast."""

    def __init__(self, context: TrialContext, name: str, *, total: int, longest: int, before: float) -> None:
        """`total` samples of at most `longest` tokens; `before` seconds went by until the first."""
        self._context, self._label, self._total, self._longest = context, sample_label(name), total, longest
        self._before, self._tokens, self._began = before, 0, time.perf_counter()
        self._finished, self._in_finished = 0, 0  # samples that are done, and their tokens

    def __call__(self, tokens: int, finished: int) -> None:
        self._tokens += tokens
        if finished > self._finished:
            self._finished, self._in_finished = finished, self._tokens
        seconds = time.perf_counter() - self._began
        rate = self._tokens / max(seconds, 1e-9)
        left = self._seconds_left(rate)
        self._context.forecast.progress(self._label, seconds=self._before + seconds, seconds_left=left)
        detail = "; ".join(p for p in (f"{rate:,.0f} tokens/s", whole_run(self._context, self._label)) if p)
        self._context.listener.step(self._label, done=finished, total=self._total, detail=detail, seconds_left=left)

    def _seconds_left(self, rate: float) -> float | None:
        """By the length of the samples that are done; before there are any, by the limit: so long at most."""
        if not self._tokens:
            return None
        length = self._in_finished / self._finished if self._finished else self._longest
        return max(0.0, self._total * length - self._tokens) / rate


def _measured(context: TrialContext, arm: str, *, name: str, model: Any, dtype: Any) -> Measured:
    """The training run's record so far; an arm that is not tuned has cost nothing yet."""
    chosen, path = context.trial.arms[arm], context.folder.measured(name)
    if chosen.tuned and path.exists():
        return read_object(path, Measured)
    return Measured(
        trained_parameters=0,
        total_parameters=sum(p.numel() for p in model.parameters()),
        stored_bytes=None if chosen.method.is_from_elsewhere else 0,
        steps=0,
        tokens_processed=0,
        trained_tokens=0,
        flops_total=None,
        tune_seconds=0.0,
        peak_memory_bytes=None,
        learning_rate=None,
        validation_loss=None,
        heldout_loss=None,
        precision=dtype_name(dtype),
        device=str(model.device),
    )


def _turns(example: Example) -> Turns | None:
    """The turns before the answer, for people to read; None where the prompt is one text."""
    turns = example.messages[:-1] if example.messages is not None else ()
    return tuple((turn.role, turn.content) for turn in turns) if len(turns) > 1 else None


def _write(context: TrialContext, arm: str, samples: Sequence[Sample]) -> None:
    order = {example.id: place for place, example in enumerate(context.heldout)}
    turns = {example.id: _turns(example) for example in context.heldout}
    rows = [dataclasses.replace(sample, turns=turns[sample.prompt_id]) for sample in samples]
    write_rows(context.folder.samples(arm), sorted(rows, key=lambda s: (s.run or 0, order[s.prompt_id], s.index)))


def _answered(
    context: TrialContext, arm: str, prompts: Sequence[PromptTask], *, positions: int | None
) -> list[Encoded]:
    """The held-out references behind the very prompts that the arm is sampled from."""
    shown = {prompt.prompt_id: prompt for prompt in prompts}
    encoded = context.encoded(arm, context.heldout).examples
    return [behind_prompt(e, shown[e.example_id], context=positions) for e in encoded]


def _retained_bits(context: TrialContext, arm: str, *, name: str, model: Any, tokenizer: Any) -> float | None:
    """Bits per byte of data.retain, written document by document; None where it names nothing.

    Examples in the prompt change no weights: a prompted arm is not measured.
    """
    if not context.retained or context.trial.arms[arm].method.is_a_prompt:
        return None
    rows = retained_texts(model, context.retained, tokenizer=tokenizer, context=context_length(model))
    write_rows(context.folder.retained(name), rows)
    return sum(row.bits for row in rows) / sum(row.n_bytes for row in rows)


def _sample_run(
    context: TrialContext, arm: str, *, name: str, run: int | None, dtype: Any, device: Any
) -> list[Sample]:
    """What one training run of an arm answers; its losses on held-out and other text are measured on the way.

    Every run is asked the same prompts with the same random numbers, so that runs differ by their weights alone.
    """
    resolved, loading = context.resolved[arm], time.perf_counter()
    found, tokenizer = _load(context, arm, name=name, dtype=dtype, device=device), context.tokenizer(arm)
    model = found.model
    if found.unmerged is not None:
        context.listener.line(f"{name}: sampled with its adapter beside the weights: {found.unmerged}")
    prompts = arm_prompts(
        resolved,
        context.heldout,
        data=context.trial.data,
        tokenizer=tokenizer,
        train=context.splits.train,
        context=context_length(model),
    )
    heldout_loss = mean_loss(model, _answered(context, arm, prompts, positions=context_length(model)))
    retained = _retained_bits(context, arm, name=name, model=model, tokenizer=tokenizer)
    began = time.perf_counter()
    samples = [
        dataclasses.replace(sample, id=f"{name}{sample.id.removeprefix(arm)}", run=run)
        for sample in sample_arm(
            model,
            tokenizer,
            prompts,
            decoding=resolved.decoding,
            arm=arm,
            ends=end_ids(tokenizer, chat=resolved.form.chat),
            on_progress=_Watch(
                context,
                name,
                total=len(prompts) * resolved.decoding.per_prompt,
                longest=resolved.decoding.max_new_tokens,
                before=began - loading,
            ),
        )
    ]
    seconds = time.perf_counter() - began
    request = request_cost(
        shape_of(model),
        samples,
        prompt_tokens={prompt.prompt_id: len(prompt.token_ids) for prompt in prompts},
        beside=found.beside,
    )
    measured = dataclasses.replace(
        _measured(context, arm, name=name, model=model, dtype=dtype),
        request_prompt_tokens=request.prompt_tokens,
        request_generated_tokens=request.generated_tokens,
        request_flops=request.flops,
        request_seconds=seconds / len(samples),
        heldout_loss=heldout_loss,
        sample_seconds=seconds,
        sample_tokens=sum(s.tokens or 0 for s in samples),
        retain_bits_per_byte=retained,
        unmerged=found.unmerged,
    )
    write_object(context.folder.measured(name), measured)
    context.forecast.ended(sample_label(name), seconds=time.perf_counter() - loading)
    context.listener.end()
    context.listener.line(f"{name}: {len(samples):,} samples in {format_seconds(seconds)}")
    return samples


def sample_arm_of(context: TrialContext, arm: str) -> None:
    """Sample one arm, every training run of it, or say that it is sampled already."""
    inputs = sample_inputs(context, arm)
    state = context.manifest.state(f"sample:{arm}", inputs=inputs)
    if state.current:
        for run in range(max(1, context.trial.runs_of(arm))):
            context.forecast.ended(sample_label(run_name(arm, run=run)), seconds=None)
        context.listener.line(f"{arm}: sampled already")
        return
    if state.reason != "not done yet":
        context.listener.line(f"{arm}: sampling again, {state.reason}")
    trial, device = context.trial, pick_device()
    dtype = choose_precision(trial.arms[arm].precision or trial.training.precision, device=device)
    runs: Sequence[int | None] = range(trial.runs_of(arm)) if trial.arms[arm].tuned else (None,)
    samples: list[Sample] = []
    for run in runs:
        samples += _sample_run(context, arm, name=run_name(arm, run=run or 0), run=run, dtype=dtype, device=device)
    _write(context, arm, samples)
    names = [run_name(arm, run=run or 0) for run in runs]
    retained = [path for name in names if (path := context.folder.retained(name)).exists()]
    context.manifest.finish(f"sample:{arm}", inputs=inputs, outputs=[context.folder.samples(arm), *retained])
