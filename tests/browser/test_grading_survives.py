"""What must not be lost: a killed server, a full disk, a jumping clock, a closed tab."""

import random
import resource
import sqlite3
import threading
import time

from grading_material import distinct_samples, make_folder
from rater import begin, graded, press, says

from finetrial.store.grades import read_events, read_grades

KILLS = 100

# Remember in the page which events the server has acknowledged (what a person saw being counted), and how many
# requests broke because the server died under them.
REMEMBER = """
window.acked = [];
window.broken = 0;
const realFetch = window.fetch;
window.fetch = async (path, options) => {
  try {
    const response = await realFetch(path, options);
    if (response.ok && String(path).endsWith("api/events")) {
      const answer = response.clone();
      await answer.json();
      window.acked.push(JSON.parse(options.body).uid);
    }
    return response;
  } catch (error) {
    window.broken += 1;
    throw error;
  }
};
"""


class Killer(threading.Thread):
    """Kill the server again and again, each time soon after it has taken an event; start it at once."""

    def __init__(self, running, *, times, seed):
        super().__init__()
        self.running, self.times, self.chance = running, times, random.Random(seed)
        self.kills, self.fault = 0, None

    def _taken(self):
        connection = sqlite3.connect(f"file:{self.running.folder.grades}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT count(*) FROM events").fetchone()[0]
        finally:
            connection.close()

    def run(self):
        try:
            while self.kills < self.times:
                before, deadline = self._taken(), time.monotonic() + 3
                while self._taken() == before and time.monotonic() < deadline:
                    time.sleep(0.005)
                # Half of the kills at any moment, half when the next press is due and its request under way.
                time.sleep(self.chance.choice([self.chance.uniform(0, 0.3), self.chance.uniform(0.24, 0.3)]))
                self.running.kill()
                self.kills += 1
                self.running.start()
        except BaseException as error:
            self.fault = error


def test_a_hundred_kills_lose_nothing_and_count_nothing_twice(tmp_path, server, browser):
    folder = make_folder(tmp_path / "tiny", distinct_samples(prompts=100))
    running = server(folder)
    page = browser.new_page()
    page.add_init_script(REMEMBER)
    page.goto(running.url)
    begin(page)
    chance, killer, began = random.Random(0), Killer(running, times=KILLS, seed=1), time.monotonic()
    killer.start()
    while killer.is_alive():
        page.keyboard.press(chance.choice(["j", "j", "f", "f", "Space", "u"]))
        page.wait_for_timeout(15)
    seconds = time.monotonic() - began
    assert killer.fault is None and killer.kills == KILLS
    page.wait_for_function("() => !document.getElementById('trouble').textContent")
    page.wait_for_timeout(300)
    acked, broken, shown = page.evaluate("window.acked"), page.evaluate("window.broken"), graded(page)
    page.close()
    running.stop()

    stored = [event.uid for _, event in read_events(folder)]
    print(f"\n{KILLS} kills in {seconds:.0f} s: {len(acked)} events acknowledged, {len(stored)} stored; ", end="")
    print(f"{broken} requests broke")
    assert len(acked) >= KILLS and broken >= 10, "the kills met too little grading to mean anything"
    assert len(set(acked)) == len(acked)
    assert sorted(stored) == sorted(acked)  # nothing acknowledged is lost, nothing is there twice
    grades = read_grades(folder)
    assert len({(g.rater, g.item_id) for g in grades}) == len(grades) == shown
    assert sqlite3.connect(folder.grades).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_full_disk_is_said_and_the_grade_kept_until_it_can_be_written(tmp_path, server, open_page):
    folder = make_folder(tmp_path / "tiny", distinct_samples(prompts=2))
    running = server(folder)
    page = open_page(running.url, allow=("507",))
    begin(page)
    press(page, "j")
    # No file of the server may grow any more: what a full disk is to it. The limit is lifted again below.
    log = folder.grades.with_name(folder.grades.name + "-wal")
    _, hard = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
    page.wait_for_timeout(260)
    before = page.locator("#sample-name").inner_text()
    page.keyboard.press("f")
    says(page, "trouble", "Not written: the disk")
    assert "kept on this page" in page.locator("#trouble").inner_text()
    assert page.locator("#sample-name").inner_text() == before and graded(page) == 1
    assert len(read_events(folder)) == 1
    page.wait_for_timeout(700)  # several attempts later nothing has changed
    assert len(read_events(folder)) == 1
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    page.wait_for_function("() => document.getElementById('progress-text').textContent.startsWith('2 ')")
    assert page.locator("#trouble").inner_text() == ""
    assert [g.value for g in read_grades(folder)] == ["good", "bad"]


def test_a_grade_that_could_not_be_delivered_survives_the_page(tmp_path, server, open_page):
    folder = make_folder(tmp_path / "tiny", distinct_samples(prompts=2))
    running = server(folder)
    page = open_page(running.url, allow=("ERR_CONNECTION",))
    begin(page)
    running.kill()
    page.wait_for_timeout(260)
    page.keyboard.press("f")
    says(page, "trouble", "does not answer")
    context = page.context
    page.close()  # the tab is gone, the grade was never written
    assert read_grades(folder) == ()
    running.start()
    again = open_page(running.url, context=context)
    again.wait_for_selector("#start:not([hidden])")
    again.get_by_role("button", name="Go on as Anna").click()
    again.wait_for_selector("#grading:not([hidden])")
    assert graded(again) == 1
    assert [g.value for g in read_grades(folder)] == ["bad"]


def test_a_jumping_clock_disturbs_neither_order_nor_times(tmp_path, server, browser):
    folder = make_folder(tmp_path / "tiny", distinct_samples(prompts=2))
    page = browser.new_page()
    page.add_init_script(
        "let jump = 0; const real = Date.now; "
        "Date.now = () => real() + (jump = -3 * jump + 3600000); "
        "const iso = Date.prototype.toISOString; "
        "Date.prototype.toISOString = function () { return iso.call(new Date(Date.now() % 4e12)); };"
    )
    page.goto(server(folder).url)
    begin(page)
    for key in "jff":
        press(page, key)
    page.keyboard.press("u")
    page.wait_for_function("() => document.getElementById('progress-text').textContent.startsWith('2 ')")
    page.close()
    events = [event for _, event in read_events(folder)]
    assert [e.kind for e in events] == ["grade"] * 3 + ["undo"]
    assert len({e.client_at[:13] for e in events}) > 1, "the clock did not jump"
    assert [g.value for g in read_grades(folder)] == ["good", "bad"]
    assert all(0.2 < e.shown_ms / 1000 < 60 for e in events[:3])


def test_locking_while_a_page_is_open_is_said_and_nothing_is_added(tmp_path, server, open_page):
    from finetrial.judging.unblinding import lock

    folder = make_folder(tmp_path / "tiny", distinct_samples(prompts=2))
    page = open_page(server(folder).url, allow=("423",))
    begin(page)
    press(page, "j")
    assert lock(folder)
    page.wait_for_timeout(260)
    page.keyboard.press("f")
    says(page, "trouble", "Not counted: the grades are locked")
    assert [g.value for g in read_grades(folder)] == ["good"]
