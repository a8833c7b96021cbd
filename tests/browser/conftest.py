"""A real Chromium before a real server. Without Chromium these tests are skipped, loudly; in CI they fail."""

import os
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).parent

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(item.path).parent == HERE:
            item.add_marker(pytest.mark.browser)


def _missing(what):
    if os.environ.get("CI"):
        pytest.fail(f"{what}: browser tests may not be skipped in CI", pytrace=False)
    pytest.skip(f"NOT TESTED: {what}; the grading page was not driven by a browser")


@pytest.fixture(scope="module")
def browser():
    if not Path(CHROMIUM).exists():
        _missing("Chromium is not installed (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def axe():
    """The accessibility checker's source."""
    path = HERE / "node_modules" / "axe-core" / "axe.min.js"
    if not path.exists():
        _missing("axe-core is not installed (npm install in tests/browser)")
    return path.read_text(encoding="utf-8")


@pytest.fixture
def server(tmp_path):
    """Start servers for folders; all are stopped at the end."""
    from grading_server import GradingServer

    started = []

    def start(folder, **options):
        started.append(GradingServer(folder, **options).start())
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def open_page(browser):
    """Open pages at a width and in a colour scheme; what they complain of on the console fails the test."""
    contexts, complaints = [], []

    def open_at(url, *, width=1280, height=800, scheme="light", context=None, allow=(), **options):
        if context is None:
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, **options
            )
            contexts.append(context)
        page = context.new_page()

        def complain(text):
            if not any(part in text for part in allow):
                complaints.append(text)

        page.on("pageerror", lambda error: complain(str(error)))
        page.on("console", lambda message: complain(message.text) if message.type == "error" else None)
        page.goto(url)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert complaints == []
