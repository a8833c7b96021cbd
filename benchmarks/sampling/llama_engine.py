"""Sample with llama.cpp as fast as its library allows: prompts read once, their samples batched.

Each prompt is read into one sequence whose cells its other samples share (`llama_memory_seq_cp`), then all samples
take a token a step in one batch. Tokens are chosen by its own samplers, one chain a sample.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any


def made_tokens(
    path: str,
    prompts: Sequence[Sequence[int]],
    *,
    copies: int,
    tokens: int,
    batch: int,
    threads: int,
    temperature: float,
    top_p: float,
) -> int:
    """How many tokens were made: `tokens` of each of a prompt's `copies` samples, `batch` sequences at once."""
    import llama_cpp as ll

    with _WithoutWords():
        ll.llama_backend_init()
        model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
        together = max(1, batch // copies)
        ordered = sorted(prompts, key=len)
        waves = [ordered[i : i + together] for i in range(0, len(ordered), together)]
        setting = ll.llama_context_default_params()
        setting.n_seq_max = together * copies
        setting.n_ctx = max(sum(map(len, wave)) + len(wave) * copies * tokens for wave in waves) + 64
        setting.n_batch = setting.n_ubatch = max(512, together * copies)
        setting.n_threads = setting.n_threads_batch = threads
        setting.kv_unified = True  # the samples of a prompt share its cells
        context = ll.llama_init_from_model(model, setting)
    if not context:
        raise SystemExit(f"llama.cpp makes no context of {setting.n_ctx} cells")
    seeds = itertools.count()
    made = sum(
        _wave(ll, context, wave, copies=copies, tokens=tokens, seeds=seeds, temperature=temperature, top_p=top_p)
        for wave in waves
    )
    ll.llama_free(context)
    ll.llama_model_free(model)
    return made


def _wave(
    ll: Any,
    context: Any,
    wave: Sequence[Sequence[int]],
    *,
    copies: int,
    tokens: int,
    seeds: Iterator[int],
    temperature: float,
    top_p: float,
) -> int:
    memory = ll.llama_get_memory(context)
    ll.llama_memory_clear(memory, False)
    limit = int(ll.llama_n_batch(context))
    batch = ll.llama_batch_init(limit, 0, 1)
    samplers = [_chain(ll, next(seeds), temperature=temperature, top_p=top_p) for _ in range(len(wave) * copies)]
    newest = [0] * len(samplers)
    made = 0
    for number, ids in enumerate(wave):
        first = number * copies
        for start in range(0, len(ids), limit):
            part = ids[start : start + limit]
            rows = [(token, start + i, first, start + i + 1 == len(ids)) for i, token in enumerate(part)]
            _decode(ll, context, batch, rows)
        for copy in range(copies):
            if copy:
                ll.llama_memory_seq_cp(memory, first, first + copy, -1, -1)
            newest[first + copy] = ll.llama_sampler_sample(samplers[first + copy], context, -1)
            made += 1
    for step in range(tokens - 1):
        rows = [(token, len(wave[i // copies]) + step, i, True) for i, token in enumerate(newest)]
        _decode(ll, context, batch, rows)
        newest = [ll.llama_sampler_sample(sampler, context, i) for i, sampler in enumerate(samplers)]
        made += len(newest)
    for sampler in samplers:
        ll.llama_sampler_free(sampler)
    ll.llama_batch_free(batch)
    return made


def _chain(ll: Any, seed: int, *, temperature: float, top_p: float) -> Any:
    chain = ll.llama_sampler_chain_init(ll.llama_sampler_chain_default_params())
    ll.llama_sampler_chain_add(chain, ll.llama_sampler_init_temp(temperature))
    ll.llama_sampler_chain_add(chain, ll.llama_sampler_init_top_p(top_p, 1))
    ll.llama_sampler_chain_add(chain, ll.llama_sampler_init_dist(seed))
    return chain


def _decode(ll: Any, context: Any, batch: Any, rows: Sequence[tuple[int, int, int, bool]]) -> None:
    """Feed tokens, each with its position, its sequence, and whether its logits are wanted."""
    batch.n_tokens = len(rows)
    for i, (token, position, sequence, wanted) in enumerate(rows):
        batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
        batch.seq_id[i][0], batch.logits[i] = sequence, wanted
    if (code := ll.llama_decode(context, batch)) != 0:
        raise SystemExit(f"llama_decode gave {code}")


class _WithoutWords:
    """While open, what C code says on standard error goes nowhere."""

    def __enter__(self) -> None:
        self._kept, self._null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(self._null, 2)

    def __exit__(self, *error: object) -> None:
        os.dup2(self._kept, 2)
        os.close(self._kept)
        os.close(self._null)
