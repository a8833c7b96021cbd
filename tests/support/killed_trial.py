"""Take a trial with a judge through its steps, kill it on the way, and count what was lost or asked twice."""

import contextlib
import os
import subprocess
import sys
import threading
import time

from grading_server import GradingServer
from page_stand_in import PageStandIn

from finetrial.store.grades import read_events, read_grades


def start(root, *command):
    """A `finetrial` command as a process of its own; what it says goes to commands.log."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with (root / "commands.log").open("ab") as log:
        command = [sys.executable, "-m", "finetrial.cli.main", *command]
        return subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)


def kill_when(reached, process, *, seconds):
    """SIGKILL as soon as `reached`; whether the process was still at work."""
    deadline = time.monotonic() + seconds
    while not reached() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    alive = process.poll() is None and reached()
    process.kill()
    process.wait()
    return alive


def whole_rows(path):
    """The rows of a file that a kill may have cut short, as bytes."""
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1]


def answers_of(folder):
    """The whole rows of every judge: what a kill must not take away."""
    return {path.name: whole_rows(path) for path in folder.judge("any").parent.glob("*.jsonl")}


def judge_killed(folder, commands, *, requests, after, seconds=240):
    """Run each command, and kill all but the last once `after` requests more were sent.

    `requests` counts what the endpoints have received. Returns the kills that met a command at work.
    """
    kills, root = 0, folder.root.parent
    for number, command in enumerate(commands, start=1):
        kept, goal, process = answers_of(folder), requests() + after, start(root, *command)
        if number == len(commands):
            assert process.wait(seconds) == 0, (root / "commands.log").read_text()
        else:
            kills += kill_when(lambda goal=goal: requests() >= goal, process, seconds=seconds)
        now = answers_of(folder)
        assert all(now[name].startswith(rows) for name, rows in kept.items()), "rows on the disk are gone"
    return kills


def grade_killed(folder, says, *, after):
    """A stand-in grades through the page, whose server is killed after so many grades, for each of `after`.

    Returns how many texts there were. Whatever the page confirmed is there, and no text was graded twice.
    """
    server = GradingServer(folder).start()
    rater = PageStandIn(server.url, name="program")
    items = {item for _, _, item in rater.open_cells()}
    for graded in after:
        assert len(rater.open_cells()) > graded
        goal = len(rater.told) + graded
        killer = threading.Thread(target=_kill_at, args=(server, rater, goal))
        killer.start()
        with contextlib.suppress(OSError):
            rater.grade(says)
            raise AssertionError("the server was not killed")
        killer.join()
        held = {row.item_id: row.value for row in read_grades(folder) if row.rater == "program"}
        assert held.items() >= rater.told.items(), "a grade that the page confirmed is lost"
        assert len(held) - len(rater.told) <= 1, "one request was under way"
        server.start()
    rater.grade(says)
    server.stop()
    mine = [event for _, event in read_events(folder) if event.rater == "program"]
    given = [event.item_id for event in mine if event.kind == "grade"]
    assert sorted(given) == sorted(items), "every text is graded once"
    assert {row.rater_kind for row in read_grades(folder) if row.rater == "program"} == {"stand-in"}
    return len(items)


def _kill_at(server, rater, goal):
    while len(rater.told) < goal:
        time.sleep(0.0005)
    server.kill()
