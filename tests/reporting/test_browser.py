"""A real browser shows the report: styled under its own policy, at every width, and nothing in it runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from building import MEASURED
from hostile_trial import make

from finetrial.reporting.palette import DARK, LIGHT
from finetrial.reporting.write import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on this machine: the report was NOT seen in a browser"
    ),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of the hostile trial with nothing held back."""
    folder = make(tmp_path_factory.mktemp("browser"))
    return write_report(folder, open_grades=True).html.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"


@pytest.mark.parametrize(
    ("width", "scheme"), [(320, "light"), (375, "dark"), (768, "light"), (1400, "light"), (1400, "dark")]
)
def test_the_page_is_styled_runs_nothing_and_never_scrolls_sideways(browser, address, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    requests, said = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    closed = page.locator("details:not([open]) > summary")
    for _ in range(closed.count()):
        closed.first.click()  # the one just opened is no longer among them
    assert closed.count() == 0 and page.locator("details").count() == 14
    assert page.title() == "tickets · finetrial"  # a hostile text that ran would have changed it
    assert said == [] and requests == [address]
    table = LIGHT if scheme == "light" else DARK
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    mark = page.evaluate("getComputedStyle(document.querySelector('svg .fill-arm1')).fill")
    assert (ground, mark) == (rgb(table["page"]), rgb(table["arm1"]))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_a_phone_sees_the_narrow_figures_and_a_desk_the_wide_ones(browser, address):
    seen = {}
    for width in (375, 1400):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(address)
        seen[width] = [page.locator(f"figure svg.{kind}:visible").count() for kind in ("narrow", "wide")]
        sizes = page.evaluate(
            "[...document.querySelectorAll('figure svg')].filter(s => s.clientWidth).map(s => "
            "9.5 * s.clientWidth / s.viewBox.baseVal.width)"
        )
        assert len(sizes) == 2 and min(sizes) >= 11  # pixels of a label
        page.close()
    assert seen == {375: [2, 0], 1400: [0, 2]}


def test_the_figures_files_open_alone(browser, address):
    for name in ("losses.svg", "scores.svg"):
        page = browser.new_page()
        said: list[str] = []
        page.on("console", lambda message, said=said: said.append(message.text))
        path = Path(address.removeprefix("file://")).parent / "figures" / name
        page.goto(path.as_uri())
        assert page.locator("svg text").count() > 5 and said == []
        page.close()


def test_on_paper_every_table_and_every_arm_fits_the_sheet(browser, tmp_path):
    more = {"search_seconds": 700.0, "search_flops": 8.6e13, "evaluation_seconds": 34.0, "evaluation_flops": 4.9e12}
    measured = {arm: replace(row, flops_total=5.54e13, **more) for arm, row in MEASURED.items()}
    path = write_report(make(tmp_path / "t", measured=measured), open_grades=True).html
    a4 = round((210 - 2 * 16) / 25.4 * 96)  # the width of an A4 sheet within the style sheet's margins, in pixels
    page = browser.new_page(viewport={"width": a4, "height": 1000})
    page.emulate_media(media="print")
    page.goto(path.as_uri())
    rights = page.evaluate(
        "[...document.querySelectorAll('table, .column')].map(e => e.getBoundingClientRect().right).filter(x => x)"
    )
    assert len(rights) > 10 and max(rights) <= a4 + 1
    page.close()


def test_on_paper_no_heading_stands_without_what_it_heads(browser, address):
    page = browser.new_page(viewport={"width": 673, "height": 1000})
    page.goto(address)
    closed = "[...document.querySelectorAll('details:not(.prompt):not([open]) > :not(summary)')]"
    heights = f"{closed}.map(one => one.getBoundingClientRect().height)"
    assert len(page.evaluate(heights)) >= 2
    page.emulate_media(media="print")
    assert min(page.evaluate(heights)) > 10  # what is folded on the screen is printed
    heads = "[...document.querySelectorAll('h1, h2, h3, .label, summary, thead')]"
    assert set(page.evaluate(f"{heads}.map(one => getComputedStyle(one).breakAfter)")) == {"avoid"}
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(375, "dark"), (1280, "light")])
def test_the_worked_report_is_styled_its_formulas_are_set_and_it_never_scrolls_sideways(browser, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto((Path(__file__).parents[2] / "docs" / "worked-report" / "worked-report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # a fraction that is set is higher than a line of text; unread, its parts would stand side by side
    heights = page.eval_on_selector_all("mfrac", "all => all.map(one => one.getBoundingClientRect().height)")
    assert len(heights) > 10 and min(heights) > 20
    assert said == []
    context.close()
