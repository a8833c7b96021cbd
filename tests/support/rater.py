"""How a person uses the page: names themselves, looks, presses a key."""

import re

PAUSE_MS = 260  # a press within 250 ms of a new sample does not count


def begin(page, name="Anna", *, kind="person"):
    """Enter by the shared address; the page goes on under the rater's own link."""
    page.wait_for_selector("#start:not([hidden])")
    page.fill("#name", name)
    if kind == "person":
        page.keyboard.press("Enter")
    else:
        page.locator("#begin-stand-in").click()
    page.wait_for_selector("#grading:not([hidden])")


def place(page):
    """Which prompt and sample are on the screen, and how many are graded."""
    return (
        page.locator("#source-name").inner_text(),
        page.locator("#sample-name").inner_text(),
        page.locator("#progress-text").inner_text(),
    )


def graded(page):
    return int(re.match(r"(\d+) of", page.locator("#progress-text").text_content())[1])


def press(page, key, *, wait=True):
    """Press a key as soon as it counts, and wait until the page has moved on."""
    page.wait_for_timeout(PAUSE_MS)
    before = graded(page)
    page.keyboard.press(key)
    if wait:
        page.wait_for_function(
            "before => parseInt(document.getElementById('progress-text').textContent) !== before "
            "|| !document.getElementById('done').hidden",
            arg=before,
        )


def says(page, element_id, text):
    """Wait until an element's text contains something."""
    page.wait_for_function(
        "([id, text]) => document.getElementById(id).textContent.includes(text)", arg=[element_id, text]
    )


def violations(page, axe):
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    return [(v["id"], [n["html"][:120] for n in v["nodes"]]) for v in found]
