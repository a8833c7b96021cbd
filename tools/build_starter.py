"""Rebuild the embedded starter from nothing: its text, its tokenizer, its weights.

    python tools/build_starter.py [--out src/finetrial/starter/model]

Everything is decided by the seeds and sizes below; on one machine two rebuilds give the same bytes. One thread:
with several, the order of additions, and so the last bits, would depend on their number. The manifest holds the
figures of the text and what was read.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch

from finetrial.starter.corpus import CorpusSizes, write_corpus
from finetrial.store.files import atomic_text
from finetrial.store.hashes import hash_file
from finetrial.training.pretraining import PretrainTask, pretrain
from finetrial.training.task import Progress

SEED = 0
SIZES = CorpusSizes(pretraining_bytes=30_000_000)
# GPT-2's architecture: 5 x 12 x 192^2 + (2048 + 384) x 192 = 2.7 M parameters and the small vectors.
LAYERS, WIDTH, HEADS, CONTEXT, VOCABULARY = 5, 192, 6, 384, 2048
TOKENS, BATCH_TOKENS = 9_000_000, 4096
SHIPPED = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def main() -> None:
    """Write the corpus, pretrain, and put what is shipped into place."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("src/finetrial/starter/model"))
    out = parser.parse_args().out
    torch.set_num_threads(1)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        corpus = write_corpus(Path(work) / "corpus", sizes=SIZES, seed=SEED)
        print(f"text: {corpus.pretraining_bytes:,} bytes in {time.perf_counter() - began:.0f} s", flush=True)
        task = PretrainTask(
            texts=(str(corpus.pretraining),),
            folder=Path(work) / "model",
            layers=LAYERS,
            width=WIDTH,
            heads=HEADS,
            context=CONTEXT,
            tokenizer=f"train:{VOCABULARY}",
            tokens=TOKENS,
            heldout=0.01,
            batch_tokens=BATCH_TOKENS,
            precision="bfloat16",
            seed=SEED,
            command="python tools/build_starter.py",
        )
        last = -1

        def watch(progress: Progress) -> None:
            nonlocal last
            percent = 100 * progress.step // progress.steps
            if percent > last and progress.loss is not None:
                last = percent
                print(f"{percent} %  loss {progress.loss:.3f}  {progress.seconds:.0f} s", flush=True)

        pretrain(task, on_progress=watch)
        manifest = json.loads((task.folder / "manifest.json").read_text(encoding="utf-8"))
        manifest["written_by_program"] = True
        manifest["weights_sha256"] = hash_file(task.folder / "model.safetensors")
        manifest.pop("shingles", None)  # the splits share no plot by construction; the file would weigh 8 MB
        seconds = manifest.pop("seconds")
        out.mkdir(parents=True, exist_ok=True)
        for name in SHIPPED:
            shutil.copy(task.folder / name, out / name)
        atomic_text(out / "manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    took = time.perf_counter() - began
    print(f"{out}: weights {manifest['weights_sha256'][:16]}, pretraining {seconds:.0f} s, all {took:.0f} s")


if __name__ == "__main__":
    main()
