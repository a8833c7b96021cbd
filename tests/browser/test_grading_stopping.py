"""Grading that may stop at any time says among the cards how much more it takes, and never who leads."""

import re

from grading_material import distinct_samples, make_folder
from rater import begin, press, says

from finetrial.workflow.stopping_watch import watching

GRADED = r"\d+ of 12 prompts are graded"
SET_ASIDE = r"about \d+ more would be needed, and \d+ are set aside"
MORE = rf"how many more it takes cannot be told yet|about \d+ prompts? more|{SET_ASIDE}"
NUMBERS = re.compile(rf"{GRADED}(; ({MORE})\.|: that is enough, and grading may stop\.)")


def test_the_page_says_about_how_many_more_and_then_enough_while_one_grades(tmp_path, server, open_page):
    samples = distinct_samples(prompts=12, arms=("base", "lora"), per_prompt=1)
    folder = make_folder(
        tmp_path / "any time", samples, stopping={"margin": 0.1, "alpha": 0.05}, criterion="Short."
    )
    page = open_page(server(folder).url)
    with watching(folder):
        begin(page)
        said = []
        for _ in range(20):
            good = page.locator("#sample-text").inner_text().startswith("text 1")  # that is lora's
            press(page, "j" if good else "f")
            said.append(page.locator("#stand").inner_text())
        says(page, "stand", "that is enough")  # within seconds of the last grade, without another
        assert page.locator("#stand.enough").is_visible()
        page.locator("#overview-open").click()
        page.wait_for_selector("#done:not([hidden])")
        assert "that is enough" in page.locator("#done-stand").inner_text()
        page.reload()  # and it stands there from the start
        says(page, "stand", "that is enough")
    shown = [text for text in said if text]
    assert len(set(shown)) > 3 and all(NUMBERS.fullmatch(text) for text in shown), shown
    assert any(" more." in text for text in shown)


def test_where_no_stopping_is_declared_the_page_says_nothing_of_it(tmp_path, server, open_page):
    page = open_page(server(make_folder(tmp_path / "fixed", distinct_samples(prompts=2))).url)
    begin(page)
    press(page, "j")
    assert not page.locator("#stand").is_visible() and page.locator("#stand").inner_text() == ""
