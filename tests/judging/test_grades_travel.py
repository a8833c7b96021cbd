"""Grades leave and come home: bundles, CSV, Label Studio, exports."""

import csv
import json

import pytest
from grading_material import distinct_samples, make_folder, sample
from hypothesis import given
from hypothesis import strategies as st

from finetrial.errors import UserError
from finetrial.judging.bundle import export_bundles
from finetrial.judging.export_grades import Shape, in_a_spreadsheet, out_of_a_spreadsheet, save_grades
from finetrial.judging.grading_session import GradingSession
from finetrial.judging.import_grades import import_files
from finetrial.store.grades import read_events, read_grades


@pytest.fixture
def session(folder):
    session = GradingSession(folder)
    yield session
    session.close()


def bundle_file(path, session, *, bundle, rater, values, start=0):
    events = [
        {
            "uid": f"{bundle}-{rater}-{n:04}",
            "kind": "grade",
            "mode": "single",
            "rater": rater,
            "item_id": item,
            "occurrence": 1,
            "value": value,
            "reasons": [],
        }
        for n, (item, value) in enumerate(zip(sorted(session.items)[start:], values, strict=False))
    ]
    content = {
        "finetrial": "grades",
        "version": 1,
        "bundle": bundle,
        "named": False,
        "rater": rater,
        "events": events,
    }
    path.write_text(json.dumps(content))
    return path


def test_eighty_files_are_merged_without_doubles(session, folder, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    for n in range(80):
        bundle_file(home / f"{n}.json", session, bundle=f"b{n}", rater=f"rater {n}", values=["good", "bad"] * 3)
    merged = import_files(session, [home])
    assert len(merged) == 80 and sum(m.added for m in merged) == 480
    assert sum(m.added for m in import_files(session, [home])) == 0
    grades = read_grades(folder)
    assert len(grades) == 480 and len({g.rater for g in grades}) == 80


def test_two_people_of_one_name_stay_two(session, folder, tmp_path):
    paths = [
        bundle_file(tmp_path / f"{b}.json", session, bundle=b, rater="Anna", values=[value])
        for b, value in (("one", "good"), ("two", "bad"))
    ]
    import_files(session, [*paths, *paths])
    assert {(g.rater, g.value) for g in read_grades(folder)} == {("Anna", "good"), ("Anna (2)", "bad")}


def test_a_file_of_another_trial_is_refused_and_leaves_nothing(session, folder, tmp_path):
    other = GradingSession(make_folder(tmp_path / "other", distinct_samples(prompts=9)[-9:], criterion="x"))
    path = bundle_file(tmp_path / "f.json", other, bundle="b", rater="Anna", values=["good"])
    other.close()
    with pytest.raises(UserError, match="another trial"):
        import_files(session, [path])
    assert read_events(folder) == () and session.book.raters() == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "not json"),
        ("a.json", "{}"),
        ("a.json", '{"finetrial": "grades"}'),
        ("a.json", '{"finetrial": "grades", "version": 9, "bundle": "b", "rater": "A", "events": []}'),
        ("a.json", '["x"]'),
        ("a.json", "[]"),
        ("a.csv", "who,what\n1,2\n"),
        ("a.csv", ""),
        ("a.csv", "rater,value,item_id\nAnna,superb,x\n"),
        ("a.csv", "rater,value\nAnna,good\n"),
    ],
)
def test_what_is_no_file_of_grades_is_named(session, folder, tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError, match=r"a\."):
        import_files(session, [path])
    assert read_events(folder) == ()


def test_a_csv_by_prompt_and_text_under_other_people_s_names(session, folder, tmp_path):
    items = list(session.items.values())[:4]
    path = tmp_path / "sheet.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Prompt", "Completion", "Annotator", "Label", "Comment"])
        for item, label in zip(items, ("1", "Bad", "?", "yes"), strict=True):
            writer.writerow([item.prompt, item.text, "Anna", label, "odd" if label == "1" else ""])
    (merged,) = import_files(session, [path])
    assert (merged.added, merged.unknown) == (5, 0)
    found = {g.item_id: (g.value, g.note) for g in read_grades(folder)}
    expected = [("good", "odd"), ("bad", None), ("unsure", None), ("good", None)]
    assert [found[item.item_id] for item in items] == expected
    assert import_files(session, [path])[0].added == 0


def test_label_studio_full_and_minimal(session, folder, tmp_path):
    items = list(session.items.values())[:3]

    def task(item, choice, *, cancelled=False):
        result = [
            {"from_name": "grade", "type": "choices", "value": {"choices": [choice]}},
            {"from_name": "why", "type": "choices", "value": {"choices": ["off task", "copied"]}},
            {"from_name": "note", "type": "textarea", "value": {"text": ["two", "lines"]}},
        ]
        person = {"id": 1, "email": "anna@example.org"}
        annotation = {"completed_by": person, "result": result, "lead_time": 4.5, "was_cancelled": cancelled}
        return {"id": 7, "data": {"item_id": item.item_id}, "annotations": [annotation]}

    full = tmp_path / "full.json"
    full.write_text(json.dumps([task(items[0], "Bad"), task(items[1], "Good", cancelled=True)]))
    minimal = tmp_path / "min.json"
    minimal.write_text(json.dumps([{"item_id": items[2].item_id, "grade": "good", "annotator": 2, "id": 9}]))
    import_files(session, [full, minimal])
    import_files(session, [full, minimal])
    first, second = read_grades(folder)
    assert (first.rater, first.value, first.reasons, first.note, first.seconds) == (
        "anna@example.org",
        "bad",
        ("copied", "off_task"),
        "two\nlines",
        4.5,
    )
    assert (second.rater, second.value) == ("2", "good") and len(read_events(folder)) == 3


def grade_some(session):
    for rater in ("Anna", "Ben"):
        session.book.join(rater)
    votes = (("good", "good"), ("bad", "good"), ("unsure", "bad"), ("unsure", "unsure"))
    items = sorted(session.items)[:4]
    for n, (item, pair) in enumerate(zip(items, votes, strict=True)):
        for rater, value in zip(("Anna", "Ben"), pair, strict=True):
            event = {"uid": f"{rater}-{n:06}", "kind": "grade", "item_id": item, "value": value}
            session.record({**event, "reasons": ["false", "copied"] if value == "bad" else []}, rater=rater)
    return items


def test_the_shapes_in_which_grades_are_saved(session, folder, tmp_path):
    items = grade_some(session)
    saved = save_grades(folder, tmp_path / "g.csv", shape=Shape.CSV)
    with saved.path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert saved.rows == len(rows) == 8
    assert rows[2]["reasons"] == "false;copied" and rows[2]["text"] == session.items[items[1]].text
    lines = [json.loads(line) for line in save_grades(folder, tmp_path / "g.jsonl", shape=Shape.JSONL).path.open()]
    assert [line["value"] for line in lines] == [row["value"] for row in rows]
    save_grades(folder, tmp_path / "m.csv", shape=Shape.MATRIX)
    with (tmp_path / "m.csv").open(newline="") as stream:
        table = list(csv.reader(stream))
    assert table == [
        ["rater", *items],
        ["Anna", "good", "bad", "unsure", "unsure"],
        ["Ben", "good", "good", "bad", "unsure"],
    ]
    written = save_grades(folder, tmp_path / "p.jsonl", shape=Shape.PREFERENCES)
    preferences = [json.loads(line) for line in written.path.open()]
    assert [(p["completion"], p["label"]) for p in preferences] == [
        (session.items[items[0]].text, True),
        (session.items[items[2]].text, False),
    ]
    assert set(preferences[0]) == {"prompt", "completion", "label"} and written.left_out == 2


def test_our_own_csv_read_again_adds_nothing(session, folder, tmp_path):
    grade_some(session)
    saved = save_grades(folder, tmp_path / "g.csv", shape=Shape.CSV)
    assert import_files(session, [saved.path])[0].added == 0


def test_our_own_csv_carries_grades_to_another_copy(session, folder, tmp_path):
    grade_some(session)
    saved = save_grades(folder, tmp_path / "g.csv", shape=Shape.CSV)
    copy = make_folder(tmp_path / "copy", distinct_samples(), criterion="Good is short.")
    other = GradingSession(copy)
    import_files(other, [saved.path])
    other.close()

    def said(grades):
        return {(g.rater, g.item_id, g.value, g.reasons) for g in grades}

    assert said(read_grades(copy)) == said(read_grades(folder))


def test_pages_for_several_raters_are_dealt_and_named(tmp_path):
    folder = make_folder(tmp_path / "big", distinct_samples(prompts=60), title="big one")
    session = GradingSession(folder)
    pages = export_bundles(session, tmp_path / "pages", names=(), raters=4, mode="single")
    assert [p.name for p in pages] == [f"big-one-rater-{n:02}.html" for n in (1, 2, 3, 4)]
    boots = []
    for page in pages:
        text = page.read_text()
        assert "Content-Security-Policy" in text and "src=" not in text
        boots.append(json.loads(text.split('id="boot">')[1].split("</script>")[0]))
        assert not any(f'"{arm}/' in text for arm in ("base", "full", "lora"))
    cells = [[cell for block in boot["blocks"] for cell in block] for boot in boots]
    # 540 samples and a fifth of them twice: 648, or one prompt more, in four equal parts.
    assert 648 <= sum(map(len, cells)) <= 657 and max(map(len, cells)) - min(map(len, cells)) <= 9
    assert len({cell for part in cells for cell in part}) == 540
    with pytest.raises(UserError, match="one name"):
        export_bundles(session, tmp_path / "pages", names=("Anna", "anna"), raters=1, mode="single")
    with pytest.raises(UserError, match="do not fit"):
        export_bundles(session, tmp_path / "page.html", names=("Anna", "Ben"), raters=1, mode="single")
    session.close()


# A spreadsheet is a program that runs what it reads.

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1", "＝1", "'ordinary", "plain")


def test_no_cell_of_an_export_is_a_formula_and_every_text_comes_back(tmp_path):
    folder = make_folder(tmp_path / "t", [sample("base", 0, n, text) for n, text in enumerate(FORMULAS)])
    session = GradingSession(folder)
    session.book.join("=Anna")
    for n, item in enumerate(sorted(session.items)):
        cell = {"item_id": item}
        session.record({"uid": f"uid-{n:06}", "kind": "grade", "value": "good", **cell}, rater="=Anna")
        session.record({"uid": f"note-{n:06}", "kind": "note", "note": "=cmd|' /C calc'!A0", **cell}, rater="=Anna")
    session.close()
    for shape in (Shape.CSV, Shape.MATRIX):
        path = save_grades(folder, tmp_path / f"{shape}.csv", shape=shape).path
        with path.open(newline="", encoding="utf-8") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        assert not [cell for cell in cells if cell and cell[0] in "=+-@\t\r＝"]
    with (tmp_path / "csv.csv").open(newline="", encoding="utf-8") as stream:
        texts = [row["text"] for row in csv.DictReader(stream)]
    assert sorted(map(out_of_a_spreadsheet, texts)) == sorted(FORMULAS)

    copy = make_folder(tmp_path / "copy", [sample("base", 0, n, text) for n, text in enumerate(FORMULAS)])
    other = GradingSession(copy)
    import_files(other, [tmp_path / "csv.csv"])
    other.close()
    found = read_grades(copy)
    assert {g.rater for g in found} == {"=Anna"} and {g.note for g in found} == {"=cmd|' /C calc'!A0"}
    assert len(found) == len(FORMULAS)


def test_grades_by_text_find_their_item_with_and_without_the_apostrophe(tmp_path):
    folder = make_folder(tmp_path / "t", [sample("base", 0, 0, "=1+1"), sample("base", 0, 1, "'=2")])
    session = GradingSession(folder)
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("rater,value,prompt,text\nA,good,prompt 0,'=1+1\nB,bad,prompt 0,=1+1\nC,good,prompt 0,'=2\n")
    (merged,) = import_files(session, [sheet])
    session.close()
    assert (merged.added, merged.unknown) == (3, 0)


@given(st.text())
def test_the_way_into_a_spreadsheet_and_out_again_changes_nothing(text):
    cell = in_a_spreadsheet(text)
    assert out_of_a_spreadsheet(cell) == text
    assert not cell or cell[0] not in "=+-@\t\r\n"


def test_what_a_rater_was_travels_with_the_grades(session, folder, tmp_path):
    items = sorted(session.items)
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(
        f"rater,rater_kind,value,item_id\nAnna,person,good,{items[0]}\nBot,Stand-In,bad,{items[0]}\nEva,,bad,{items[1]}\n"
    )
    import_files(session, [sheet])
    assert {(g.rater, g.rater_kind) for g in read_grades(folder)} == {
        ("Anna", "person"),
        ("Bot", "stand-in"),
        ("Eva", None),
    }
    saved = save_grades(folder, tmp_path / "g.csv", shape=Shape.CSV)
    with saved.path.open(newline="") as stream:
        assert {row["rater"]: row["rater_kind"] for row in csv.DictReader(stream)} == {
            "Anna": "person",
            "Bot": "stand-in",
            "Eva": "",
        }
    sheet.write_text(f"rater,rater_kind,value,item_id\nAnna,robot,good,{items[0]}\n")
    with pytest.raises(UserError, match="unknown kind of rater"):
        import_files(session, [sheet])


@pytest.mark.parametrize(
    "content",
    [
        '[{"data": {}, "annotations": [1]}]',
        '[{"data": {}, "annotations": {"a": 1}}]',
        '[{"data": {"item_id": "x"}, "annotations": [{"completed_by": 1, "result": ["x"]}]}]',
        '[{"data": {"item_id": "x"}, "annotations": [{"completed_by": 1, "result": [{"value": 3}]}]}]',
        '{"finetrial": "grades", "version": 1, "bundle": "b", "rater": "A", "rater_kind": 3, "events": []}',
        '{"finetrial": "grades", "version": 1, "bundle": "b", "rater": "A", "events": [{"item_id": ["x"]}]}',
        '{"finetrial": "grades", "version": "x", "bundle": "b", "rater": "A", "events": []}',
        "[" * 100_000,
    ],
)
def test_a_malformed_file_of_grades_is_one_clear_error(session, folder, tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(UserError):
        import_files(session, [path])
    assert read_events(folder) == ()


def test_a_csv_with_null_bytes_or_a_wild_quote_is_one_clear_error(session, folder, tmp_path):
    path = tmp_path / "a.csv"
    for content in (b"rater,value,item_id\nA\0nna,good,x\n", b'rater,value,item_id\n"Anna,good,x\n'):
        path.write_bytes(content)
        with pytest.raises(UserError):
            import_files(session, [path])
    assert read_events(folder) == ()
