"""What plans, scores, grades and reports runs where torch and transformers are not installed."""

import json
import subprocess
import sys

import pytest

from finetrial.cli.main import COMMANDS

BLOCKED = ("torch", "transformers", "peft", "tokenizers", "safetensors", "datasets", "accelerate")
RUN = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
from finetrial.cli.main import dispatch
sys.exit(dispatch(sys.argv[1:]))
"""


def finetrial(*arguments, cwd):
    return subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, cwd=cwd)


@pytest.fixture
def outputs(tmp_path):
    rows = [
        {"prompt": f"p{i}", "arm": arm, "text": f"{arm} says {i} is so", "reference": f"b says {i} is so"}
        for i in range(8)
        for arm in ("a", "b")
    ]
    (tmp_path / "outputs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("scale", "loss", "--params", "67B", "--tokens", "4.1T"),
        ("scale", "optimal", "--flops", "3e24"),
        ("footprint", "storage", "--model", "gpt3-175b", "--method", "full"),
        ("footprint", "rank", "--model", "gpt2", "--targets", "q", "--budget", "1MiB"),
        ("score", "outputs.jsonl"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_a_command_that_needs_no_model_runs_without_torch(arguments, outputs):
    done = finetrial(*arguments, "--json", cwd=outputs)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


@pytest.mark.parametrize("verb", ["run", "tune", "sample"])
def test_a_command_that_needs_torch_says_what_to_install(verb, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (tmp_path / "t.yaml").write_text("trial: t\nmodel: starter\ndata: {source: rows.jsonl}\narms: {base: {}}\n")
    done = finetrial(verb, "t.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "finetrial[tune]" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", sorted(set(COMMANDS) - {"import"}))
def test_a_command_s_help_waits_for_no_library_that_it_does_not_need(verb):
    """--help within 150 ms: typer and the options alone."""
    code = (
        "import sys\nfrom finetrial.cli.main import dispatch\n"
        f"assert dispatch([{verb!r}, '--help']) == 0\n"
        "print([name for name in ('pydantic', 'numpy', 'scipy', 'matplotlib', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
