"""Run a GGUF file in llama.cpp, as it is deployed: with its own tokenizer and its own arithmetic.

llama.cpp comes with the package llama-cpp-python, which is no dependency: without it the arm fails and says so.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from finetrial.errors import MissingPackage, UserError
from finetrial.methods.deployed.deployed_method import LLAMA_CPP
from finetrial.sampling.elsewhere_arm import ElsewhereArm
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample_seed import sample_seed
from finetrial.sampling.sampler import ArmToSample, LoadedArm, OnProgress
from finetrial.sampling.stops import answer_of, first_stop
from finetrial.sampling.strip import answer_start, opens_block
from finetrial.sampling.usage import Usage
from finetrial.store.gguf import is_gguf
from finetrial.store.records import EndReason, Sample
from finetrial.trial.resolve import SampledArm

_CONTEXT_TOKENS = 4096  # where the file names no length of its own. Assumption


@dataclass(slots=True)
class LlamaCppArm(ElsewhereArm):
    """A GGUF file in memory."""

    arm: SampledArm
    model: Any
    _read: int = 0
    _made: int = 0
    _asked: int = 0
    _seconds: float = 0.0
    _unlike: int = 0  # prompts that the file's tokenizer cuts otherwise than the arm's

    @property
    def usage(self) -> Usage:
        notes: tuple[str, ...] = ()
        if self._unlike:
            notes = (f"{self._unlike} prompts are other tokens to the file's tokenizer than to the arm's",)
        if not self._asked:
            return Usage(notes=notes)
        return Usage(
            prompt_tokens=self._read / self._asked,
            generated_tokens=self._made / self._asked,
            seconds=self._seconds / self._asked,
            notes=notes,
        )

    def sample(self, prompts: Sequence[PromptTask], *, on_progress: OnProgress) -> Iterator[Sample]:
        """Yield the samples one after the other."""
        finished = 0
        for prompt in prompts:
            tokens = self._tokens(prompt)
            self._unlike += tuple(tokens) != prompt.token_ids
            for index in range(self.arm.decoding.per_prompt):
                if index not in prompt.drawn:
                    sample = self._answer(prompt, tokens, index=index)
                    finished += 1
                    on_progress(sample.tokens or 0, finished)
                    yield sample

    def _tokens(self, prompt: PromptTask) -> list[int]:
        """The prompt as the file's own tokenizer cuts it; it begins with the token that the arm's prompt begins
        with, where that is the one that begins a text."""
        tokens: list[int] = self.model.tokenize(prompt.text.encode(), add_bos=False, special=bool(prompt.turns))
        begin = self.model.token_bos()
        if prompt.token_ids[:1] == (begin,) and tokens[:1] != [begin]:
            return [begin, *tokens]
        return tokens

    def _answer(self, prompt: PromptTask, tokens: list[int], *, index: int) -> Sample:
        decoding, began = self.arm.decoding, time.perf_counter()
        seed = sample_seed(decoding.seed, prompt_id=prompt.prompt_id, index=index)
        said = self.model.create_completion(
            tokens,
            max_tokens=decoding.max_new_tokens,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            top_k=decoding.top_k or 0,  # 0: all of them
            min_p=decoding.min_p,
            repeat_penalty=decoding.repetition_penalty,
            seed=seed % 2**31,
            stop=list(decoding.stop),
        )
        seconds = time.perf_counter() - began
        (choice,) = said["choices"]
        made = int(said["usage"]["completion_tokens"])
        self._read, self._made = self._read + len(tokens), self._made + made
        self._asked, self._seconds = self._asked + 1, self._seconds + seconds
        text: str = choice["text"]
        end: EndReason = "length" if choice["finish_reason"] == "length" else "end_token"
        start = answer_start(text, strip=decoding.strip, opened=opens_block(prompt.text, strip=decoding.strip))
        place = None if start is None else first_stop(text, stops=decoding.stop, start=start)
        if place is not None:
            text, end = text[:place], "stop_string"
        if decoding.stop:
            text = answer_of(text)
        return Sample(
            id=f"{self.arm.name}/{prompt.prompt_id}/{index}",
            prompt_id=prompt.prompt_id,
            group=prompt.group,
            arm=self.arm.name,
            index=index,
            prompt=prompt.text,
            text=text.removeprefix(" "),
            token_ids=None,
            references=prompt.references,
            end_reason=end,
            logprob=None,
            tokens=made,
            seconds=seconds,
            seed=seed,
            source=prompt.source,
        )


@dataclass(frozen=True, slots=True)
class LlamaCppSampler:
    """Loads GGUF files into llama.cpp, in this process."""

    name: str = LLAMA_CPP
    log_likelihoods: bool = False
    common_random_numbers: bool = False

    def load(self, to_sample: ArmToSample) -> LoadedArm:
        """Raises UserError where the file is no GGUF file, and MissingPackage without llama-cpp-python."""
        arm = to_sample.arm
        if arm.file is None or not is_gguf(str(arm.file)) or not arm.file.exists():
            raise UserError(
                f"arm {arm.name} has no GGUF file to run",
                got=None if arm.file is None else str(arm.file),
                fix="`finetrial export TRIAL ARM --as gguf` writes one where llama.cpp's converter is at hand.",
            )
        try:
            llama_cpp = importlib.import_module("llama_cpp")
        except ImportError:
            purpose = "running a GGUF file in llama.cpp"
            raise MissingPackage("llama-cpp-python", extra=None, purpose=purpose) from None
        longest = arm.decoding.max_new_tokens + _CONTEXT_TOKENS
        model = llama_cpp.Llama(
            str(arm.file), n_ctx=min(longest, _trained_length(llama_cpp, arm.file) or longest), verbose=False
        )
        return LlamaCppArm(arm, model)


def _trained_length(llama_cpp: Any, file: Any) -> int | None:
    """The positions that the file's model was trained with; None where the file names none."""
    header = llama_cpp.Llama(str(file), vocab_only=True, verbose=False)
    name = header.metadata.get("general.architecture")
    said = header.metadata.get(f"{name}.context_length")
    return int(said) if said is not None else None


LLAMA_CPP_SAMPLER = LlamaCppSampler()
