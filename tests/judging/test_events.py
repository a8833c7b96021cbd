"""What is on the disk counts once, in the order it got there, until it is undone."""

import dataclasses
import sqlite3
import threading

import pytest

from finetrial.errors import UserError
from finetrial.judging.database import GradesLocked, NotWritten
from finetrial.judging.events import GradeBook
from finetrial.judging.grading_session import GradingSession
from finetrial.store.grades import consistency, read_events, read_grades, read_pair_grades


@pytest.fixture
def session(folder):
    session = GradingSession(folder)
    session.book.join("Anna")
    yield session
    session.close()


def press(session, uid, *, place=0, rater="Anna", kind="grade", value="good", **more):
    item = sorted(session.items)[place]
    return session.record(
        {"uid": f"uid-{uid:05}", "kind": kind, "item_id": item, "value": value, **more}, rater=rater
    )


def values(folder):
    return [grade.value for grade in read_grades(folder)]


def test_the_same_event_sent_twice_counts_once(session, folder):
    press(session, 1)
    press(session, 1)
    assert len(read_events(folder)) == 1 and values(folder) == ["good"]


def test_the_latest_grade_of_a_cell_counts(session, folder):
    press(session, 1, value="good")
    press(session, 2, value="bad", reasons=["repeats", "false"])
    (grade,) = read_grades(folder)
    assert grade.value == "bad" and grade.reasons == ("false", "repeats")


def test_undo_goes_back_as_far_as_one_likes(session, folder):
    press(session, 1, place=0, value="good")
    press(session, 2, place=0, value="bad")
    press(session, 3, place=1, value="unsure")
    assert (
        session.record({"uid": "undo-0001", "kind": "undo"}, rater="Anna").undone.item_id
        == sorted(session.items)[1]
    )
    assert values(folder) == ["bad"]
    session.record({"uid": "undo-0002", "kind": "undo"}, rater="Anna")
    assert values(folder) == ["good"]
    session.record({"uid": "undo-0003", "kind": "undo"}, rater="Anna")
    assert values(folder) == []
    assert session.record({"uid": "undo-0004", "kind": "undo"}, rater="Anna").undone is None
    assert len(read_events(folder)) == 7  # nothing is ever removed


def test_undoing_is_each_rater_s_own(session, folder):
    session.book.join("Ben")
    press(session, 1, rater="Anna")
    press(session, 2, rater="Ben", value="bad")
    session.record({"uid": "undo-0001", "kind": "undo"}, rater="Anna")
    assert [(g.rater, g.value) for g in read_grades(folder)] == [("Ben", "bad")]


def test_an_undo_that_names_another_rater_s_event_undoes_nothing(session, folder):
    session.book.join("Ben")
    press(session, 1, rater="Anna")
    event = session.event_from(
        {"uid": "undo-0001", "kind": "undo", "undoes": "uid-00001", "item_id": sorted(session.items)[0]},
        source="bundle",
        rater="Ben",
    )
    session.book.append(event)
    assert [(g.rater, g.value) for g in read_grades(folder)] == [("Anna", "good")]


def test_notes_stand_beside_grades_and_can_be_undone(session, folder):
    press(session, 1)
    press(session, 2, kind="note", note="odd ending")
    assert read_grades(folder)[0].note == "odd ending"
    session.record({"uid": "undo-0001", "kind": "undo"}, rater="Anna")
    assert read_grades(folder)[0].note is None and values(folder) == ["good"]


def test_order_is_the_row_s_number_not_the_clock(session, folder):
    press(session, 1, value="good", client_at="2030-01-01T00:00:00Z")
    press(session, 2, value="bad", client_at="1999-01-01T00:00:00Z")
    assert values(folder) == ["bad"]


def test_a_hidden_repeat_measures_consistency_and_is_no_second_grade(session, folder):
    press(session, 1, value="good")
    press(session, 2, value="bad", occurrence=2)
    grades = read_grades(folder)
    assert [(g.value, g.repeat) for g in grades] == [("good", False), ("bad", True)]
    (anna,) = consistency(grades)
    assert (anna.rater, anna.same, anna.of) == ("Anna", 0, 1)


def test_what_was_written_cannot_be_changed_or_removed(session, folder):
    press(session, 1)
    connection = sqlite3.connect(folder.grades)
    for statement in ("UPDATE events SET value = 'bad'", "DELETE FROM events", "DELETE FROM log"):
        if "log" in statement:
            connection.execute("INSERT INTO log (at, kind, after_seq) VALUES ('now', 'x', 0)")
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            connection.execute(statement)
    connection.close()


def test_locked_grades_take_nothing_more(session, folder):
    press(session, 1)
    session.book.lock()
    with pytest.raises(GradesLocked):
        press(session, 2)
    with pytest.raises(sqlite3.IntegrityError, match="locked"):
        connection = sqlite3.connect(folder.grades)
        connection.execute(
            "INSERT INTO events (uid, kind, mode, rater, occurrence, text_hash, rubric_hash, version, source) "
            "VALUES ('x', 'grade', 'single', 'Anna', 1, '', '', '', '')"
        )
    assert values(folder) == ["good"]


@pytest.mark.parametrize(
    "payload",
    [
        {"kind": "grade", "value": "excellent"},
        {"kind": "grade", "value": "good", "item_id": "nowhere"},
        {"kind": "grade", "value": "good", "uid": ""},
        {"kind": "grade", "value": "good", "reasons": ["ugly"]},
        {"kind": "grade", "value": "good", "reasons": "false"},
        {"kind": "grade", "value": "good", "occurrence": 3},
        {"kind": "grade", "value": ["good"]},
        {"kind": "guess", "value": "someone"},
        {"kind": "drop"},
        {"kind": "grade", "value": "first", "mode": "single"},
    ],
)
def test_what_cannot_be_meant_is_refused_and_leaves_no_trace(session, folder, payload):
    full = {"uid": "uid-00001", "item_id": sorted(session.items)[0], **payload}
    with pytest.raises(UserError):
        session.record(full, rater="Anna")
    assert read_events(folder) == ()


def test_events_keep_what_was_on_the_page(session, folder):
    press(session, 1, position=7, shown_ms=1234.5)
    ((_, event),) = read_events(folder)
    assert (event.position, event.shown_ms, event.source) == (7, 1234.5, "page")
    assert len(event.text_hash) == 64 and len(event.rubric_hash) == 64 and event.version
    changed = dataclasses.replace(session.settings, criterion="Good is long.")
    session.book.fix_settings(changed)
    again = GradingSession(folder)
    press(again, 2)
    again.close()
    assert read_events(folder)[1][1].rubric_hash != event.rubric_hash  # another criterion, another rubric


def test_names_are_one_in_any_case_and_kept_apart_between_bundles(session):
    assert session.book.join("  anna ").name == "Anna"
    assert session.book.join("anna", origin="bundle 1").name == "anna (2)"
    assert session.book.join("Anna", origin="bundle 1").name == "anna (2)"
    for name in ("", "   ", "x" * 61, "a\x00b"):
        with pytest.raises(UserError, match="name"):
            session.book.join(name)


def test_two_connections_may_write_at_once(session, folder):
    other = GradingSession(folder)
    other.book.join("Ben")
    faults = []

    def work(writer, rater, start):
        try:
            for n in range(50):
                press(writer, start + n, place=n % 45, rater=rater)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=a) for a in ((session, "Anna", 0), (other, "Ben", 1000))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert faults == [] and len(read_events(folder)) == 100
    assert len(read_grades(folder)) == 90  # 45 texts each, five of them graded twice over


def test_a_full_database_says_so_and_takes_the_same_event_later(session, folder):
    pages = session.book.connection.execute("PRAGMA page_count").fetchone()[0]
    session.book.connection.execute(f"PRAGMA max_page_count = {pages}")
    written = 0
    with pytest.raises(NotWritten, match="full"):
        for n in range(1000):
            press(session, n, kind="note", note="x" * 3000, place=n % 45)
            written += 1
    assert len(read_events(folder)) == written
    session.book.connection.execute("PRAGMA max_page_count = 100000")
    press(session, written, kind="note", note="x" * 3000)
    assert len(read_events(folder)) == written + 1


def test_pairs_are_kept_apart_from_single_grades(session, folder):
    pair = sorted(session.pairs)[0]
    for uid, value in (("pair-0001", "first"), ("pair-0002", "tie")):
        session.record(
            {
                "uid": uid,
                "kind": "grade",
                "mode": "pairs",
                "item_id": pair,
                "value": value,
                "left": "second",
            },
            rater="Anna",
        )
    assert [(p.value, p.left) for p in read_pair_grades(folder)] == [("tie", "second")]
    assert read_grades(folder) == ()
    press(session, 1)
    session.record({"uid": "undo-0001", "kind": "undo", "mode": "pairs"}, rater="Anna")
    assert [p.value for p in read_pair_grades(folder)] == ["first"] and values(folder) == ["good"]


def test_the_database_of_a_newer_version_is_left_alone(folder):
    connection = sqlite3.connect(folder.grades)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    for reader in (lambda: GradeBook(folder.grades), lambda: read_grades(folder)):
        with pytest.raises(UserError, match="newer"):
            reader()


def test_a_file_that_is_no_database_is_named(folder):
    folder.grades.unlink()
    folder.grades.write_text("not a database at all, but long enough to be read as one" * 20)
    for reader in (lambda: GradeBook(folder.grades), lambda: read_grades(folder)):
        with pytest.raises(UserError, match=r"grades\.sqlite"):
            reader()
