"""`make gpu` with tiny sizes on the CPU: every part that measures runs to its end and writes its section."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_the_benchmark_of_a_card_is_rehearsed(tmp_path):
    page = tmp_path / "gpu.md"
    parts = ["losses", "attention", "tune-1b", "tune-8b", "sampling"]
    command = [sys.executable, "-m", "benchmarks.gpu", "--rehearse", *parts, "--out", str(page)]
    paths = os.pathsep.join(p for p in (str(ROOT / "src"), os.environ.get("PYTHONPATH")) if p)
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# On a card") and "a CPU (rehearsal)" in text
    ours = [line for line in text.splitlines() if line.startswith("| finetrial |")]
    speeds = [line.split("|")[2].strip().replace(",", "") for line in ours]
    assert sum(speed.isdigit() and int(speed) > 0 for speed in speeds) == 3, ours  # LoRA and full, LoRA of the 8B
    assert all("four bits need a CUDA device" in s for s in speeds if not s.isdigit())
    assert (
        "from float32" in text and "| generate, static cache, compiled |" in text and "packed rows: equal" in text
    )
