"""How fast is finetrial on a card?

    python -m benchmarks.gpu [PART ...] [--wheels FOLDER] [--data FOLDER] [--budget SECONDS] [--rehearse]

Parts: tests, losses, tune-1b, tune-8b, small, sampling, attention, footprint; all of them without a name. Each part
takes less than four minutes on one H100-class card and appends to docs/results/gpu.md. It works from a bare
checkout (PYTHONPATH=src), without a network; --wheels names a folder of packages that are missing here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PARTS = ("tests", "losses", "attention", "tune-1b", "tune-8b", "small", "sampling", "footprint")
_PART_SECONDS = 230.0
_OUT = Path("docs/results/gpu.md")
_PACKAGES = ("torch", "triton", "transformers", "peft", "trl", "liger-kernel", "bitsandbytes")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(_PARTS))
    parser.add_argument("--wheels", type=Path, help="a folder of wheels to install for this run")
    parser.add_argument("--data", type=Path, help="holds scitldr_train.jsonl and gpt2-tokenizer")
    parser.add_argument("--budget", type=float, help=f"seconds of a part; {_PART_SECONDS:.0f}")
    parser.add_argument("--search", action="store_true", help="seek TRL's best setting anew")
    parser.add_argument("--methods", default="lora,full,qlora", help="of those that a part tunes by")
    parser.add_argument("--quick", action="store_true", help="of sampling the small shape alone")
    parser.add_argument("--rehearse", action="store_true", help="everything with tiny sizes, on the CPU")
    parser.add_argument("--out", type=Path, help=f"{_OUT}; nothing is written when rehearsed unless given")
    options = parser.parse_args()
    unknown = sorted(set(options.parts) - set(_PARTS))
    if unknown:
        parser.error(f"unknown part {', '.join(unknown)}: there are {', '.join(_PARTS)}")
    return options


def _install(wheels: Path) -> None:
    """Install the wheels into a folder of this run, and start again with it on the path."""
    target = tempfile.mkdtemp(prefix="gpu-wheels-")
    files = sorted(str(path) for path in wheels.glob("*.whl"))
    if not files:
        sys.exit(f"error: no wheel in {wheels}")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--target"]
    subprocess.run([*command, target, *files], check=True)
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in (target, os.environ.get("PYTHONPATH")) if p)
    arguments, given = [], iter(sys.argv[1:])
    for word in given:
        if word == "--wheels":
            next(given)
        elif not word.startswith("--wheels="):
            arguments.append(word)
    try:
        sys.exit(subprocess.run([sys.executable, "-m", "benchmarks.gpu", *arguments]).returncode)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _versions() -> str:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def main() -> None:
    options = _options()
    if options.wheels is not None:
        _install(options.wheels)
    # no hub, few words, and a question about cards that does not touch one: it must be untouched when a part forks
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    os.environ.update({**quiet, "PYTORCH_NVML_BASED_CUDA_CHECK": "1", "TOKENIZERS_PARALLELISM": "false"})
    import torch

    from benchmarks.gpu import footprint, parts, quality, sampling
    from benchmarks.gpu.result import apart
    from benchmarks.gpu.writing import Memory, Page, heading

    device = torch.device("cpu" if options.rehearse else "cuda")
    card, failed = apart(lambda: quality.card_name(device), limit_seconds=60)
    if failed is not None:
        sys.exit(f"error: there is no card here that torch can use: {failed}")
    out = options.out or (None if options.rehearse else _OUT)
    page = Page(out)
    setup = parts.Setup(
        device=device,
        card=card,
        page=page,
        memory=Memory(None if out is None else out.with_name("gpu-fastest.json")),
        data=options.data,
        rehearsed=options.rehearse,
        search=options.search,
        quick=options.quick,
        methods=tuple(options.methods.split(",")),
    )
    command = " ".join(["python -m benchmarks.gpu", *sys.argv[1:]])
    page.add(heading(card=card, versions=_versions(), day=str(date.today()), command=command))
    measured = {
        "tests": quality.tests,
        "losses": quality.losses,
        "attention": parts.attention,
        "tune-1b": parts.tune_1b,
        "tune-8b": parts.tune_8b,
        "small": parts.small,
        "sampling": sampling.sampling,
        "footprint": footprint.footprint,
    }
    for name in options.parts or _PARTS:
        began = time.monotonic()
        try:
            measured[name](setup, parts.Clock(options.budget or _PART_SECONDS))
        except Exception as error:  # the next part is measured all the same
            page.add(f"{name}: not measured: {type(error).__name__}: {str(error)[:300]}")
            traceback.print_exc()
            if options.rehearse:
                raise
        print(f"({name}: {time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
