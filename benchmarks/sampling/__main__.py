"""How fast is sampling beside transformers' generate at its best batch, and how far from the machine's limits?

    python -m benchmarks.sampling --data FOLDER [--models gpt2,real,long] [--engines ...] [--batches ...] [--quick]

Every measurement is a process of its own. The batch of each engine is sought among --batches on a quarter of the
prompts, then measured on all; --quick measures the middle batch of the quarter alone. What is measured is kept in
docs/results/sampling.json, from which docs/results/sampling.md is made; a later run replaces what it measures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.sampling.measure import ENGINES, Case, Found, ask
from benchmarks.sampling.page import write_page
from finetrial.planning.machine import cpu_name

_OUT = Path("docs/results/sampling.md")
_SHAPES = {"gpt2": (64, 3, 48), "real": (64, 3, 48), "long": (2, 8, 48)}  # prompts, samples of each, tokens


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sampling", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="holds scitldr_dev.jsonl and gpt2-tokenizer")
    parser.add_argument("--models", default="gpt2,real,long")
    parser.add_argument("--engines", default="finetrial,generate", help=", ".join(ENGINES))
    parser.add_argument("--precisions", default="bfloat16")
    parser.add_argument("--gguf", default="", help="for llama.cpp: PRECISION=FILE,..., of the real model")
    parser.add_argument("--batches", default="24,48,96", help="sequences at once")
    parser.add_argument("--prompts", type=int, help="instead of 64, and 2 long ones")
    parser.add_argument("--limit", type=float, default=170.0, help="seconds of one measurement")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--note", help="what a reader of the table should know of this run")
    parser.add_argument("--out", type=Path, default=_OUT)
    return parser.parse_args()


def _real_model() -> str:
    from tools.real_model import present

    found = present()
    if found is None:
        sys.exit("error: the real model is not in the cache: python tools/real_model.py fetches it")
    return str(found)


def _machine(threads: int) -> dict[str, Any]:
    """What its products and its memory reach, by the threads that are measured with."""
    import time

    import torch

    from finetrial.models.device import DTYPES, matrix_rate

    torch.set_num_threads(threads)
    device = torch.device("cpu")
    source = torch.ones(1 << 28, dtype=torch.uint8)  # what was never written is one page of zeros
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        source.view(torch.int64).sum()
        best = min(best, time.perf_counter() - began)
    return {
        "name": cpu_name(),
        "threads": threads,
        "rates": {p: matrix_rate(DTYPES[p], device=device, seconds=1.0) for p in ("bfloat16", "float32")},
        "bytes_per_second": source.numel() / best,
    }


def _say(case: Case, found: Found) -> None:
    said = found.failed or f"{found.samples_per_second:.2f} samples/s, {(found.peak_bytes or 0) / 2**30:.2f} GiB"
    print(
        f"{case.model} {case.engine} {case.precision} batch {case.batch}, {case.prompts} prompts: {said}",
        flush=True,
    )


def _best_batch(case: Case, *, batches: list[int], limit: float) -> int:
    """The fastest on a quarter of the prompts."""
    rates: dict[int, float] = {}
    for batch in batches:
        tried = dataclasses.replace(case, batch=batch, prompts=max(1, case.prompts // 4))
        found = ask(tried, limit_seconds=limit)
        _say(tried, found)
        rates[batch] = found.samples_per_second or 0.0
    return max(rates, key=lambda batch: rates[batch])


def main() -> None:
    options = _options()
    kept_path = options.out.with_suffix(".json")
    kept = json.loads(kept_path.read_text()) if kept_path.exists() else {"entries": {}}
    kept["machine"], kept["day"] = _machine(options.threads), str(date.today())
    kept["note"] = options.note or kept.get("note")
    batches = [int(batch) for batch in options.batches.split(",")]
    files = dict(pair.split("=", 1) for pair in options.gguf.split(",") if pair)
    for model in options.models.split(","):
        prompts, copies, tokens = _SHAPES[model]
        prompts = options.prompts or prompts
        for engine in options.engines.split(","):
            is_llama = engine == "llama.cpp"
            if is_llama and model != "real":
                continue  # it reads files alone
            for precision in files if is_llama else options.precisions.split(","):
                case = Case(
                    engine=engine,
                    model=_real_model() if model == "real" else model,
                    precision=precision,
                    batch=batches[len(batches) // 2],
                    prompts=max(1, prompts // 4) if options.quick else prompts,
                    copies=copies,
                    tokens=tokens,
                    data=str(options.data),
                    threads=options.threads,
                    weights=files[precision] if is_llama else None,
                )
                if not options.quick and len(batches) > 1 and engine != "continuous":
                    best = _best_batch(case, batches=batches, limit=options.limit)
                    case = dataclasses.replace(case, batch=best)
                found = ask(case, limit_seconds=options.limit)
                _say(case, found)
                entry = {**dataclasses.asdict(case), **dataclasses.asdict(found), "model": model}
                del entry["data"], entry["weights"]
                kept["entries"][f"{model}/{engine}/{precision}"] = entry
                kept_path.parent.mkdir(parents=True, exist_ok=True)
                kept_path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
                write_page(options.out, kept)


if __name__ == "__main__":
    main()
