"""A key press is answered at once, however large the trial."""

import statistics
import time

import psutil
from grading_material import distinct_samples, make_folder
from rater import begin, press

from finetrial.judging.grading_session import GradingSession
from finetrial.store.records import Item, read_rows

# From the key press to the frame in which the next sample stands on the screen.
MEASURE = """
window.responses = [];
let pressed = null;
addEventListener("keydown", () => { pressed = performance.now(); }, true);
addEventListener("DOMContentLoaded", () => {
  new MutationObserver(() => {
    if (pressed === null) return;
    const began = pressed;
    pressed = null;
    requestAnimationFrame(() => window.responses.push(performance.now() - began));
  }).observe(document.getElementById("sample-text"), { childList: true });
});
"""


class Work:
    """Processor time of the page's main thread and of the server: what finetrial needs, whoever else is busy."""

    def __init__(self, page, process):
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})
        self._process = psutil.Process(process.pid)

    def seconds(self):
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        page = next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")
        server = self._process.cpu_times()
        return page + server.user + server.system


def test_a_key_press_is_answered_within_fifty_milliseconds_at_1800_samples(tmp_path, server, browser):
    folder = make_folder(tmp_path / "tiny", distinct_samples(prompts=200))
    page = browser.new_page()
    page.add_init_script(MEASURE)
    running = server(folder)
    page.goto(running.url)
    begin(page)
    work = Work(page, running.process)
    before = work.seconds()
    for _ in range(30):  # over three prompts' ends
        press(page, "j")
    page.wait_for_timeout(200)
    cost_ms = 1000 * (work.seconds() - before) / 30
    responses = page.evaluate("window.responses")
    page.close()
    median = statistics.median(responses)
    print(f"\nkey press at 1,800 samples: {median:.0f} ms until the frame (median), {cost_ms:.1f} ms of work")
    assert len(responses) >= 30
    # On a machine busy with other things the clock measures those; the work is finetrial's own.
    assert median < 50 or cost_ms < 40


def test_ten_thousand_samples_open_within_a_second(tmp_path, server, browser):
    folder = make_folder(tmp_path / "tiny", distinct_samples(prompts=1112), grade_prompts=2000)
    items = [item.item_id for item in read_rows(folder.items, Item)]
    assert len(items) == 1112 * 9
    session = GradingSession(folder)
    session.book.join("Anna")
    session.book.declare("Anna", "person")
    session.book.append_all(
        session.event_from(
            {"uid": f"uid-{n:06}", "kind": "grade", "item_id": item, "value": "good"}, source="page", rater="Anna"
        )
        for n, item in enumerate(items[:5000])
    )
    session.close()
    running = server(folder, raters=("Anna",))
    seconds, costs = [], []
    context = browser.new_context()  # one browser, in which Anna has begun
    page = context.new_page()
    page.goto(running.url)
    page.locator("#begin-person").click()
    page.wait_for_selector("#grading:not([hidden])")
    page.close()
    for _ in range(3):
        page = context.new_page()
        work = Work(page, running.process)
        before, began = work.seconds(), time.monotonic()
        page.goto(running.url)
        page.wait_for_function("() => document.getElementById('sample-text').textContent")
        seconds.append(time.monotonic() - began)
        costs.append(work.seconds() - before)
        assert page.locator("#progress-text").inner_text() == f"5000 of {len(items)}"
        page.close()
        running.kill()  # nothing of the first opening may be left in memory
        running.start()
    context.close()
    print(f"\n10,008 samples, half of them graded: open in {min(seconds):.2f} s, {min(costs):.2f} s of work")
    assert min(seconds) < 1.0 or min(costs) < 0.5  # as above
