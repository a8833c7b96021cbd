"""What is graded, shown another way: scales beside good and bad, Markdown and code formatted, chats as turns."""

import dataclasses

import pytest
from grading_material import HOSTILE, distinct_samples, make_folder, sample
from rater import PAUSE_MS, begin, press, says, violations

from finetrial.judging.bundle import export_bundles
from finetrial.judging.grading_session import GradingSession
from finetrial.judging.import_grades import import_files
from finetrial.store.grades import read_grades
from finetrial.trial.schema import OwnLabels

OWN = OwnLabels(labels=("excellent", "usable", "wrong in part", "nonsense"), good=("excellent", "usable"))


def test_five_points_by_their_digits_and_reasons_by_shift(tmp_path, server, open_page):
    folder = make_folder(tmp_path / "tiny", distinct_samples(prompts=1), criterion="Good is short.", scale="1-5")
    page = open_page(server(folder).url)
    page.wait_for_selector("#start:not([hidden])")
    assert "4 and 5 count as good" in page.locator("#start-scale").inner_text()
    begin(page)
    page.keyboard.press("Shift+Digit2")
    assert page.locator('.chip[aria-pressed="true"]').inner_text().strip().endswith("copied")
    press(page, "4")
    press(page, "Numpad1")
    press(page, "Space")
    page.wait_for_timeout(PAUSE_MS)
    page.keyboard.press("9")  # no such point
    page.keyboard.press("j")
    page.wait_for_timeout(100)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    says(page, "verdict", "4: copied")
    page.wait_for_timeout(PAUSE_MS)
    page.get_by_role("button", name="5", exact=True).click()
    says(page, "sample-name", "Sample 4")
    assert [(g.value, g.label, g.reasons) for g in read_grades(folder)] == [
        ("bad", "1", ()),
        ("unsure", None, ()),
        ("good", "5", ("copied",)),
    ]
    page.reload()  # what stood is shown as it was said
    page.wait_for_selector("#grading:not([hidden])")
    assert page.locator("#pips .pip").all_inner_texts()[:3] == ["5", "1", "?"]
    page.get_by_role("button", name="Overview").click()
    page.wait_for_selector("#done:not([hidden])")
    counted = [" ".join(text.split()) for text in page.locator("#counts .count").all_inner_texts()]
    assert [text for text in counted if not text.endswith(" 0")] == ["1 1", "5 1", "? Can’t tell 1", "○ Open 6"]


def test_own_labels_in_a_bundle_come_home(tmp_path, open_page):
    folder = make_folder(tmp_path / "tiny", distinct_samples(prompts=1), scale=OWN)
    session = GradingSession(folder)
    (path,) = export_bundles(session, tmp_path / "page.html", names=(), raters=1, mode="single")
    page = open_page(path.as_uri(), offline=True)
    begin(page, "Clara", kind="stand-in")
    press(page, "1")
    page.wait_for_timeout(PAUSE_MS)
    page.get_by_role("button", name="wrong in part").click()
    says(page, "progress-text", "2 ")
    page.get_by_role("button", name="Overview").click()
    with page.expect_download() as download:
        page.locator("#save").click()
    saved = tmp_path / "saved.json"
    download.value.save_as(saved)
    import_files(session, [saved])
    session.close()
    assert [(g.value, g.label, g.rater_kind) for g in read_grades(folder)] == [
        ("good", "excellent", "stand-in"),
        ("bad", "wrong in part", "stand-in"),
    ]


@pytest.mark.parametrize(("width", "scheme", "scale"), [(1280, "light", "1-5"), (390, "dark", OWN)])
def test_axe_finds_nothing_on_the_new_screens(tmp_path, server, open_page, axe, width, scheme, scale):
    wide = "# T\n\n```\n" + "x = 1  # " * 40 + "\n```\n\n- a\n- b"
    rows = [chat_sample("base", wide), chat_sample("lora", "plain")]
    folder = make_folder(tmp_path / "tiny", rows, criterion="Good is short.", scale=scale)
    page = open_page(server(folder).url, scheme=scheme, width=width, allow=("409",))
    seen = {}
    page.wait_for_selector("#start:not([hidden])")
    seen["start"] = violations(page, axe)
    begin(page)
    page.keyboard.press("m")
    page.wait_for_selector(".formatted")
    seen["formatted"] = violations(page, axe)
    press(page, "2")
    press(page, "1")
    page.wait_for_selector("#done:not([hidden])")
    seen["done"] = violations(page, axe)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    other = open_page(page.url, scheme=scheme, width=width)
    other.wait_for_selector("#elsewhere:not([hidden])")
    seen["elsewhere"] = violations(other, axe)
    assert len(seen) == 4 and seen == {screen: [] for screen in seen}


# Formatted


MARKDOWN = """# A plan

Use **bold** and `code`:

```python
def f(x):
    return x
```

1. one
2. two

[a link](https://evil.example/x) and ![a picture](https://evil.example/x.png) <b onclick="window.hacked = 5">raw</b>
<script>window.hacked = 6</script>"""


def chat_sample(arm, text, *, prompt=0):
    turns = (("system", "Be kind."), ("user", "Hello <b>you</b>"), ("assistant", "A **helper**."), ("user", "Why?"))
    row = sample(arm, prompt, 0, text, source="\n".join(f"{role}: {content}" for role, content in turns))
    return dataclasses.replace(row, turns=turns)


def test_markdown_and_code_are_formatted_on_request_and_nothing_of_them_runs(tmp_path, server, open_page):
    folder = make_folder(tmp_path / "tiny", [sample("base", 0, 0, MARKDOWN), sample("lora", 0, 0, MARKDOWN + "!")])
    requests = []
    page = open_page(server(folder).url)
    page.on("request", lambda request: requests.append(request.url))
    begin(page)
    assert page.locator("#sample-text").text_content().startswith("# A plan\n\nUse **bold**")
    page.keyboard.press("m")
    page.wait_for_selector("#sample-text .heading")
    box = page.locator("#sample-text")
    assert box.locator(".heading").inner_text() == "A plan"
    assert box.locator("strong").inner_text() == "bold" and box.locator("ol li").count() == 2
    assert box.locator("pre").inner_text() == "def f(x):\n    return x"
    assert box.locator("pre").evaluate("e => getComputedStyle(e).fontFamily").count("ono")
    assert box.locator("a, img, b, script, [onclick]").count() == 0
    shown = box.inner_text()
    assert "raw</b>" in shown and "https://evil.example/x" in shown and "a picture" in shown
    assert page.evaluate("window.hacked") is None
    assert not [url for url in requests if "evil.example" in url]
    press(page, "j")  # the next sample is formatted, too, and so is the page after a reload
    page.wait_for_selector("#sample-text .heading")
    page.reload()
    page.wait_for_selector("#sample-text .heading")
    page.get_by_role("button", name="Formatted").click()
    page.wait_for_selector("#sample-text:not(.formatted)")
    assert page.locator("#sample-text").text_content().startswith("# A plan\n\nUse **bold**")


def test_hostile_texts_stay_texts_when_formatted(tmp_path, server, open_page):
    rows = [sample(arm, 0, 0, "# T\n\n" + text[:2000]) for arm, text in HOSTILE.items()]
    page = open_page(server(make_folder(tmp_path / "tiny", rows)).url)
    begin(page)
    page.keyboard.press("m")
    for number in range(len(HOSTILE)):
        page.wait_for_selector("#sample-text .heading")
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main a, main script").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        if number + 1 < len(HOSTILE):
            before = page.locator("#sample-name").inner_text()
            page.keyboard.press("ArrowRight")
            page.wait_for_function("b => document.getElementById('sample-name').textContent !== b", arg=before)


def test_the_turns_of_a_chat_are_shown_as_turns(tmp_path, server, open_page):
    folder = make_folder(tmp_path / "tiny", [chat_sample("base", "a"), chat_sample("lora", "b")])
    page = open_page(server(folder).url)
    begin(page)
    assert page.locator("#source-text .speaker").all_inner_texts() == ["System", "User", "Assistant", "User"]
    assert page.locator("#source-text .said").all_inner_texts() == [
        "Be kind.",
        "Hello <b>you</b>",
        "A **helper**.",
        "Why?",
    ]
    page.keyboard.press("m")
    page.wait_for_selector("#source-text .said strong")
    assert page.locator("#source-text .said").nth(2).inner_text() == "A helper."


def test_formatting_in_a_bundle_needs_no_server(tmp_path, open_page):
    session = GradingSession(
        make_folder(tmp_path / "tiny", [chat_sample("base", MARKDOWN), chat_sample("lora", "plain")])
    )
    (path,) = export_bundles(session, tmp_path / "page.html", names=(), raters=1, mode="single")
    session.close()
    page = open_page(path.as_uri(), offline=True)
    begin(page, "Clara")
    page.keyboard.press("m")
    page.wait_for_selector("#source-text .said strong")
    if not page.locator("#sample-text .heading").count():
        page.keyboard.press("ArrowRight")
    page.wait_for_selector("#sample-text .heading")
    assert page.evaluate("window.hacked") is None
