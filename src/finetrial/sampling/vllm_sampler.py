"""Sample arms with vLLM, where it is installed: the same prompts, settings and records.

What it cannot give: common random numbers, for it has no say in which number chooses a token, so that arms with the
same weights give other texts and comparisons are less sharp; adapters beside the weights, and learned prompts; the
losses on references and other text. Its min-p leaves tokens out before top-p, ours after it.

A sample is one request with a seed of its own, and the tokens that come back are taken one by one as the torch
engine takes its own: stops, ends, thinking and the text are settled by the same code. Log-likelihoods are those of
the model without temperature and cuts (`logprobs_mode="raw_logprobs"`).
"""

from __future__ import annotations

import contextlib
import importlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from finetrial.errors import UserError
from finetrial.methods.torch_half import Where
from finetrial.models.device import choose_precision, dtype_name, pick_device
from finetrial.models.encode import end_ids
from finetrial.models.export_folder import export_arm, export_tuned
from finetrial.models.loading import load_config
from finetrial.models.own_forward import positions_in
from finetrial.sampling.elsewhere_arm import ElsewhereArm
from finetrial.sampling.generation import Generation, begin
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample_seed import sample_seed
from finetrial.sampling.sampler import ArmToSample, LoadedArm, OnProgress
from finetrial.sampling.strip import decoder
from finetrial.sampling.usage import Usage
from finetrial.store.gguf import is_gguf
from finetrial.store.records import Sample
from finetrial.trial.resolve import SampledArm

# Sequences asked for at once: what a kill can lose. vLLM batches them as its memory allows. Assumption
_AT_ONCE = 1024


@dataclass(frozen=True)
class VllmArm(ElsewhereArm):
    """An arm's model in vLLM."""

    arm: SampledArm
    library: Any  # the package
    engine: Any  # its LLM
    tokenizer: Any
    ends: frozenset[int]
    positions: int | None
    precision: str | None
    device: str | None
    merged: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)  # kept while it is sampled
    usage: Usage | None = None

    def sample(self, prompts: Sequence[PromptTask], *, on_progress: OnProgress) -> Iterator[Sample]:
        """Yield the samples, some hundreds of sequences at a time."""
        decoding = self.arm.decoding
        decode = decoder(self.tokenizer, strip=decoding.strip)
        asked = [(task, i) for task in prompts for i in range(decoding.per_prompt) if i not in task.drawn]
        finished = 0
        for start in range(0, len(asked), _AT_ONCE):
            part, began = asked[start : start + _AT_ONCE], time.perf_counter()
            found = self.engine.generate(
                [{"prompt_token_ids": list(task.token_ids)} for task, _ in part],
                [self._parameters(task, index) for task, index in part],
                use_tqdm=False,
            )
            seconds = time.perf_counter() - began
            made = [
                self._taken(begin(task, index=index, decode=decode, decoding=decoding), one.outputs[0])
                for (task, index), one in zip(part, found, strict=True)
            ]
            tokens = sum(len(generation.token_ids) for generation in made)
            finished += len(made)
            on_progress(tokens, finished)
            for generation in made:
                generation.settle(decode=decode, stops=decoding.stop, strip=decoding.strip)
                share = len(generation.token_ids) / max(1, tokens)
                yield generation.as_sample(arm=self.arm.name, seconds=seconds * share)

    def _parameters(self, task: PromptTask, index: int) -> Any:
        decoding = self.arm.decoding
        return self.library.SamplingParams(
            n=1,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            top_k=decoding.top_k or 0,
            min_p=decoding.min_p,
            repetition_penalty=decoding.repetition_penalty,
            seed=sample_seed(decoding.seed, prompt_id=task.prompt_id, index=index),
            max_tokens=decoding.max_new_tokens,
            stop_token_ids=sorted(self.ends),
            ignore_eos=True,  # the ends are named
            logprobs=0,  # of the chosen tokens alone
            detokenize=False,
        )

    def _taken(self, generation: Generation, output: Any) -> Generation:
        """The generation with the tokens that came back, up to its first stop or end."""
        for token, logprobs in zip(output.token_ids, output.logprobs, strict=True):
            if not generation.take(int(token), logprob=float(logprobs[token].logprob), ends=self.ends):
                break
        return generation


@dataclass(frozen=True, slots=True)
class VllmSampler:
    """Loads models into vLLM."""

    name: str = "vllm"
    log_likelihoods: bool = False  # of its own samples alone, not of texts that it is asked about
    common_random_numbers: bool = False

    def load(self, to_sample: ArmToSample) -> LoadedArm:
        """The arm's model in vLLM. Raises UserError where it is not installed, or an adapter cannot be merged."""
        library, arm = _library(), to_sample.arm
        device = pick_device()
        dtype = choose_precision(arm.precision, device=device)
        source, merged = _weights(to_sample, dtype=dtype)
        config = load_config(source, trust_remote_code=to_sample.trust_remote_code)
        engine = library.LLM(
            model=source,
            skip_tokenizer_init=True,  # it is given tokens and gives tokens
            trust_remote_code=to_sample.trust_remote_code,
            dtype=dtype_name(dtype),
            seed=arm.decoding.seed % 2**31,
            logprobs_mode="raw_logprobs",
            generation_config="vllm",  # none of the model's own settings act
        )
        ends = end_ids(to_sample.tokenizer, chat=arm.form.chat) | _configured_ends(source)
        return VllmArm(
            arm,
            library,
            engine,
            to_sample.tokenizer,
            ends,
            positions_in(config),
            dtype_name(dtype),
            str(device),
            merged,
        )


def _library() -> Any:
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise UserError(
            "sampling.engine: vllm needs vLLM",
            got=str(error),
            fix="Install it (`pip install vllm`), or use sampling.engine: torch.",
        ) from None


def _weights(to_sample: ArmToSample, *, dtype: torch.dtype) -> tuple[str, tempfile.TemporaryDirectory[str] | None]:
    """What vLLM reads: the model itself, or what was tuned merged into a folder of its own."""
    arm, trusted = to_sample.arm, to_sample.trust_remote_code
    if to_sample.folder is None and arm.adapter is None and not is_gguf(arm.model):
        return arm.model, None
    holder = tempfile.TemporaryDirectory(prefix="finetrial-vllm-")
    out = Path(holder.name) / "model"
    if to_sample.folder is not None:
        where = Where(base=arm.model, dtype=dtype, trust_remote_code=trusted)
        written = export_tuned(arm.keys.tuning, where, folder=to_sample.folder, out=out)
    else:
        written = export_arm(arm.model, out=out, adapter=arm.adapter, dtype=dtype, trust_remote_code=trusted)
    if written.unmerged is not None:
        raise UserError(
            f"arm {arm.name}: vLLM is given merged weights, and this adapter stays beside them",
            got=written.unmerged,
            fix="Use sampling.engine: torch.",
        )
    return str(out), holder


def _configured_ends(source: str) -> frozenset[int]:
    """The end tokens of the model's generation settings."""
    with contextlib.suppress(OSError):  # it has none
        ends = GenerationConfig.from_pretrained(source).eos_token_id
        return frozenset(ends if isinstance(ends, list) else [ends]) - {None}
    return frozenset()


VLLM_SAMPLER = VllmSampler()
