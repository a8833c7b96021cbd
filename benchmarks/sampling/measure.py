"""One measurement in a process of its own: samples a second, peak memory, and what the machine could do at most.

    python -m benchmarks.sampling.measure '{"engine": "finetrial", "model": "gpt2", ...}'

All draw the same number of tokens from every prompt: nothing ends a sample before its last one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENGINES = ("finetrial", "padded", "generate", "continuous", "llama.cpp")
TEMPERATURE, TOP_P = 0.8, 0.95
LONG_POSITIONS, LONG_PROMPT = 4096, 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is measured."""

    engine: str
    model: str  # gpt2: 124M at random weights; long: its shape with 4,096 positions; or a folder or GGUF file
    precision: str
    batch: int  # sequences at once
    prompts: int
    copies: int
    tokens: int
    data: str
    threads: int = 2
    weights: str | None = None  # a GGUF file that stands in for the model's own, for llama.cpp

    @property
    def samples(self) -> int:
        return self.prompts * self.copies


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came out."""

    samples_per_second: float | None = None
    seconds: float | None = None
    peak_bytes: int | None = None
    prompt_tokens: int = 0
    flops: float = 0.0  # that the mathematics of these samples needs, a prompt read once
    failed: str | None = None


def ask(case: Case, *, limit_seconds: float) -> Found:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.sampling.measure", json.dumps(dataclasses.asdict(case))]
    environment = os.environ | {"OMP_NUM_THREADS": str(case.threads), "TRANSFORMERS_VERBOSITY": "error"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        return Found(failed=f"not done after {limit_seconds:.0f} s")
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return Found(failed=said[:200])
    return Found(**json.loads(done.stdout.strip().splitlines()[-1]))


def make_tokenizer(case: Case) -> Any:
    from transformers import AutoTokenizer

    from finetrial.models.loading import load_tokenizer

    if case.model in ("gpt2", "long"):
        return AutoTokenizer.from_pretrained(Path(case.data) / "gpt2-tokenizer")
    return load_tokenizer(case.model)


def make_prompts(case: Case, tokenizer: Any) -> list[tuple[int, ...]]:
    rows = []
    with (Path(case.data) / "scitldr_dev.jsonl").open(encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    if case.model != "long":
        texts = [row["prompt"] + "\n\nTL;DR:" for row in rows[: case.prompts]]
        return [tuple(tokenizer(text).input_ids) for text in texts]
    ids = [i for row in rows for i in tokenizer(row["prompt"]).input_ids]
    return [tuple(ids[i * LONG_PROMPT : (i + 1) * LONG_PROMPT]) for i in range(case.prompts)]


def make_model(case: Case) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config

    from finetrial.models.device import DTYPES
    from finetrial.models.loading import fuse_activations, load_model

    dtype = DTYPES[case.precision]
    if case.model in ("gpt2", "long"):
        torch.manual_seed(0)
        config = GPT2Config(n_positions=LONG_POSITIONS if case.model == "long" else 1024)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
        if case.engine in ("finetrial", "padded"):
            fuse_activations(model)  # as load_model does
    else:
        model = load_model(case.model, dtype=dtype)
    model.generation_config.eos_token_id = None
    return model


class _WithoutEnd:
    """A tokenizer that names no end token."""

    eos_token_id = None

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def _finetrial(case: Case, model: Any, tokenizer: Any, prompts: list[tuple[int, ...]]) -> int:
    from finetrial.sampling.prompt_task import PromptTask
    from finetrial.sampling.sample import sample_arm
    from finetrial.sampling.sampling_way import Way
    from finetrial.trial.resolve import Decoding

    tasks = [PromptTask(str(i), None, "", ids, (), "") for i, ids in enumerate(prompts)]
    decoding = Decoding(per_prompt=case.copies, max_new_tokens=case.tokens, temperature=TEMPERATURE, top_p=TOP_P)
    samples = sample_arm(
        model,
        _WithoutEnd(tokenizer),  # type: ignore[arg-type]
        tasks,
        decoding=decoding,
        arm="base",
        batch_sequences=case.batch,
        way=Way.SHARED if case.engine == "finetrial" else Way.BATCHED,
    )
    return sum(s.tokens or 0 for s in samples)


def _generate(case: Case, model: Any, prompts: list[tuple[int, ...]]) -> int:
    import torch

    made = 0
    ordered = sorted(prompts, key=len)
    rows = max(1, case.batch // case.copies)
    for start in range(0, len(ordered), rows):
        part = ordered[start : start + rows]
        width = max(map(len, part))
        ids, mask = (torch.zeros(len(part), width, dtype=torch.long) for _ in range(2))
        for row, one in enumerate(part):
            ids[row, width - len(one) :], mask[row, width - len(one) :] = torch.tensor(one), 1
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                temperature=TEMPERATURE,
                top_p=TOP_P,
                top_k=0,
                max_new_tokens=case.tokens,
                min_new_tokens=case.tokens,
                num_return_sequences=case.copies,
                pad_token_id=0,
            )
        made += out[:, width:].numel()
    return made


def _continuous(case: Case, model: Any, prompts: list[tuple[int, ...]]) -> int:
    from transformers import GenerationConfig
    from transformers.generation.configuration_utils import ContinuousBatchingConfig

    model.set_attn_implementation("sdpa")
    page = 32
    pages = -(-(max(map(len, prompts)) + case.tokens) // page)
    paging = ContinuousBatchingConfig(
        page_size=page,
        num_blocks=case.batch * pages,  # left to itself it takes four fifths of the machine's memory
        max_batch_tokens=1024,
        max_requests_per_batch=case.batch,
    )
    setting = GenerationConfig(
        do_sample=True,
        temperature=TEMPERATURE,
        top_p=TOP_P,
        top_k=0,
        max_new_tokens=case.tokens,
        num_return_sequences=case.copies,
        eos_token_id=-1,
        pad_token_id=0,
    )
    found = model.generate_batch(
        inputs=[list(ids) for ids in prompts], generation_config=setting, continuous_batching_config=paging
    )
    return sum(len(one.generated_tokens) for one in found.values())


def _llama_cpp(case: Case, prompts: list[tuple[int, ...]]) -> int:
    from benchmarks.sampling.llama_engine import made_tokens

    return made_tokens(
        case.weights or case.model,
        prompts,
        copies=case.copies,
        tokens=case.tokens,
        batch=case.batch,
        threads=case.threads,
        temperature=TEMPERATURE,
        top_p=TOP_P,
    )


def _flops(model: Any, case: Case, prompts: list[tuple[int, ...]]) -> float:
    from finetrial.footprint.flops import sampling_flops
    from finetrial.methods.model_targets import shape_of

    shape = shape_of(model)
    if shape is None:
        return 0.0
    one = [case.tokens] * case.copies
    return float(sum(sampling_flops(shape, prompt_tokens=len(ids), sample_tokens=one).total for ids in prompts))


def measure(case: Case) -> Found:
    """Load, warm up on one prompt, and time the others."""
    import torch

    torch.set_num_threads(case.threads)
    tokenizer = make_tokenizer(case)
    prompts = make_prompts(case, tokenizer)
    model = None if case.engine == "llama.cpp" else make_model(case)

    def run(some: list[tuple[int, ...]]) -> int:
        by: dict[str, Callable[[], int]] = {
            "finetrial": lambda: _finetrial(case, model, tokenizer, some),
            "padded": lambda: _finetrial(case, model, tokenizer, some),
            "generate": lambda: _generate(case, model, some),
            "continuous": lambda: _continuous(case, model, some),
            "llama.cpp": lambda: _llama_cpp(case, some),
        }
        return by[case.engine]()

    began = time.perf_counter()
    made = run(prompts)
    seconds = time.perf_counter() - began
    if made != case.samples * case.tokens:
        raise SystemExit(f"{made} tokens were made, not {case.samples * case.tokens}")
    return Found(
        samples_per_second=case.samples / seconds,
        seconds=seconds,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        prompt_tokens=sum(map(len, prompts)),
        flops=0.0 if model is None else _flops(model, case, prompts),
    )


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(measure(Case(**json.loads(sys.argv[1]))))))
