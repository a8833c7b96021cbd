"""Walk a page: type its commands in a folder as a newcomer would, and note what each took and said.

python -m site_pages.walk docs/tutorials/one-hour.md --in FOLDER --as first-hour
python -m site_pages.walk PAGE --in FOLDER --as NAME --venv VENV      # finetrial as it is installed there
python -m site_pages.walk PAGE --in FOLDER --as NAME --before quiet   # `quiet COMMAND` in place of each command
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from site_pages.page_commands import DOCS, Command, PageFile, read_page
from site_pages.stand_in import grade_everything

ROOT = DOCS.parent
LIMIT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Step:
    """What one command took and said."""

    command: str
    seconds: float
    status: int
    output: str


def environment(folder: Path, *, venv: Path | None = None) -> dict[str, str]:
    """The newcomer's shell: `finetrial` and `python` on the path, everything else as it is here.

    They are those of this checkout, or those that are installed in `venv`.
    """
    if venv is not None:
        without = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return without | {"PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "80"}
    bin_folder = folder / ".bin"
    bin_folder.mkdir(parents=True, exist_ok=True)
    for name, arguments in (("finetrial", "-m finetrial.cli.main"), ("python", "")):
        script = bin_folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    source = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH", ""))))
    return os.environ | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": source,
        "COLUMNS": "80",
    }


def prepare(folder: Path, *, venv: Path | None = None) -> dict[str, str]:
    """A folder with the site's data sets in it, as saved from the pages; returns the environment."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in (*(DOCS / "data").iterdir(), *(ROOT / "examples" / "published").glob("*.csv")):
        shutil.copy(data, folder / data.name)
    return environment(folder, venv=venv)


def is_server(command: str) -> bool:
    """Whether a command serves the grading page until it is stopped."""
    one_time = ("--export", "--import", "--progress", "--save", "--help")
    return command.startswith("finetrial grade ") and not any(option in command for option in one_time)


def run_command(command: str, *, folder: Path, env: dict[str, str], before: str = "") -> Step:
    """Run one command in bash; the grading page is graded by a stand-in and then stopped."""
    started = time.perf_counter()
    if is_server(command):
        status, output = _graded(f"{command} --no-open", folder=folder, env=env)
    else:
        clock = folder / ".bin.seconds"  # `before` may wait for others: only the command's own time counts
        noted = f"echo $begun $EPOCHREALTIME > {shlex.quote(str(clock))}"
        timed = f"begun=$EPOCHREALTIME; {command}\nstatus=$?; {noted}; exit $status"
        done = subprocess.run(
            ["bash", "-c", f"{before} bash -c {shlex.quote(timed)}".strip()],
            cwd=folder,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIMIT_SECONDS,
        )
        status, output = done.returncode, done.stdout
        begun, ended = map(float, clock.read_text(encoding="utf-8").split())
        return Step(command, round(ended - begun, 1), status, without_paths(output, folder))
    return Step(command, round(time.perf_counter() - started, 1), status, without_paths(output, folder))


def _graded(command: str, *, folder: Path, env: dict[str, str]) -> tuple[int, str]:
    server = subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert server.stdout is not None
    said = []
    for line in server.stdout:
        said.append(line)
        if (found := re.search(r"Grade here:\s+(\S+)", line)) is not None:
            break
    else:
        return server.wait(), "".join(said)
    count = grade_everything(found[1])
    server.send_signal(signal.SIGINT)
    rest, _ = server.communicate(timeout=30)
    status = 0 if server.returncode in (0, 130) else server.returncode
    return status, "".join(said) + rest + f"(a stand-in graded {count} texts)\n"


def without_paths(output: str, folder: Path) -> str:
    """The output less this machine's paths, pip's words on where it looks, and what a progress bar drew over."""
    lines = (line.split("\r")[-1] for line in output.replace(str(folder) + "/", "").splitlines())
    lines = (line for line in lines if not line.startswith("WARNING: Location "))
    return "\n".join(line.rstrip() for line in lines).replace(str(Path.home()), "~").strip("\n")


def walk(page: Path, *, folder: Path, long: bool, venv: Path | None = None, before: str = "") -> list[Step]:
    """Every command of a page in its order, less the long ones unless asked for; stops at a wrong status."""
    env, steps = prepare(folder, venv=venv), []
    for part in read_page(page):
        if isinstance(part, PageFile):
            (folder / part.name).write_text(part.text, encoding="utf-8")
        elif part.elsewhere is None and (long or not part.long):
            steps.append(checked(part, folder=folder, env=env, before=before))
    return steps


def checked(part: Command, *, folder: Path, env: dict[str, str], before: str = "") -> Step:
    """A command's step. Raises AssertionError where its status is another than the page says."""
    step = run_command(part.text, folder=folder, env=env, before=before)
    assert step.status == part.status, f"{part.text}\nstatus {step.status}\n{step.output}"
    print(f"{step.seconds:8.1f} s  {step.command}", file=sys.stderr)
    return step


def main() -> None:
    """Walk a page and keep what it took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--in", dest="folder", type=Path, required=True)
    parser.add_argument("--as", dest="name", required=True)
    parser.add_argument("--venv", type=Path)
    parser.add_argument("--before", default="")
    parser.add_argument("--note", default="")
    chosen = parser.parse_args()
    venv = chosen.venv.resolve() if chosen.venv is not None else None
    steps = walk(chosen.page, folder=chosen.folder.resolve(), long=True, venv=venv, before=chosen.before)
    kept = {
        "page": chosen.page.as_posix(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "note": chosen.note,
        "seconds": round(sum(step.seconds for step in steps), 1),
        "steps": [asdict(step) for step in steps],
    }
    target = DOCS / "results" / f"{chosen.name}.json"
    target.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
