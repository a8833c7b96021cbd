"""grades.sqlite damaged, read-only, in the way, of an older version: one clear error, and the file as it was."""

import hashlib
import json
import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from grading_material import distinct_samples, make_folder

from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.judging.database import NotWritten
from finetrial.judging.events import GradeBook
from finetrial.judging.grading_session import GradingSession
from finetrial.store.grade_key import read_key
from finetrial.store.grades import grading_state, read_events, read_grades
from finetrial.store.layout import TrialFolder


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A trial of outputs alone: scored, reported, with twelve grades."""
    root = tmp_path_factory.mktemp("graded")
    rows = [
        {"prompt": f"Q{p}", "arm": arm, "text": f"answer {n} of {p}", "reference": "answer 1"}
        for p in range(6)
        for n, arm in enumerate(("base", "tuned"))
    ]
    file = root / "outs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert dispatch(["grade", str(file), "--export", str(root / "page.html")]) == 0
    folder = TrialFolder(root / "runs" / "outs")
    session = GradingSession(folder)
    session.book.join("Anna")
    for n, item in enumerate(sorted(session.items)):
        event = {"uid": f"uid-{n:08}", "kind": "grade", "item_id": item, "value": "good" if n % 2 else "bad"}
        session.record(event, rater="Anna")
    session.close()
    assert dispatch(["report", str(folder.root)]) == 0
    (root / "grades.csv").write_text("rater,value,item_id\nBen,good,x\n")
    return root


def overwrite(start, length, byte=0xFF):
    def damage(path):
        content = bytearray(path.read_bytes())
        end = min(len(content), start + length)
        content[start:end] = bytes([byte]) * (end - start)
        path.write_bytes(content)

    return damage


def said(*statements):
    """Damage that only SQL can do, past the triggers."""

    def damage(path):
        connection = sqlite3.connect(path)
        for name in ("events_kept", "events_not_removed", "events_locked"):
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    return damage


def replaced_by_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = {
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "cut within a page": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "empty": lambda path: path.write_bytes(b""),
    "no header": overwrite(0, 100, 0),
    "no schema": overwrite(100, 3000),
    "pages of noise": overwrite(4096, 20_000),
    "zeros at the end": lambda path: overwrite(path.stat().st_size - 30_000, 30_000, 0)(path),
    "a text": lambda path: path.write_text("these are no grades " * 500),
    "another database": lambda path: (path.unlink(), sqlite3.connect(path).execute("CREATE TABLE t (x)")),
    "a folder": replaced_by_folder,
    "no table of raters": said("DROP TABLE raters"),
    "settings that are no JSON": said("UPDATE settings SET content = 'not json'"),
    "settings of something else": said("UPDATE settings SET content = '[1]'"),
    "a grade that never was": said("UPDATE events SET value = 'superb' WHERE seq = 3"),
    "bytes that are no text": said("UPDATE events SET rater = CAST(x'ff41' AS TEXT) WHERE seq = 3"),
    "reasons that are no JSON": said("UPDATE events SET reasons = '[' WHERE seq = 3"),
}


def commands(root):
    folder = str(root / "runs" / "outs")
    return {
        "grade": ["grade", folder, "--no-open"],
        "grade FILE": ["grade", str(root / "outs.jsonl"), "--no-open"],
        "progress": ["grade", folder, "--progress"],
        "export": ["grade", folder, "--export", str(root / "again.html")],
        "import": ["grade", folder, "--import", str(root / "grades.csv")],
        "save": ["grade", folder, "--save", str(root / "saved.csv")],
        "new browser": ["grade", folder, "--new-browser", "Anna"],
        "unblind": ["unblind", folder, "--yes"],
        "report": ["report", folder],
        "report --open": ["report", folder, "--open"],
        "score": ["score", folder],
        "verify": ["verify", folder],
    }


def content_hash(path):
    return "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()


def serves_nothing(*arguments, **options):
    raise AssertionError("a page over a damaged database was about to be served")


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_database_is_one_clear_error_in_every_command_and_stays_as_it_was(
    tmp_path, capsys, graded, monkeypatch, name
):
    root = shutil.copytree(graded, tmp_path / "trial")
    grades = TrialFolder(root / "runs" / "outs").grades
    DAMAGES[name](grades)
    before = content_hash(grades)
    monkeypatch.setattr("uvicorn.Server.run", serves_nothing)
    for command, arguments in commands(root).items():
        capsys.readouterr()
        status = dispatch(arguments)
        printed = capsys.readouterr()
        assert content_hash(grades) == before, f"{command} changed the file"
        assert status == 2, (command, printed)
        # however the terminal wraps it, it is one error that names the file
        one = " ".join(printed.err.split())
        assert one.count("grades.sqlite is damaged") == 1, (command, one)
        assert "Traceback" not in one and "left as it is" in one


def test_the_undamaged_copy_passes_every_command(tmp_path, capsys, graded, monkeypatch):
    """Else the test above could pass for another reason."""
    root = shutil.copytree(graded, tmp_path / "trial")
    grades = TrialFolder(root / "runs" / "outs").grades
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: sockets[0].close())
    (root / "grades.csv").write_text(
        f"rater,value,item_id\nBen,good,{read_grades(TrialFolder(grades.parent))[0].item_id}\n"
    )
    answers = {command: dispatch(arguments) for command, arguments in commands(root).items()}
    capsys.readouterr()
    assert set(answers.values()) == {0}, answers


def test_a_run_names_damaged_grades_before_it_tunes_anything(tmp_path, capsys):
    """Grades are read when samples are set aside; by then an hour of tuning may be spent."""
    rows = [json.dumps({"prompt": f"Q{n}", "completion": f"answer {n}"}) for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    (tmp_path / "trial.yaml").write_text(
        "trial: t\nmodel: starter\n"
        "data: {source: rows.jsonl, train: 6, validation: 3, heldout: 3}\n"
        "arms: {base: {}, full: {method: full}}\n"
    )
    folder = TrialFolder(tmp_path / "out")
    folder.root.mkdir()
    folder.grades.write_bytes(b"no grades")
    assert dispatch(["run", str(tmp_path / "trial.yaml"), "--out", str(folder.root)]) == 2
    assert "grades.sqlite is damaged" in " ".join(capsys.readouterr().err.split())
    assert folder.grades.read_bytes() == b"no grades" and not folder.arm("full").exists()


def test_serving_leaves_the_log_handlers_of_its_caller_open(tmp_path, capsys, graded, monkeypatch):
    """A handler of absl's closes its stream with itself, which is whatever stood for standard error."""
    closed = []

    class Handler(logging.Handler):
        def close(self):
            closed.append(self)
            super().close()

    handler = Handler()
    root = shutil.copytree(graded, tmp_path / "trial")
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: sockets[0].close())
    assert dispatch(commands(root)["grade"]) == 0
    assert not closed
    handler.close()
    assert closed == [handler]


# Where nothing can be written


def as_nobody(root, statement):
    """Run a statement as a user who may read the folder and write nothing there. Returns what was printed."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from finetrial.errors import FinetrialError\n"
        "from finetrial.judging.grading_session import GradingSession\n"
        "from finetrial.judging.events import GradeBook\n"
        "from finetrial.judging.server import serve\n"
        "from finetrial.store.grade_key import read_key\n"
        "from finetrial.store.grades import read_grades\n"
        "from finetrial.store.layout import TrialFolder\n"
        f"folder = TrialFolder(Path({str(root)!r}))\n"
        "if os.getuid() == 0:\n"
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try:\n"
        f"    print({statement})\n"
        "except FinetrialError as error:\n"
        "    print('error:', type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture
def read_only():
    """A graded folder that a stranger may read; its parents, which pytest's own folders are not, too."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    folder = make_folder(root / "tiny", distinct_samples(prompts=1))
    session = GradingSession(folder)
    session.book.join("Anna")
    item = sorted(session.items)[0]
    session.record({"uid": "uid-00000001", "kind": "grade", "item_id": item, "value": "good"}, rater="Anna")
    session.close()
    folder.root.chmod(0o555)
    folder.grades.chmod(0o444)
    folder.key.chmod(0o444)
    yield folder
    folder.root.chmod(0o755)
    shutil.rmtree(root)


def test_a_folder_that_cannot_be_written_is_named_and_no_space_is_asked_for(read_only):
    for statement in ("GradeBook(folder.grades)", "GradingSession(folder)", "serve(folder, on_ready=print)"):
        said = as_nobody(read_only.root, statement)
        assert said.startswith("error: UserError"), (statement, said)
        assert "cannot be written" in said and str(read_only.root) in said and "pace" not in said
    read_only.root.chmod(0o755)
    read_only.grades.unlink()
    read_only.root.chmod(0o555)
    said = as_nobody(read_only.root, "GradeBook(folder.grades)")
    assert "cannot be written" in said and not read_only.grades.exists()
    assert [path.name for path in read_only.root.iterdir() if path.name.startswith(".")] == []


def test_grades_can_be_read_where_nothing_can_be_written(read_only):
    assert "value='good'" in as_nobody(read_only.root, "read_grades(folder)")
    said = as_nobody(read_only.root, "read_key(folder, open_grades=True)")  # opening early must be logged
    assert "cannot be written" in said and "KeyedSample" not in said


def test_grades_that_only_the_log_holds_are_not_passed_over_in_silence(read_only):
    read_only.root.chmod(0o755)
    read_only.grades.chmod(0o644)
    connection = sqlite3.connect(read_only.grades)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("INSERT INTO log (at, kind, after_seq) VALUES ('now', 'lock', 1)")
    connection.commit()
    log = read_only.grades.with_name("grades.sqlite-wal")
    kept = log.read_bytes()
    assert kept
    connection.close()
    log.write_bytes(kept)
    read_only.grades.with_name("grades.sqlite-shm").unlink(missing_ok=True)
    for path in (log, read_only.grades):
        path.chmod(0o444)
    read_only.root.chmod(0o555)
    said = as_nobody(read_only.root, "read_grades(folder)")
    assert "error: UserError" in said and "grades.sqlite-wal" in said and "Copy" in said


def test_a_disk_that_stops_taking_grades_is_told_apart_from_a_full_one(folder):
    session = GradingSession(folder)
    session.book.join("Anna")
    session.book.connection.execute("PRAGMA query_only = 1")  # what a medium that turns read-only is to SQLite
    event = {"uid": "uid-00000001", "kind": "grade", "item_id": sorted(session.items)[0], "value": "good"}
    with pytest.raises(NotWritten, match="cannot be written") as caught:
        session.record(event, rater="Anna")
    assert "space" not in str(caught.value)
    session.book.connection.execute("PRAGMA query_only = 0")
    session.record(event, rater="Anna")
    session.close()
    assert len(read_events(folder)) == 1


# Private, and of every age


def test_the_database_is_its_owner_s_alone_as_the_key_is(folder):
    session = GradingSession(folder)
    session.book.join("Anna")
    beside = [folder.grades.with_name(folder.grades.name + end) for end in ("", "-wal", "-shm")]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (*beside, folder.key))
    session.close()
    folder.grades.chmod(0o644)  # as an older finetrial left it
    GradeBook(folder.grades).close()
    assert stat.S_IMODE(folder.grades.stat().st_mode) == 0o600


def of_version_1(path):
    """The database as the first version wrote it, with one grade."""
    from finetrial.judging import database

    path.unlink()
    connection = sqlite3.connect(path)
    connection.executescript(database._MIGRATIONS[0] + "PRAGMA user_version = 1;")
    settings = {
        "title": "old",
        "criterion": None,
        "seed": 0,
        "raters": 1,
        "repeats": 0.0,
        "arms": ["base", "full", "lora"],
        "prompts": 5,
        "items": 45,
        "items_hash": "x",
        "key_hash": "y",
    }
    connection.execute("INSERT INTO settings (at, content) VALUES ('then', ?)", (json.dumps(settings),))
    connection.execute(
        "INSERT INTO raters (name, folded, origin, stated, at) VALUES ('Anna', 'anna', 'page', 'anna', '')"
    )
    item = sorted(json.loads(line)["item_id"] for line in path.with_name("items.jsonl").open())[0]
    connection.execute(
        "INSERT INTO events (uid, kind, mode, rater, item_id, occurrence, value, text_hash, rubric_hash, version, "
        "source) VALUES ('uid-old-1', 'grade', 'single', 'Anna', ?, 1, 'good', '', '', '0.1.0', 'page')",
        (item,),
    )
    connection.commit()
    connection.close()
    return item


def test_a_database_of_the_first_version_reads_as_it_is_and_nothing_is_claimed_of_its_raters(folder):
    of_version_1(folder.grades)
    before = content_hash(folder.grades)
    (grade,) = read_grades(folder)
    assert (grade.rater, grade.value, grade.rater_kind, grade.label) == ("Anna", "good", None, None)
    assert grading_state(folder).settings.scale is None and grading_state(folder).settings.units is None
    assert content_hash(folder.grades) == before  # reading migrates nothing


def test_a_database_of_the_first_version_goes_on_and_loses_nothing(folder):
    item = of_version_1(folder.grades)
    session = GradingSession(folder)
    assert session.book.kind_of("Anna") is None
    session.book.declare("Anna", "person")
    other = sorted(set(session.items) - {item})[0]
    session.record({"uid": "uid-00000002", "kind": "grade", "item_id": other, "value": "bad"}, rater="Anna")
    session.close()
    assert [(g.value, g.rater_kind) for g in read_grades(folder)] == [("good", None), ("bad", "person")]
    assert sqlite3.connect(folder.grades).execute("PRAGMA user_version").fetchone() == (3,)


def test_blinding_the_same_samples_after_an_update_changes_no_locked_settings(folder):
    """Settings that an older version fixed lack what this one counts; they are still the same trial."""
    connection = sqlite3.connect(folder.grades)
    content = json.loads(connection.execute("SELECT content FROM settings").fetchone()[0])
    old = {name: value for name, value in content.items() if name not in ("scale", "units")}
    connection.execute("UPDATE settings SET content = ?", (json.dumps(old),))
    connection.commit()
    connection.close()
    book = GradeBook(folder.grades)
    book.lock()
    book.close()
    make_folder(folder.root, distinct_samples(), criterion="Good is short.")  # raises GradesLocked if they differ
    assert len(read_key(folder).items) == 45


def test_a_new_database_is_never_seen_half_made(tmp_path):
    """Killed at any moment, the file is absent or whole: an empty one is never ours."""
    program = (
        "import sqlite3, sys, os, threading, time\n"
        "from pathlib import Path\n"
        "from finetrial.judging.events import GradeBook\n"
        "threading.Thread(target=lambda: (time.sleep(float(sys.argv[2])), os._exit(9)), daemon=True).start()\n"
        "GradeBook(Path(sys.argv[1]))\n"
    )
    found = set()
    for n in range(12):
        path = tmp_path / f"{n}" / "grades.sqlite"
        subprocess.run([sys.executable, "-c", program, str(path), str(n * 0.002)], timeout=60, check=False)
        if path.exists():
            GradeBook(path).close()
            found.add("whole")
        else:
            found.add("absent")
    assert found  # which of the two is a matter of timing


def test_an_unwritable_database_beside_a_writable_folder_is_named(read_only):
    read_only.root.chmod(0o777)
    said = as_nobody(read_only.root, "GradeBook(folder.grades)")
    assert "error: UserError" in said and "cannot be written" in said
    assert os.stat(read_only.grades).st_mode & 0o777 == 0o444


def test_a_newer_database_is_refused_and_left(folder):
    connection = sqlite3.connect(folder.grades)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    before = content_hash(folder.grades)
    with pytest.raises(UserError, match="newer"):
        GradingSession(folder)
    assert content_hash(folder.grades) == before
