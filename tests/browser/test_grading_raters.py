"""Several raters, each in a browser of their own: reloads, passed-on links and a killed server mix nothing up."""

import random
import urllib.parse
from datetime import datetime, timedelta

from grading_material import distinct_samples, make_folder
from rater import PAUSE_MS, begin, graded, press, says

from finetrial.judging.grading_session import GradingSession
from finetrial.store.grades import read_events, read_grades
from finetrial.store.records import Item, read_rows


def small(tmp_path, **options):
    return make_folder(tmp_path / "tiny", distinct_samples(prompts=2), criterion="Good is short.", **options)


def text_on(page):
    return page.locator("#sample-text").inner_text()


def reload(page):
    page.reload()
    page.wait_for_selector("#grading:not([hidden]), #done:not([hidden])")


def test_two_raters_with_reloads_and_kills_in_between_lose_and_mix_up_nothing(tmp_path, server, open_page):
    """What each pressed on each text is what stands, under their own name and no other."""
    folder = small(tmp_path)
    running = server(folder)
    pages, meant, chance = {}, {}, random.Random(7)
    for name, kind in (("Anna", "person"), ("Ben", "stand-in")):
        page = open_page(running.url, allow=("ERR_CONNECTION",))
        begin(page, name, kind=kind)
        pages[name], meant[name] = page, {}
    for turn in range(18):
        for name, page in pages.items():
            key = chance.choice(["j", "f", "Space"])
            meant[name][text_on(page)] = {"j": "good", "f": "bad", "Space": "unsure"}[key]
            if turn % 5 == 2:  # the server dies, and the key is pressed while there is none
                running.kill()
                page.wait_for_timeout(PAUSE_MS)
                page.keyboard.press(key)
                says(page, "trouble", "does not answer")
                running.start()
                page.wait_for_function("() => !document.getElementById('trouble').textContent")
                page.wait_for_function(  # after the last grade the summary stands
                    "n => document.getElementById('progress-text').textContent.startsWith(`${n} `) "
                    "|| !document.getElementById('done').hidden",
                    arg=turn + 1,
                )
            else:
                press(page, key)
            if turn % 4 == 1:
                reload(page)  # and it is still the same rater at the same place
                assert turn == 17 or graded(page) == turn + 1  # the summary counts elsewhere
                assert page.locator("#who").text_content().startswith(name)
    for name, page in pages.items():
        page.wait_for_selector("#done:not([hidden])")
        assert page.locator("#done-lead").inner_text().startswith(f"{name}: 18 of 18 graded")
    running.stop()
    texts = {item.item_id: item.text for item in read_rows(folder.items, Item)}
    grades = read_grades(folder)
    stands = {name: {texts[g.item_id]: g.value for g in grades if g.rater == name} for name in pages}
    assert stands == meant and len(grades) == 36
    assert {(g.rater, g.rater_kind) for g in grades} == {("Anna", "person"), ("Ben", "stand-in")}
    assert len({event.uid for _, event in read_events(folder)}) == len(read_events(folder)) == 36


def test_a_link_is_its_rater_s_own(tmp_path, server, open_page):
    folder = small(tmp_path)
    running = server(folder)
    anna = open_page(running.url)
    begin(anna, "Anna")
    press(anna, "j")
    link = anna.url
    assert "/r/" in link and link != running.url
    ben = open_page(link, allow=("409",))  # she sent him the address of her page
    ben.wait_for_selector("#elsewhere:not([hidden])")
    assert ben.locator("#elsewhere-title").inner_text() == "This is Anna’s own link"
    assert not ben.locator("#sample-text").is_visible()
    ben.keyboard.press("f")
    ben.goto(running.url)
    ben.wait_for_selector("#start:not([hidden])")
    assert "Anna" not in ben.locator("#start").inner_text()  # who else grades is not told
    ben.fill("#name", "anna")
    ben.keyboard.press("Enter")
    says(ben, "start-error", "Anna grades already")
    ben.fill("#name", "Ben")
    ben.keyboard.press("Enter")
    ben.wait_for_selector("#grading:not([hidden])")
    assert graded(ben) == 0 and ben.url != link
    assert [(g.rater, g.value) for g in read_grades(folder)] == [("Anna", "good")]

    session = GradingSession(folder)  # what `--new-browser Anna` does, while the server runs
    session.book.let_in("Anna")
    session.close()
    phone = open_page(link)
    phone.wait_for_selector("#start:not([hidden])")
    assert phone.locator("#named").inner_text() == "You grade as Anna."
    phone.locator("#begin-person").click()
    phone.wait_for_selector("#grading:not([hidden])")
    assert graded(phone) == 1
    late = open_page(link)
    late.wait_for_selector("#elsewhere:not([hidden])")  # one more, and no second


def test_a_link_given_beforehand_asks_what_the_rater_is_and_tells_first_what_can_be_shown(
    tmp_path, server, open_page
):
    folder = small(tmp_path)
    running = server(folder, raters=("Anna", "Ben"))
    page = open_page(running.links["Ben"])
    page.wait_for_selector("#start:not([hidden])")
    reach = page.locator("#reach").inner_text()
    assert "cannot show" in reach and "0.5" in reach  # 2/2^2, and 1 after Holm over three pairs
    assert not page.locator("#name").is_visible()
    page.locator("#begin-stand-in").click()
    page.wait_for_selector("#grading:not([hidden])")
    assert page.locator("#who").inner_text() == "Ben · stand-in"
    press(page, "j")
    assert [(g.rater, g.rater_kind) for g in read_grades(folder)] == [("Ben", "stand-in")]


def test_the_owner_s_view_names_raters_and_no_arm(tmp_path, server, open_page, axe):
    folder = small(tmp_path)
    running = server(folder)
    page = open_page(running.url)
    begin(page, "Anna")
    for key in "jfjfjf":
        press(page, key)
    for width, scheme in ((1280, "light"), (390, "dark")):
        owner = open_page(running.progress, width=width, scheme=scheme)
        said = owner.locator("main").inner_text()
        assert "Anna" in said and "6 of 18" in said and "too fast to have read" in said
        assert not any(arm in said for arm in ("base", "full", "lora"))
        assert owner.evaluate("document.documentElement.scrollWidth") <= width
        owner.evaluate(axe)
        found = owner.evaluate("async () => (await axe.run(document)).violations.map((v) => v.id)")
        # A page that renews itself while somebody reads it is the one thing axe holds against it.
        assert set(found) <= {"meta-refresh"}, found
    assert urllib.parse.urlsplit(running.progress).path.startswith("/o/")


def test_grading_faster_than_anybody_reads_is_said(tmp_path, server, open_page):
    page = open_page(server(small(tmp_path)).url)
    begin(page)
    page.clock.install()  # the page's time stands still but for what is run here, however slow this machine
    page.clock.pause_at(datetime.now() + timedelta(minutes=1))
    page.keyboard.press("ArrowRight")  # shown from here on by that clock
    page.wait_for_function("() => document.getElementById('sample-name').textContent.startsWith('Sample 2')")
    for number, key in enumerate("jfjfj"):
        assert not page.locator("#pace").is_visible()  # four grades are no sign
        page.clock.run_for(400)
        page.keyboard.press(key)
        page.wait_for_function(
            "n => document.getElementById('progress-text').textContent.startsWith(`${n} `)", arg=number + 1
        )
    assert page.locator("#pace").is_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390  # a phone shows the warning whole
    page.get_by_role("button", name="Overview").click()
    page.wait_for_selector("#done:not([hidden])")
    assert "Nobody reads a text in that time" in page.locator("#done-pace").inner_text()


def test_hidden_repeats_show_in_no_count_on_the_page(tmp_path, server, open_page):
    folder = make_folder(tmp_path / "tiny", distinct_samples(prompts=5, per_prompt=1), repeats=0.2)
    page = open_page(server(folder).url)
    page.wait_for_selector("#start:not([hidden])")
    assert page.locator("#start-lead").inner_text().startswith("18 samples under 5 prompts")
    begin(page)
    numbers, names = [], []
    while not page.locator("#done").is_visible():
        numbers.append(page.locator("#source-name").inner_text())
        names.append((numbers[-1], page.locator("#sample-name").inner_text()))
        press(page, "j")
    assert set(numbers) == {f"Prompt {n} of 5" for n in range(1, 6)} and len(numbers) == 18
    assert len(set(names)) == 18  # "Sample 3 of 4" stands once under each prompt
    assert page.locator("#map .map-row").count() == 5 and page.locator("#map .pip").count() == 18
    grades = read_grades(folder)
    assert sum(g.repeat for g in grades) == 3 and len(grades) == 18
