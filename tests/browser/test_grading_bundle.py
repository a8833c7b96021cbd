"""A rater without the project opens a file, grades, and sends one file back."""

from grading_material import distinct_samples, make_folder
from rater import begin, graded, press

from finetrial.judging.bundle import export_bundles
from finetrial.judging.grading_session import GradingSession
from finetrial.judging.import_grades import import_files
from finetrial.store.grades import read_events, read_grades


def bundle(tmp_path, **options):
    folder = make_folder(tmp_path / "tiny", distinct_samples(prompts=1), criterion="Good is short.")
    session = GradingSession(folder)
    (path,) = export_bundles(
        session, tmp_path / "page.html", **{"names": (), "raters": 1, "mode": "single", **options}
    )
    return folder, session, path


def save(page, tmp_path):
    with page.expect_download() as download:
        page.locator("#save").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_a_bundle_is_graded_without_a_server_and_merged_without_doubles(tmp_path, open_page):
    folder, session, path = bundle(tmp_path)
    page = open_page(path.as_uri(), offline=True)
    begin(page, "Clara")
    for key in ("j", "f", "j", "u"):
        if key == "u":
            page.keyboard.press("u")
            page.wait_for_function("() => document.getElementById('progress-text').textContent.startsWith('2 ')")
        else:
            press(page, key)
    page.reload()  # and it is still Clara
    page.wait_for_selector("#grading:not([hidden])")
    assert graded(page) == 2
    page.keyboard.press("n")
    page.keyboard.type("hm")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#note-shown:not([hidden])")
    press(page, "f")
    page.get_by_role("button", name="Overview").click()
    page.wait_for_selector("#done:not([hidden])")
    early = save(page, tmp_path)
    assert early.name == "grades-tiny-Clara.json"
    (merged,) = import_files(session, [early])
    assert (merged.raters, merged.added) == (("Clara",), 6)  # four grades, an undo, a note
    assert [(g.value, g.note) for g in read_grades(folder)] == [("good", None), ("bad", None), ("bad", "hm")]

    page.get_by_role("button", name="Go on with what is open").click()
    page.wait_for_selector("#grading:not([hidden])")
    while not page.locator("#done").is_visible():
        press(page, "j")
    late = save(page, tmp_path / "late")
    (again,) = import_files(session, [late])
    assert (again.added, again.known) == (6, 6)
    (once_more,) = import_files(session, [late])
    assert (once_more.added, once_more.known) == (0, 12)
    session.close()
    assert len(read_grades(folder)) == 9 and len(read_events(folder)) == 12


def test_a_named_bundle_starts_at_once_and_is_that_rater(tmp_path, open_page):
    folder, session, path = bundle(tmp_path, names=("Dora",))
    session.book.join("Dora")
    page = open_page(path.as_uri(), offline=True)
    page.wait_for_selector("#start:not([hidden])")
    assert page.locator("#named").inner_text() == "You grade as Dora."
    page.locator("#begin-stand-in").click()
    page.wait_for_selector("#grading:not([hidden])")
    press(page, "j")
    page.get_by_role("button", name="Overview").click()
    import_files(session, [save(page, tmp_path)])
    session.close()
    assert [(g.rater, g.value, g.rater_kind) for g in read_grades(folder)] == [("Dora", "good", "stand-in")]


def test_pairs_in_a_bundle(tmp_path, open_page):
    from finetrial.store.grades import read_pair_grades

    folder, session, path = bundle(tmp_path, mode="pairs")
    page = open_page(path.as_uri(), offline=True)
    begin(page, "Eva")
    press(page, "j")
    press(page, "Space")
    page.get_by_role("button", name="Overview").click()
    import_files(session, [save(page, tmp_path)])
    session.close()
    first, second = read_pair_grades(folder)
    assert first.value != "tie" and first.left != first.value and second.value == "tie"
