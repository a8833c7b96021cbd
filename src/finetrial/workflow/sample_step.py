"""Sample an arm, and measure its losses on held-out and other text, as a step of the trial."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetrial.models.batches import trained_tokens
from finetrial.models.device import deterministic_kernels
from finetrial.models.encode import end_ids
from finetrial.sampling.integrity import check_prompts, unreadable_tokens
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.prompts import arm_prompts, behind_prompt, cut_text
from finetrial.sampling.reference_loss import bits_per_byte, nats_per_token
from finetrial.sampling.request_cost import request_cost
from finetrial.sampling.sampler import ArmToSample, LoadedArm
from finetrial.sampling.strip import decoder, strip_sample
from finetrial.sampling.usage import Usage
from finetrial.store.hashes import hash_value
from finetrial.store.layout import run_name
from finetrial.store.partial_samples import PartialSamples, partial_samples
from finetrial.store.records import (
    Measured,
    ReferenceLikelihood,
    Sample,
    SamplingCheck,
    Turns,
    read_object,
    write_object,
    write_rows,
)
from finetrial.training.step_plan import forward_work
from finetrial.trial.examples import Encoded, Example
from finetrial.trial.resolve import SampledArm
from finetrial.units import format_seconds
from finetrial.workflow.context import TrialContext
from finetrial.workflow.deployed_arm import merged_folder
from finetrial.workflow.forecast import DECODING_WORK, Job
from finetrial.workflow.sample_inputs import sample_inputs, weights_hash
from finetrial.workflow.step import Stage, StepDefaults
from finetrial.workflow.step_progress import SamplingProgress, sample_label
from finetrial.workflow.tune_step import tuning_steps

_LOOKED_AT = 200  # training examples whose lengths stand for those of held-out ones. Assumption
_NAMED = 5  # prompts without an answer that a line names
_COMPARED = 3  # training prompts that are encoded again. Assumption
_BYTES_A_TOKEN = 4  # of other text, about. Assumption


def _measured_so_far(context: TrialContext, arm: SampledArm, *, name: str, loaded: LoadedArm) -> Measured:
    """The training run's record so far; an arm that is not tuned has cost nothing yet."""
    path = context.folder.measured(name)
    if arm.tuned and path.exists():
        return read_object(path, Measured)
    return Measured.untuned(
        total_parameters=loaded.parameters or 0,
        is_from_elsewhere=arm.method.is_from_elsewhere,
        precision=loaded.precision,
        device=loaded.device,
    )


def _turns(example: Example) -> Turns | None:
    """The turns before the answer, for people to read; None where the prompt is one text."""
    turns = example.prompt_turns if example.messages is not None else ()
    return tuple((turn.role, turn.shown) for turn in turns) if len(turns) > 1 else None


def _write_samples(context: TrialContext, arm: str, samples: Sequence[Sample]) -> None:
    order = {example.id: place for place, example in enumerate(context.heldout)}
    turns = {example.id: _turns(example) for example in context.heldout}
    rows = [dataclasses.replace(sample, turns=turns[sample.prompt_id]) for sample in samples]
    write_rows(context.folder.samples(arm), sorted(rows, key=lambda s: (s.run or 0, order[s.prompt_id], s.index)))


def _answered(
    context: TrialContext, arm: SampledArm, prompts: Sequence[PromptTask], *, positions: int | None
) -> list[Encoded]:
    """The held-out references behind the very prompts that the arm is sampled from."""
    shown = {prompt.prompt_id: prompt for prompt in prompts}
    referenced = [example for example in context.heldout if example.references]
    encoded = context.encoded(arm, referenced).examples if referenced else ()
    return [behind_prompt(e, shown[e.example_id], context=positions) for e in encoded]


def _reference_rows(
    context: TrialContext, arm: SampledArm, prompts: Sequence[PromptTask], *, name: str, loaded: LoadedArm
) -> list[ReferenceLikelihood]:
    """What each held-out reference costs the arm, written; none where no row has a completion."""
    answered = _answered(context, arm, prompts, positions=loaded.positions)
    if not answered:
        return []
    examples = {example.id: example for example in context.heldout}
    rows = [
        ReferenceLikelihood(
            prompt_id=encoded.example_id,
            group=examples[encoded.example_id].group,
            tokens=trained_tokens(encoded),
            n_bytes=len(examples[encoded.example_id].references[0].encode()),
            nats=nats,
        )
        for encoded, nats in zip(answered, loaded.nats(answered), strict=True)
    ]
    write_rows(context.folder.references(name), rows)
    return rows


def _retained_bits(context: TrialContext, arm: SampledArm, *, name: str, loaded: LoadedArm) -> float | None:
    """Bits per byte of data.retain, written document by document; None where it names nothing.

    Examples in the prompt change no weights: a prompted arm is not measured.
    """
    if not context.retained or arm.method.is_a_prompt:
        return None
    rows = loaded.retained(context.retained)
    write_rows(context.folder.retained(name), rows)
    return sum(row.bits for row in rows) / sum(row.n_bytes for row in rows)


def _prompt_checks(context: TrialContext, arm: SampledArm, *, positions: int | None) -> Iterator[SamplingCheck]:
    """Whether the arm is shown what it was tuned on, and whether its special tokens come back as themselves."""
    tokenizer = context.tokenizer(arm.name)
    if arm.tuned and not arm.shots:
        examples = context.splits.train[:_COMPARED]
        prompts = arm_prompts(
            arm,
            examples,
            data=context.trial.data,
            tokenizer=tokenizer,
            train=context.splits.train,
            context=positions,
        )
        check = check_prompts(prompts, context.encoded(arm, examples).examples)
        if check.fault is not None:
            yield SamplingCheck("prompts as tuned on", False, f"it is shown other tokens: {check.fault}")
        elif check.same:
            yield SamplingCheck("prompts as tuned on", True, f"token for token ({check.same} compared)")
        else:
            yield SamplingCheck("prompts as tuned on", None, "every prompt looked at was cut")
    wrong = unreadable_tokens(tokenizer, end_ids(tokenizer, chat=arm.form.chat))
    if wrong:
        yield SamplingCheck("special tokens", False, f"they do not decode to themselves: {', '.join(wrong)}")
    else:
        yield SamplingCheck("special tokens", True, "they decode to themselves")


def _near_ties(samples: Sequence[Sample]) -> int | None:
    """How many tokens rounding could have chosen otherwise; None where they were not looked for."""
    noted = [sample.near_ties for sample in samples]
    return None if None in noted else sum(len(places) for places in noted if places is not None)


def _missing(
    prompts: Sequence[PromptTask], partial: PartialSamples, *, name: str, per_prompt: int
) -> list[PromptTask]:
    """The prompts that lack samples, each with those that it has."""
    found = []
    for prompt in prompts:
        drawn = frozenset(i for i in range(per_prompt) if f"{name}/{prompt.prompt_id}/{i}" in partial.samples)
        if len(drawn) < per_prompt:
            found.append(dataclasses.replace(prompt, drawn=drawn))
    return found


def _request_figures(
    loaded: LoadedArm, samples: Sequence[Sample], *, prompts: Sequence[PromptTask], seconds: float
) -> dict[str, Any]:
    """What one request took, as measured.json has it: counted here, or by whoever answered elsewhere."""
    usage = loaded.usage
    if usage is not None:
        return {
            "request_prompt_tokens": usage.prompt_tokens,
            "request_generated_tokens": usage.generated_tokens,
            "request_seconds": usage.seconds,
            "request_money": usage.money,
            "unanswered": usage.missing or None,
        }
    lengths = {prompt.prompt_id: len(prompt.token_ids) for prompt in prompts}
    request = request_cost(loaded.shape, samples, prompt_tokens=lengths, beside=loaded.beside)
    return {
        "request_prompt_tokens": request.prompt_tokens,
        "request_generated_tokens": request.generated_tokens,
        "request_flops": request.flops,
        "request_seconds": seconds / len(samples),
    }


def _say_usage(context: TrialContext, name: str, usage: Usage) -> None:
    for note in usage.notes:
        context.listener.line(f"{name}: {note}")
    if usage.missing:
        more = f" and {len(usage.missing) - _NAMED} more" if len(usage.missing) > _NAMED else ""
        shown = ", ".join(usage.missing[:_NAMED])
        context.listener.line(f"{name}: warning: {len(usage.missing)} prompts have no answer: {shown}{more}")
    if usage.money is not None:
        context.listener.line(f"{name}: {usage.money:.3g} a request, by the prices of its endpoint")


def _sample_run(
    context: TrialContext, arm: SampledArm, *, name: str, run: int | None, partial: PartialSamples
) -> list[Sample]:
    """What one training run of an arm answers; its losses on held-out and other text are measured on the way.

    Every run is asked the same prompts with the same random numbers, so that runs differ by their weights alone.
    Samples are written as they end, and those that an earlier process wrote are not drawn again.
    """
    began_loading, sampler = time.perf_counter(), context.sampler_of(arm)
    tokenizer, memory = context.tokenizer(arm.name), context.planned_memory(arm.name)
    to_sample = ArmToSample(
        arm=dataclasses.replace(arm, precision=context.precision_of(arm)),
        folder=context.folder.arm(name) if arm.tuned else None,
        tokenizer=tokenizer,
        trust_remote_code=context.trial.trust_remote_code,
        merged=merged_folder(context, arm, weights=weights_hash(context, arm)),
        served=context.folder.served(arm.name),
        batch_sequences=None if memory is None else memory.sequences,
    )
    loaded = sampler.load(to_sample)
    positions = loaded.positions
    if arm.method.deployed_from is not None:  # it is shown what the arm is shown
        positions = context.bases.positions_of(arm.name)
    if loaded.base_unknown is not None:
        context.listener.line(f"{name}: the adapter's base is not known for certain: {loaded.base_unknown}")
    if loaded.sampled_alone is not None:
        context.listener.line(f"{name}: sampled {loaded.sampled_alone}")
    checks = tuple(loaded.checks)
    if not arm.method.is_answered_elsewhere:
        checks += tuple(_prompt_checks(context, arm, positions=positions))
    for check in checks:
        said = "" if check.holds else ("not known: " if check.holds is None else "WARNING: ")
        context.listener.line(f"{name}: {check.name}: {said}{check.text}")
    prompts = arm_prompts(
        arm,
        context.heldout,
        data=context.trial.data,
        tokenizer=tokenizer,
        train=context.splits.train,
        context=positions,
    )
    cut = tuple(prompt.prompt_id for prompt in prompts if prompt.cut_tokens)
    if cut:
        context.listener.line(f"{name}: {cut_text(cut, of=len(prompts))}")
    references, retained = list[ReferenceLikelihood](), None
    if sampler.log_likelihoods:
        references = _reference_rows(context, arm, prompts, name=name, loaded=loaded)
        retained = _retained_bits(context, arm, name=name, loaded=loaded)
    missing = _missing(prompts, partial, name=name, per_prompt=arm.decoding.per_prompt)
    if sampler.name != context.sampler.name and missing:  # its own record keeps what it has answered
        missing = list(prompts)
    earlier = [sample for sample in partial.samples.values() if sample.run == run]
    if earlier:
        context.listener.line(f"{name}: {len(earlier):,} samples were drawn before and are kept")
    began = time.perf_counter()
    progress = SamplingProgress(
        context,
        name,
        total=sum(arm.decoding.per_prompt - len(prompt.drawn) for prompt in missing),
        longest=arm.decoding.max_new_tokens,
        before=began - began_loading,
    )
    strip = arm.decoding.strip
    decode = None if strip is None else decoder(tokenizer, strip=strip)
    for sample in loaded.sample(missing, on_progress=progress) if missing else ():
        one = strip_sample(sample, strip=strip, decode=decode)
        partial.add(dataclasses.replace(one, id=f"{name}{one.id.removeprefix(arm.name)}", run=run))
    samples = [sample for sample in partial.samples.values() if sample.run == run]
    seconds = time.perf_counter() - began + sum(sample.seconds or 0.0 for sample in earlier)
    measured = dataclasses.replace(
        _measured_so_far(context, arm, name=name, loaded=loaded),
        **_request_figures(loaded, samples, prompts=prompts, seconds=seconds),
        heldout_loss=nats_per_token(references),
        heldout_bits_per_byte=bits_per_byte(references),
        sample_seconds=seconds,
        sample_tokens=sum(s.tokens or 0 for s in samples),
        retain_bits_per_byte=retained,
        unmerged=loaded.unmerged,
        base_unknown=loaded.base_unknown,
        sampled_alone=loaded.sampled_alone,
        sampling_checks=checks,
        cut_prompts=cut,
        near_ties=_near_ties(samples),
    )
    write_object(context.folder.measured(name), measured)
    if loaded.usage is not None:
        _say_usage(context, name, loaded.usage)
    context.forecast.ended(sample_label(name), seconds=time.perf_counter() - began_loading)
    context.listener.end()
    context.listener.line(f"{name}: {len(samples):,} samples in {format_seconds(seconds)}")
    return samples


@dataclass(frozen=True, slots=True)
class SampleStep(StepDefaults):
    """The samples of one arm, every training run of it."""

    context: TrialContext = field(repr=False)
    arm: str
    stage: Stage = Stage.SAMPLE
    recorded: bool = True
    done_text: str | None = "sampled already"
    again_text: str | None = "sampling again"

    @property
    def subject(self) -> str:
        return self.arm

    @property
    def name(self) -> str:
        return f"sample:{self.arm}"

    @property
    def after(self) -> tuple[str, ...]:
        of = self.context.trial.arms[self.arm].method.deployed_from or self.arm
        return tuple(step.name for step in tuning_steps(self.context, of) if of in self.context.arms)

    @property
    def _runs(self) -> dict[str, int | None]:
        """The names of what answers, with the number of the training run; None where nothing is tuned."""
        runs = range(self.context.trial.runs_of(self.arm))
        return {run_name(self.arm, run=run): run for run in runs} or {self.arm: None}

    @property
    def jobs(self) -> tuple[str, ...]:
        return tuple(sample_label(name) for name in self._runs)

    def inputs(self) -> Mapping[str, Any]:
        return sample_inputs(self.context, self.context.resolved[self.arm])

    def outputs(self) -> Sequence[Path]:
        folder = self.context.folder
        written = [path for name in self._runs for path in (folder.retained(name), folder.references(name))]
        written.append(folder.served(self.arm))
        return [folder.samples(self.arm), *(path for path in written if path.exists())]

    def work(self) -> list[Job]:
        """Its jobs in a forecast, one a training run. Counts rows, and reads no held-out text."""
        context, arm = self.context, self.context.resolved[self.arm]
        if arm.method.is_answered_elsewhere:
            return [Job(label, self.arm, "sample", 0.0) for label in self.jobs]
        looked_at = context.encoded(arm, context.splits.train[:_LOOKED_AT]).examples
        example = sum(len(e.token_ids) for e in looked_at) / max(1, len(looked_at))
        answer = sum(e.trained_tokens for e in looked_at) / max(1, len(looked_at))
        prompt = example - answer + arm.shots * example
        # a tuned arm has learned how long answers are; another may go on to the limit
        limit = arm.decoding.max_new_tokens
        written = min(limit, answer + 1) if arm.tuned else limit
        prompts = min(context.trial.sampling.prompts, len(context.splits.heldout))
        reading = forward_work([round(prompt), round(prompt + answer)], width=context.bases.width_of(self.arm))
        work = prompts * (reading + arm.decoding.per_prompt * written * DECODING_WORK)
        if not arm.method.is_a_prompt:
            work += sum(len(document.text) for document in context.retained) / _BYTES_A_TOKEN
        return [Job(label, self.arm, "sample", work) for label in self.jobs]

    def beside(self) -> Sequence[Path]:
        return [self.context.folder.measured(name) for name in self._runs]

    def own_files(self) -> Sequence[Path]:
        folder = self.context.folder
        return [
            folder.samples(self.arm),
            folder.partial_samples(self.arm),
            *(path for name in self._runs for path in (folder.retained(name), folder.references(name))),
        ]

    def shared_files(self) -> Sequence[Path]:
        return [self.context.folder.measured(name) for name in self._runs]

    def execute(self) -> None:
        """Sample every training run, and write the samples and what was measured."""
        context, arm = self.context, self.context.resolved[self.arm]
        samples: list[Sample] = []
        path, drawn_with = context.folder.partial_samples(self.arm), hash_value(dict(self.inputs()))
        with (
            deterministic_kernels(wanted=context.deterministic),
            partial_samples(path, drawn_with=drawn_with) as partial,
        ):
            for name, run in self._runs.items():
                samples += _sample_run(context, arm, name=name, run=run, partial=partial)
            _write_samples(context, self.arm, samples)
