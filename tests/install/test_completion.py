"""The shell completes what finetrial knows: commands, the commands within them, options; files everywhere else."""

import contextlib
import io
import os
import shlex
import subprocess

import pytest

from finetrial.cli.completion import words
from finetrial.cli.main import available, dispatch
from finetrial.errors import UserError


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    """Ask bash what it completes for a line whose last word is being typed."""
    script = tmp_path_factory.mktemp("shell") / "completion.bash"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert dispatch(["completion", "bash"]) == 0
    script.write_text(said.getvalue())

    def completed(*line):
        asked = f"source {shlex.quote(str(script))}; COMP_WORDS=({shlex.join(line)}); COMP_CWORD={len(line) - 1}; "
        asked += '_finetrial; printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True, env=os.environ)
        return [word for word in done.stdout.splitlines() if word]

    return completed


def test_commands_and_options_are_completed(bash):
    assert bash("finetrial", "sc") == ["scale", "score"]
    assert bash("finetrial", "scale", "opt") == ["optimal"]
    assert bash("finetrial", "run", "--s") == ["--set", "--smoke"]
    assert "--params" in bash("finetrial", "scale", "loss", "--p")
    assert bash("finetrial", "run", "--json", "--sm") == ["--smoke"]


def test_where_a_file_is_meant_the_shell_completes_files(bash):
    """No answer: `-o default` lets the shell look for files."""
    assert bash("finetrial", "run", "tick") == []
    assert bash("finetrial", "scale", "fit", "runs") == []


def test_every_command_is_in_every_shell_s_script(capsys):
    table = words()
    assert {name for name in table if " " not in name} == set(available())
    for shell in ("bash", "zsh", "fish"):
        assert dispatch(["completion", shell]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"# finetrial completion {shell} >")
        for name, row in table.items():
            assert name.split()[-1] in said
            assert all(option[2:] in said for option in row.options)


def test_another_shell_is_named(capsys):
    assert dispatch(["completion", "tcsh"]) == UserError.exit_status
    assert "one of bash, fish, zsh" in capsys.readouterr().err
