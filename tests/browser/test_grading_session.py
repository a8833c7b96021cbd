"""A person grades: by keyboard alone, with undo across reloads, in two tabs, on a phone, side by side."""

import time

from grading_material import distinct_samples, make_folder, sample
from rater import PAUSE_MS, begin, graded, place, press, says

from finetrial.store.grades import read_events, read_grades, read_guesses, read_pair_grades
from finetrial.store.records import Item, ItemPair, read_rows


def small(tmp_path, **options):
    return make_folder(tmp_path / "tiny", distinct_samples(prompts=2), criterion="Good is short.", **options)


def test_forty_five_samples_by_keyboard_alone(tmp_path, server, open_page, record_property):
    """Good for even texts, bad for odd ones, can't tell for every fifth: what was pressed is what is read."""
    folder = make_folder(tmp_path / "tiny", distinct_samples(), criterion="Good is short.")
    page = open_page(server(folder).url)
    page.wait_for_selector("#start:not([hidden])")
    page.keyboard.type("Anna")
    began = time.monotonic()
    page.keyboard.press("Enter")
    page.wait_for_selector("#grading:not([hidden])")
    assert page.locator("#criterion").inner_text() == "Good is short."
    meant = {}
    for number in range(45):
        text = page.locator("#sample-text").inner_text()
        key = "Space" if number % 5 == 4 else "j" if number % 2 == 0 else "f"
        assert text not in meant
        meant[text] = {"Space": "unsure", "j": "good", "f": "bad"}[key]
        if key == "f":
            page.keyboard.press("1")
            page.keyboard.press("4")
        press(page, key)
    seconds = time.monotonic() - began
    record_property("seconds_for_45_grades", seconds)
    print(f"\n45 grades by keyboard: {seconds:.1f} s")
    page.wait_for_selector("#done:not([hidden])")
    assert page.locator("#done-title").inner_text() == "All graded. Thank you."
    assert f"finetrial unblind {folder.root}" in page.locator("#next-steps").inner_text()
    texts = {item.item_id: item.text for item in read_rows(folder.items, Item)}
    grades = read_grades(folder)
    assert {texts[g.item_id]: g.value for g in grades} == meant and len(grades) == 45
    assert {g.reasons for g in grades if g.value == "bad"} == {("false", "off_task")}
    assert [g.position for g in grades] == list(range(45))
    assert all(0.2 < g.seconds < 30 for g in grades)


def test_undo_reaches_back_across_a_reload(tmp_path, server, open_page):
    folder = small(tmp_path)
    page = open_page(server(folder).url)
    begin(page)
    first = place(page)
    for key in "jfjf":
        press(page, key)
    page.reload()  # and it is still Anna
    page.wait_for_selector("#grading:not([hidden])")
    assert graded(page) == 4
    for key in ("u", "Control+z", "u", "u"):
        page.wait_for_timeout(50)
        before = graded(page)
        page.keyboard.press(key)
        page.wait_for_function(
            "b => parseInt(document.getElementById('progress-text').textContent) === b - 1", arg=before
        )
    assert place(page) == first and read_grades(folder) == ()
    page.keyboard.press("u")
    says(page, "announce", "nothing to undo")


def test_held_keys_and_hasty_presses_do_not_count(tmp_path, server, open_page):
    folder = small(tmp_path)
    page = open_page(server(folder).url)
    begin(page)
    page.wait_for_timeout(PAUSE_MS)
    page.keyboard.down("j")
    for _ in range(20):  # what a held key sends
        page.wait_for_timeout(40)
        page.keyboard.down("j")
    page.keyboard.up("j")
    assert graded(page) == 1
    press(page, "f")
    page.keyboard.press("f")  # at once, before anybody can have read the next sample
    page.wait_for_timeout(100)
    page.keyboard.press("j")
    page.wait_for_timeout(200)
    assert graded(page) == 2 and len(read_events(folder)) == 2


def test_moving_noting_and_grading_again(tmp_path, server, open_page):
    folder = small(tmp_path)
    page = open_page(server(folder).url)
    begin(page)
    start = place(page)
    press(page, "j")
    page.keyboard.press("ArrowLeft")
    says(page, "verdict", "Good")
    assert place(page)[1] == start[1]
    page.keyboard.press("n")
    page.wait_for_selector("#note[open]")
    page.keyboard.type("j f 1 u are only letters here")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#note-shown:not([hidden])")
    page.keyboard.press("2")  # a reason for the grade that stands
    says(page, "verdict", "copied")
    (grade,) = read_grades(folder)
    assert (grade.value, grade.reasons, grade.note) == ("good", ("copied",), "j f 1 u are only letters here")
    page.wait_for_timeout(PAUSE_MS)
    page.keyboard.press("f")
    says(page, "sample-name", "Sample 2 of 9")
    (grade,) = read_grades(folder)
    assert grade.value == "bad" and len(read_events(folder)) == 4


def test_shortcuts_can_be_turned_off(tmp_path, server, open_page):
    folder = small(tmp_path)
    page = open_page(server(folder).url)
    begin(page)
    page.keyboard.press("?")
    page.wait_for_selector("#help[open]")
    page.get_by_label("Keyboard shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.wait_for_timeout(PAUSE_MS)
    page.keyboard.press("j")
    page.wait_for_timeout(150)
    assert graded(page) == 0
    page.get_by_role("button", name="Good", exact=True).focus()
    page.keyboard.press("Enter")  # the buttons stay reachable
    says(page, "progress-text", "1 ")
    page.reload()
    page.wait_for_selector("#grading:not([hidden])")
    page.wait_for_timeout(PAUSE_MS)
    page.keyboard.press("f")
    page.wait_for_timeout(150)
    assert graded(page) == 1  # remembered


def test_space_on_a_focused_button_presses_that_button(tmp_path, server, open_page):
    folder = small(tmp_path)
    page = open_page(server(folder).url)
    begin(page)
    page.wait_for_timeout(PAUSE_MS)
    page.get_by_role("button", name="Bad", exact=True).focus()
    page.keyboard.press("Space")
    says(page, "progress-text", "1 ")
    # After the click the focus is on the next sample, where Space means "can't tell" again.
    press(page, "Space")
    assert [g.value for g in read_grades(folder)] == ["bad", "unsure"]


def test_two_raters_and_two_tabs(tmp_path, server, open_page):
    folder = small(tmp_path)
    url = server(folder).url
    one = open_page(url)
    begin(one, "Anna")
    two = open_page(url, context=one.context)
    two.wait_for_selector("#start:not([hidden])")
    two.get_by_role("button", name="Go on as Anna").click()
    two.wait_for_selector("#grading:not([hidden])")
    other = open_page(url)
    begin(other, "Ben")
    assert place(one) == place(two)
    press(one, "j")
    press(other, "f")
    # The second tab still shows the first sample; a grade there is a second thought, not a second grade.
    two.bring_to_front()
    two.evaluate("window.dispatchEvent(new Event('focus'))")
    says(two, "verdict", "Good")
    two.wait_for_timeout(PAUSE_MS)
    two.keyboard.press("f")
    says(two, "sample-name", "Sample 2")
    press(two, "j")
    one.bring_to_front()
    press(one, "Space", wait=False)
    says(one, "progress-text", "2 ")
    assert sorted((g.rater, g.value) for g in read_grades(folder)) == [
        ("Anna", "bad"),
        ("Anna", "unsure"),
        ("Ben", "bad"),
    ]


def test_by_thumb_on_a_phone(tmp_path, server, open_page):
    folder = small(tmp_path)
    page = open_page(server(folder).url, width=390, height=844, has_touch=True, is_mobile=True)
    begin(page)
    for name in ("Good", "Bad", "Can’t tell"):
        button = page.get_by_role("button", name=name, exact=True)
        box = button.bounding_box()
        assert box["height"] >= 56 and box["width"] >= 90
        assert box["y"] + box["height"] <= 844  # within the screen, without scrolling
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.wait_for_timeout(PAUSE_MS)
    page.get_by_role("button", name="Good", exact=True).tap()
    says(page, "progress-text", "1 ")
    page.get_by_role("button", name="copied").tap()
    page.wait_for_timeout(PAUSE_MS)
    page.get_by_role("button", name="Bad", exact=True).tap()
    says(page, "progress-text", "2 ")
    assert [(g.value, g.reasons) for g in read_grades(folder)] == [("good", ()), ("bad", ("copied",))]


def test_side_by_side(tmp_path, server, open_page):
    folder = small(tmp_path)
    page = open_page(server(folder, mode="pairs").url)
    begin(page)
    pairs = {p.pair_id: p for p in read_rows(folder.pairs, ItemPair)}
    texts = {item.item_id: item.text for item in read_rows(folder.items, Item)}
    meant = []
    for key in ("j", "f", "Space", "j", "f"):
        left, right = page.locator("#left-text").inner_text(), page.locator("#right-text").inner_text()
        meant.append({"j": right, "f": left, "Space": None}[key])
        press(page, key)
    choices = read_pair_grades(folder)
    won = {"first": lambda p: texts[p.first], "second": lambda p: texts[p.second], "tie": lambda p: None}
    assert [won[c.value](pairs[c.pair_id]) for c in choices] == meant
    assert {c.left for c in choices} <= {"first", "second"}
    page.keyboard.press("u")
    says(page, "progress-text", "4 ")
    assert read_grades(folder) == ()


def test_guesses_are_asked_at_the_end_and_kept(tmp_path, server, open_page):
    folder = make_folder(tmp_path / "tiny", [sample(a, 0, 0, f"t {n}") for n, a in enumerate(("base", "lora"))])
    page = open_page(server(folder).url)
    begin(page)
    press(page, "j")
    press(page, "f")
    page.wait_for_selector("#done:not([hidden])")
    page.locator("#guesses summary").click()
    page.locator("#guess-0").select_option("lora")
    page.locator("#guess-1").select_option("base")
    page.wait_for_timeout(200)
    assert sorted(g.arm for g in read_guesses(folder)) == ["base", "lora"]


def test_the_summary_leads_to_what_is_open(tmp_path, server, open_page):
    folder = small(tmp_path)
    page = open_page(server(folder).url)
    begin(page)
    press(page, "j")
    page.keyboard.press("ArrowRight")
    says(page, "sample-name", "Sample 3")
    press(page, "j")
    page.get_by_role("button", name="Overview").click()
    page.wait_for_selector("#done:not([hidden])")
    assert page.locator("#done-title").inner_text() == "16 still open"
    page.get_by_role("button", name="Go on with what is open").click()
    page.wait_for_selector("#grading:not([hidden])")
    assert page.locator("#sample-name").inner_text() == "Sample 2 of 9"
