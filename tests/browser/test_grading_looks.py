"""What the page looks like: hostile texts stay texts, everybody can use it, and the docs show it as it is."""

import os
from pathlib import Path

import pytest
from grading_material import HOSTILE, distinct_samples, make_folder, sample
from rater import begin, press, says, violations

from finetrial.judging.bundle import export_bundles
from finetrial.judging.grading_session import GradingSession
from finetrial.store.grades import read_grades


def hostile_folder(root):
    prompt = "</script><script>window.hacked = 3</script> Prompt with <b>markup</b>"
    rows = [sample(arm, 0, 0, text, source=prompt) for arm, text in HOSTILE.items()]
    return make_folder(root, rows, criterion="Good is <i>plain</i>. </script><script>window.hacked = 4</script>")


def read_everything(page):
    """The visible text of every sample, with long ones unfolded."""
    shown = []
    for number in range(len(HOSTILE)):
        more = page.locator("#sample-text .more")
        if more.count():
            more.click()
        shown.append(page.locator("#sample-text").text_content())
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main b, main i, main script").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.locator("#progress-text").bounding_box()["x"] < 200  # nothing outside was turned around
        if number + 1 < len(HOSTILE):
            before = page.locator("#sample-name").inner_text()
            page.keyboard.press("ArrowRight")
            page.wait_for_function("b => document.getElementById('sample-name').textContent !== b", arg=before)
    return shown


@pytest.mark.parametrize("width", [1280, 390])
def test_hostile_samples_are_seen_and_not_run(tmp_path, server, open_page, width):
    page = open_page(server(hostile_folder(tmp_path / "tiny")).url, width=width)
    begin(page)
    assert page.locator("#criterion").inner_text().startswith("Good is <i>plain</i>. </script>")
    assert page.locator("#source-text").inner_text().startswith("</script><script>window.hacked = 3")
    shown = read_everything(page)
    assert HOSTILE["script"] in shown and HOSTILE["huge"] in shown and HOSTILE["emoji"] in shown
    assert "bell␇ escape␛[31m null␀ del␡\ttab\nnew line␍return" in shown
    assert "שלום עולם U+202E reversed U+2066 and מעורב mixed" in shown
    assert "(nothing at all: the text is empty)" in shown and "(white space only)" in shown


def test_hostile_samples_do_not_run_in_a_bundle_either(tmp_path, open_page):
    session = GradingSession(hostile_folder(tmp_path / "tiny"))
    (path,) = export_bundles(session, tmp_path / "page.html", names=("Anna",), raters=1, mode="single")
    session.close()
    page = open_page(path.as_uri())
    page.locator("#begin-person").click()
    page.wait_for_selector("#grading:not([hidden])")
    assert HOSTILE["script"] in read_everything(page)


@pytest.mark.parametrize(
    ("mode", "width", "scheme"),
    [("single", 1280, "light"), ("single", 390, "dark"), ("pairs", 1280, "dark"), ("pairs", 390, "light")],
)
def test_axe_finds_nothing_on_any_screen(tmp_path, server, open_page, axe, scheme, mode, width):
    folder = make_folder(tmp_path / "tiny", distinct_samples(prompts=1, per_prompt=1), criterion="Good is short.")
    page = open_page(server(folder, mode=mode).url, scheme=scheme, width=width)
    seen = {}
    page.wait_for_selector("#start:not([hidden])")
    seen["start"] = violations(page, axe)
    begin(page)
    seen["grading"] = violations(page, axe)
    page.keyboard.press("?")
    seen["help"] = violations(page, axe)
    page.keyboard.press("Escape")
    if mode == "single":
        page.keyboard.press("1")
    page.keyboard.press("n")
    page.keyboard.type("a note")
    seen["note"] = violations(page, axe)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#note-shown:not([hidden])")
    for key in ("f", "j", "Space"):
        press(page, key)
    page.wait_for_selector("#done:not([hidden])")
    if mode == "single":
        page.locator("#guesses summary").click()
    seen["done"] = violations(page, axe)
    page.keyboard.press("u")
    page.wait_for_selector("#grading:not([hidden])")
    page.keyboard.press("ArrowLeft")
    says(page, "verdict", "Good" if mode == "single" else "B is better")
    seen["graded"] = violations(page, axe)
    assert len(seen) == 6 and seen == {screen: [] for screen in seen}


def test_at_two_hundred_per_cent_everything_fits_and_is_reached(tmp_path, server, open_page):
    folder = make_folder(tmp_path / "tiny", distinct_samples(prompts=1), criterion="Good is short.")
    page = open_page(server(folder).url, width=640, height=400)  # 1280 x 800 at 200 %
    begin(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 640
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim().slice(0, 40)"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or reached[-1] == "" or page.evaluate("document.activeElement === document.body")
    for wanted in ("Good", "Bad", "Can’t tell", "false", "Undo", "Note", "Overview", "Keys"):
        assert any(wanted in text for text in reached), wanted


POST = """My upstairs neighbour practises the tuba every evening between nine and ten. I have asked twice, kindly, \
and he has twice said that the evenings are the only time he has. He is good at it, which does not help. The house \
rules allow instruments until eight. I like him, he waters my plants when I am away, and I do not want to be the \
person who goes to the landlord. My partner says that I should simply write a letter to the landlord and be done \
with it. I am thinking of offering him our cellar, which is dry and nearly soundproof, but my partner keeps her \
bicycles there and finds that I give away too much.

Am I wrong to offer the cellar, and how do I bring it up with both of them?"""
CRITERION = "A good summary states the problem and the question, and adds nothing."
ANSWERS = (
    "Neighbour plays the tuba past the hour the house rules allow. Should I offer him our cellar, where my partner "
    "keeps her bicycles, rather than write to the landlord?",
    "My upstairs neighbour practises the tuba every evening between nine and ten. I have asked twice, kindly, and "
    "he has twice said that the evenings",
    "Tuba neighbour is too loud. Tuba neighbour is too loud. Tuba neighbour is too loud. Tuba neighbour is",
    "Neighbour is loud, wants to move to the cellar with the landlord's bicycles.",
    "How do I offer a tuba-playing neighbour our cellar without upsetting my partner, who would rather complain?",
    "import cellar\ndef neighbour(tuba):\n    return tuba",
)


def docs_folder(root):
    rows = [
        sample(("base", "lora", "full")[n % 3], p, n // 3, text + ("" if p == 0 else " "), source=POST + "\n" * p)
        for p in range(5)
        for n, text in enumerate(ANSWERS)
    ]
    return make_folder(root, rows, title="tldr", criterion=CRITERION)


def grade_the_rest(folder, *, rater):
    """As if the rater had gone on: two good for every bad."""
    session = GradingSession(folder)
    done = {grade.item_id for grade in read_grades(folder) if grade.rater == rater}
    for n, item in enumerate(sorted(set(session.items) - done)):
        event = {"uid": f"rest-{n:06}", "kind": "grade", "item_id": item}
        session.record({**event, "value": "bad" if n % 3 else "good", "shown_ms": 4000}, rater=rater)
    session.close()


def test_screenshots_for_the_docs(tmp_path, monkeypatch, server, open_page):
    """Pictures of the page as it is. FINETRIAL_DOCS_IMAGES=1 puts them into docs/images."""
    monkeypatch.chdir(tmp_path)  # so that the commands on the page name a folder as a user would
    folder = docs_folder(Path("runs/tldr"))
    running = server(folder)
    url = running.url
    pictures = tmp_path / "images"
    sizes = {
        "grading": (1280, 800, "light"),
        "grading-dark": (1280, 800, "dark"),
        "grading-phone": (390, 844, "light"),
    }
    for name, (width, height, scheme) in sizes.items():
        touch = {"has_touch": True, "is_mobile": True} if width < 500 else {}
        page = open_page(url, width=width, height=height, scheme=scheme, **touch)
        rater = {"grading": "Anna", "grading-dark": "Ben", "grading-phone": "Clara"}[name]
        begin(page, rater, kind="stand-in" if rater == "Ben" else "person")
        for key in ("j", "f", "Space"):
            press(page, key)
        page.keyboard.press("2")
        page.wait_for_timeout(100)
        page.screenshot(path=pictures / f"{name}.png")
    grade_the_rest(folder, rater="Clara")
    page = open_page(page.url, context=page.context, height=900)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.wait_for_selector("#done:not([hidden])")
    page.wait_for_timeout(100)
    page.screenshot(path=pictures / "grading-summary.png")
    of_one = {"title": "tldr", "criterion": CRITERION}
    side = make_folder(
        tmp_path / "pairs", [sample(a, 0, 0, t, source=POST) for a, t in zip("ab", ANSWERS, strict=False)], **of_one
    )
    page = open_page(server(side, mode="pairs").url, height=640)
    begin(page)
    page.screenshot(path=pictures / "grading-pairs.png")
    five = make_folder(
        tmp_path / "five",
        [sample(a, 0, 0, t, source=POST) for a, t in zip("abc", ANSWERS, strict=False)],
        scale="1-5",
        **of_one,
    )
    page = open_page(server(five).url, height=640)
    begin(page)
    press(page, "4")
    page.screenshot(path=pictures / "grading-scale.png")
    page = open_page(url, height=980)
    page.wait_for_selector("#start:not([hidden])")
    page.screenshot(path=pictures / "grading-start.png")
    page = open_page(running.progress, height=460)
    page.screenshot(path=pictures / "grading-progress.png")
    written = sorted(pictures.glob("*.png"))
    assert len(written) == 8
    for picture in written:
        assert 10_000 < picture.stat().st_size < 200_000, picture.name
        if os.environ.get("FINETRIAL_DOCS_IMAGES"):
            docs = Path(__file__).parents[2] / "docs" / "images"
            docs.mkdir(parents=True, exist_ok=True)
            (docs / picture.name).write_bytes(picture.read_bytes())
