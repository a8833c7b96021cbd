"""How the console script ends in a real process: closed pipes, SIGTERM, a notebook's backend."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

MAIN = [sys.executable, "-m", "finetrial.cli.main"]


@pytest.fixture
def outputs(tmp_path):
    rows = [
        {"prompt": f"p{i}", "arm": arm, "text": f"{arm} says {i} is so", "reference": f"b says {i} is so"}
        for i in range(8)
        for arm in ("a", "b")
    ]
    (tmp_path / "outputs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path


def into_a_closed_pipe(*arguments, cwd, both):
    """Standard output, and with `both` the errors too, go where nobody reads."""
    read, write = os.pipe()
    os.close(read)
    try:
        errors = subprocess.STDOUT if both else subprocess.PIPE
        return subprocess.run([*MAIN, *arguments], stdout=write, stderr=errors, cwd=cwd, timeout=120, text=True)
    finally:
        os.close(write)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("score", "--help"),
        ("score", "outputs.jsonl"),
        ("score", "outputs.jsonl", "--json"),
        ("scale", "optimal", "--flops", "3e24"),
        ("footprint", "storage", "--model", "gpt2", "--method", "full"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_a_closed_pipe_ends_a_command_quietly(arguments, both, outputs):
    done = into_a_closed_pipe(*arguments, cwd=outputs, both=both)
    assert done.returncode in (0, 141)
    assert not done.stderr


@pytest.mark.parametrize("backend", ["nope", "module://not_installed.backend_inline"])
def test_figures_are_drawn_whatever_backend_the_shell_names(backend, tmp_path):
    drawn = subprocess.run(
        [*MAIN, "scale", "plot", "contours", "-o", "picture.svg"],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert drawn.returncode == 0, drawn.stderr
    assert "<svg" in (tmp_path / "picture.svg").read_text()
    code = (
        "import os\nfrom finetrial.plotting import load_matplotlib\nload_matplotlib().figure.Figure()\n"
        f"assert os.environ['MPLBACKEND'] == {backend!r}"
    )
    assert subprocess.run([sys.executable, "-c", code], env=os.environ | {"MPLBACKEND": backend}).returncode == 0


def test_tuning_and_sampling_import_no_plotting():
    code = (
        "import sys, finetrial.workflow.run, finetrial.training.loop, finetrial.sampling.sample\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'matplotlib'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_sigterm_saves_what_was_trained_and_the_next_start_says_from_which_step_it_goes_on(tmp_path):
    """As a batch system ends a job: status 130 as for Ctrl-C, and nothing is lost."""
    (tmp_path / "text.txt").write_text(
        "\n".join(f"line {i} of a text that has some words in it" for i in range(400))
    )
    command = [*MAIN, "pretrain", "text.txt", "--out", "base", "--layers", "1", "--width", "32", "--heads", "2"]
    command += ["--context", "32", "--batch-tokens", "64", "--tokens", "100k"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    endless = subprocess.Popen(command, cwd=tmp_path, **pipes)
    assert endless.stderr is not None
    said = [endless.stderr.readline()]
    while "steps, about" not in said[-1] and said[-1]:
        said.append(endless.stderr.readline())
    endless.send_signal(signal.SIGTERM)
    _, rest = endless.communicate(timeout=120)
    assert endless.returncode == 130, (said, rest)
    assert "interrupted. Run the same command again: it continues." in rest
    step = json.loads(next((tmp_path / "base" / "checkpoint").glob("step-*/facts.json")).read_text())["step"]
    assert step > 0
    again = subprocess.run(
        [*command, "--tokens", "100k"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert again.returncode == 0, again.stderr
    assert f"goes on from step {step:,} of " in again.stderr


def test_sigterm_before_any_work_is_an_interrupt_too(tmp_path):
    code = (
        "import os, signal, sys\nimport finetrial.cli.main as main\n"
        "main.dispatch = lambda arguments: os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.argv = ['finetrial', 'doctor']\nmain.main()"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 130
