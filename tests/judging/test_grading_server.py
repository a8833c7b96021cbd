"""Who may reach the page, what it says to whom, and what its process reads."""

import base64
import json
import subprocess
import sys

import pytest
from grading_material import ARMS, distinct_samples, make_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from finetrial.errors import UserError
from finetrial.judging.grading_session import GradingSession
from finetrial.judging.page_content import SCRIPTS
from finetrial.judging.server import address_of, bind, build_app, serve
from finetrial.store.grades import read_events, read_grades
from finetrial.store.layout import TrialFolder

HOST = "127.0.0.1:8757"


@pytest.fixture
def session(folder):
    session = GradingSession(folder)
    yield session
    session.close()


def browser(session, **options):
    """One browser with its own cookies before the real application."""
    options = {"hosts": frozenset({HOST}), "folder": str(session.folder.root), **options}
    client = TestClient(build_app(session, token=session.book.token(), **options), base_url=f"http://{HOST}")
    client.page = f"/t/{session.book.token()}/"
    return client


@pytest.fixture
def client(session):
    return browser(session)


def join(client, name="Anna", kind="person"):
    """Enter by the shared address and begin by the own link; returns its path and what it says."""
    entered = client.post(client.page + "api/join", json={"rater": name, "rater_kind": kind})
    assert entered.status_code == 200, entered.text
    own = entered.json()["link"].removeprefix("../..")
    return own, begin(client, own).json()


def begin(client, own, **declared):
    return client.post(own + "api/begin", json=declared)


def grade(client, own, item, value="good", uid="uid-000001"):
    event = {"uid": uid, "kind": "grade", "item_id": item, "value": value}
    return client.post(own + "api/events", json=event)


def test_the_page_and_all_its_files_come_from_here_alone(client):
    page = client.get(client.page)
    assert page.status_code == 200 and "tiny" in page.text
    assert "http://" not in page.text.replace("http://www.w3.org/2000/svg", "") and "https://" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for name in ("page.css", *SCRIPTS):
        assert f"static/{name}" in page.text
        answer = client.get(client.page + "static/" + name)
        assert answer.status_code == 200
        assert "innerHTML" not in answer.text and "insertAdjacentHTML" not in answer.text


@pytest.mark.parametrize("path", ["/", "/t/wrong/", "/t/wrong/api/start", "/t//", "/static/page.js"])
def test_without_the_token_there_is_nothing(client, path):
    assert client.get(path).status_code == 404


def test_files_beside_the_page_s_own_are_out_of_reach(client):
    for name in ("../page.py", "..%2fpage.py", "%2e%2e/page.py", "page.py", "/etc/passwd"):
        assert client.get(client.page + "static/" + name).status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8757", "127.0.0.1:1", ""])
def test_another_host_s_name_is_refused(client, host):
    # DNS rebinding: a foreign name that resolves to this machine.
    assert client.get(client.page, headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_requests_from_elsewhere_are_refused(client, folder, headers):
    own, joined = join(client)
    event = {"uid": "uid-000001", "kind": "grade", "item_id": joined["blocks"][0][0], "value": "good"}
    assert client.post(own + "api/events", json=event, headers=headers).status_code == 403
    assert read_events(folder) == ()


def test_a_link_in_a_mail_may_be_followed_and_nothing_else_may(client):
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get(client.page, headers=followed).status_code == 200
    framed = {**followed, "sec-fetch-dest": "iframe"}
    assert client.get(client.page, headers=framed).status_code == 403
    assert client.post(client.page + "api/join", json={"rater": "A"}, headers=followed).status_code == 403


def test_the_page_s_own_origin_is_welcome(client):
    own = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
    entry = {"rater": "Anna", "rater_kind": "person"}
    assert client.post(client.page + "api/join", json=entry, headers=own).status_code == 200


def test_nothing_the_page_hears_names_an_arm_of_a_text(client):
    own, joined = join(client)
    heard = json.dumps(joined)
    for number in range(len(joined["blocks"])):
        heard += client.get(own + f"api/block?n={number}").text + client.get(own + f"api/formatted?n={number}").text
    assert not any(arm in heard for arm in ARMS) and "p0" not in heard
    start = client.get(client.page + "api/start").json()
    assert start["arms"] == sorted(ARMS)  # the names alone, for the guesses at the end


def test_every_rater_gets_an_order_of_their_own_and_keeps_it(client, session):
    own, anna = join(client, "Anna")
    assert join(browser(session), "Ben")[1]["blocks"] != anna["blocks"]
    assert begin(client, own).json()["blocks"] == anna["blocks"]  # a reload


# Whose link it is


def test_a_name_belongs_to_whoever_began_with_it(client, session, folder):
    join(client, "Anna")
    other = browser(session)
    refused = other.post(other.page + "api/join", json={"rater": " anna ", "rater_kind": "person"})
    assert refused.status_code == 409 and "Anna grades already" in refused.json()["error"]["what"]
    assert join(client, "ANNA")[0] == join(client, "Anna")[0]  # from her own browser it is her again
    assert [rater.name for rater in session.book.raters()] == ["Anna"]


def test_a_link_that_is_passed_on_continues_nothing(client, session, folder):
    own, joined = join(client, "Anna")
    item = joined["blocks"][0][0]
    assert grade(client, own, item).status_code == 200
    other = browser(session)
    join(other, "Ben")  # a rater of his own, with cookies of his own
    said = other.get(own + "api/start").json()
    assert said["elsewhere"] is True and said["theirs"] is False
    assert begin(other, own, rater_kind="person").status_code == 409
    assert grade(other, own, item, value="bad", uid="uid-000002").status_code == 409
    assert other.get(own + "api/block?n=0").status_code == 409
    assert other.get(own + "api/changes?after=0").status_code == 409
    assert [event.value for _, event in read_events(folder)] == ["good"]


def test_the_owner_lets_one_more_browser_in_and_only_one(client, session):
    own, _ = join(client, "Anna")
    session.book.let_in("anna")
    second, third = browser(session), browser(session)
    assert begin(second, own).status_code == 200
    assert begin(third, own).status_code == 409
    assert begin(client, own).status_code == 200  # the first one goes on, too
    with pytest.raises(UserError, match="unknown rater"):
        session.book.let_in("Nobody")


def test_the_shared_address_knows_only_those_who_began_in_this_browser(client, session):
    own, _ = join(client, "Anna")
    known = client.get(client.page + "api/start").json()["raters"]
    assert [(k["name"], k["link"].removeprefix("../..")) for k in known] == [("Anna", own)]
    stranger = browser(session).get(client.page + "api/start").json()
    assert stranger["raters"] == [] and "Anna" not in json.dumps(stranger)


def test_a_link_survives_a_restart_and_is_guessed_by_nobody(client, session, folder):
    own, _ = join(client, "Anna")
    again = GradingSession(folder)
    restarted = browser(again)
    restarted.cookies = client.cookies
    assert begin(restarted, own).status_code == 200
    again.close()
    assert len(own) > 20 and client.get("/r/" + "x" * 22 + "/").status_code == 404
    assert client.get(own.replace("/r/", "/o/")).status_code == 404  # a rater's key opens no other door


def test_an_event_counts_for_the_rater_of_the_link_whatever_it_says(client, session, folder):
    own, joined = join(client, "Anna")
    join(browser(session), "Ben")
    event = {"uid": "uid-000001", "kind": "grade", "item_id": joined["blocks"][0][0], "value": "good"}
    assert client.post(own + "api/events", json={**event, "rater": "Ben"}).status_code == 200
    assert [event.rater for _, event in read_events(folder)] == ["Anna"]


def test_an_event_of_another_rater_cannot_be_asked_after(client, session):
    anna, joined = join(client, "Anna")
    grade(client, anna, joined["blocks"][0][0], uid="uid-of-anna")
    other = browser(session)
    ben, _ = join(other, "Ben")
    answer = grade(other, ben, joined["blocks"][0][0], uid="uid-of-anna", value="bad")
    assert answer.status_code == 400 and "another rater" in answer.json()["error"]["what"]


# What a rater is


def test_who_grades_is_declared_and_stands_with_every_grade(client, session, folder):
    entry = {"rater": "Anna"}
    for kind in (None, "", "robot", ["person"], 1):
        assert client.post(client.page + "api/join", json={**entry, "rater_kind": kind}).status_code == 400
    assert session.book.raters() == ()
    own, joined = join(client, "Anna")
    grade(client, own, joined["blocks"][0][0])
    stand_in = browser(session)
    stand_in_own, there = join(stand_in, "Second", kind="stand-in")
    grade(stand_in, stand_in_own, there["blocks"][0][0], uid="uid-000002")
    assert [(g.rater, g.rater_kind) for g in read_grades(folder)] == [("Anna", "person"), ("Second", "stand-in")]


def test_a_link_made_beforehand_asks_what_the_rater_is(session, client):
    session.book.join("Clara")
    own = f"/r/{session.book.key_for('rater', 'Clara')}/"
    assert client.get(own + "api/start").json()["kind"] is None
    assert begin(client, own).status_code == 400
    assert begin(client, own, rater_kind="person").status_code == 200
    assert begin(client, own).json()["kind"] == "person"


# What makes no sense


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"kind": "grade"}', 400),
        (b"x" * 200_000, 400),
        (b"[" * 90_000, 400),
        (b'{"uid": "\\ud800aaaaaaaa", "kind": "grade", "item_id": "x", "value": "good"}', 400),
        (b'{"uid": "uid-000001", "kind": "grade", "item_id": ["x"], "value": "good"}', 400),
        (b'{"uid": "uid-000001", "kind": {}, "mode": [], "item_id": {}, "value": null}', 400),
    ],
)
def test_what_makes_no_sense_is_a_plain_error(client, body, status):
    own, _ = join(client)
    answer = client.post(own + "api/events", content=body)
    assert answer.status_code == status and answer.json()["error"]["what"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters()) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    "uid",
    "kind",
    "mode",
    "item_id",
    "occurrence",
    "value",
    "reasons",
    "note",
    "position",
    "shown_ms",
    "after",
    "undoes",
    "left",
    "client_at",
]


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    """A server that is asked many odd things in a row."""
    session = GradingSession(make_folder(tmp_path_factory.mktemp("odd") / "tiny", distinct_samples(prompts=1)))
    client = browser(session)
    own, joined = join(client)
    yield client, own, joined["blocks"][0][0]
    session.close()


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.booleans())
def test_no_event_of_any_shape_breaks_the_server(standing, odd, whole):
    client, own, item = standing
    usual = {"uid": "uid-00000000", "kind": "grade", "item_id": item, "value": "good"} if whole else {}
    answer = client.post(own + "api/events", content=json.dumps({**usual, **odd}).encode())
    assert answer.status_code in (200, 400), answer.text


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(("n", "after")), st.text() | st.from_regex(r"[0-9]{1,6000}", fullmatch=True))
def test_no_query_of_any_shape_breaks_the_server(standing, name, value):
    client, own, _ = standing
    for path in ("block", "formatted", "changes"):
        assert client.get(own + f"api/{path}", params={name: value}).status_code in (200, 400)


def test_unknown_blocks_are_plain_errors(client):
    own, _ = join(client)
    for query in ("n=99", "n=-1", "n=x", "n=1e0", "n=%D9%A3", "n=" + "9" * 6000, ""):
        assert client.get(own + "api/block?" + query).status_code == 400
    assert client.get(own + "api/changes?after=" + "9" * 30).status_code == 400


def test_locked_grades_answer_423(client, folder, session):
    own, joined = join(client)
    session.book.lock()
    assert grade(client, own, joined["blocks"][0][0]).status_code == 423


def test_a_database_that_breaks_meanwhile_is_named_and_the_grade_may_come_again(client, session, folder):
    own, joined = join(client)
    session.book.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = folder.grades.stat().st_size
    with folder.grades.open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff" * (size - 100))
    session.book.connection.execute("PRAGMA shrink_memory")
    answer = grade(client, own, joined["blocks"][0][0])
    assert answer.status_code in (503, 507)
    assert "grades.sqlite is damaged" in answer.json()["error"]["what"]


# The password


def knock(client, password, *, user="anyone"):
    header = base64.b64encode(f"{user}:{password}".encode()).decode()
    return client.get(client.page, headers={"authorization": f"Basic {header}"}).status_code


def strangers(session, n, clock):
    """So many browsers at once before one server with a password."""
    app = build_app(session, token=session.book.token(), hosts=None, password="tuba ü")
    app._password._clock = clock
    clients = [TestClient(app, base_url="http://grader.example") for _ in range(n)]
    for client in clients:
        client.page = f"/t/{session.book.token()}/"
    return clients


def test_another_address_needs_its_password(folder, session):
    with pytest.raises(UserError, match="needs a password"):
        serve(folder, host="0.0.0.0", on_ready=lambda address: None)
    (client,) = strangers(session, 1, lambda: 0.0)
    refused = client.get(client.page)
    assert refused.status_code == 401 and "Basic" in refused.headers["www-authenticate"]
    assert (knock(client, "wrong"), knock(client, ""), knock(client, "tuba ü")) == (401, 401, 200)
    client.cookies.clear()
    assert client.get(client.page, headers={"authorization": "Basic !!"}).status_code == 401
    assert client.get(client.page, headers={"cookie": "finetrial-door=x"}).status_code == 401


def test_wrong_passwords_are_counted_over_all_connections(session):
    now = [0.0]
    clients = strangers(session, 12, lambda: now[0])
    inside = clients.pop()
    assert knock(inside, "tuba ü") == 200
    assert [knock(client, f"guess {n}") for n, client in enumerate(clients)] == [401] * 10 + [429]
    assert knock(clients[0], "tuba ü") == 429  # not even the right one: nothing is learned while it waits
    assert inside.get(inside.page).status_code == 200  # who is in stays in
    now[0] = 59.0
    assert knock(clients[1], "tuba ü") == 429
    now[0] = 60.0
    assert knock(clients[1], "tuba ü") == 200


def test_a_changed_password_closes_the_door_again(session):
    (client,) = strangers(session, 1, lambda: 0.0)
    assert knock(client, "tuba ü") == 200 and client.get(client.page).status_code == 200
    changed = TestClient(
        build_app(session, token=session.book.token(), hosts=None, password="cello"),
        base_url="http://grader.example",
    )
    changed.cookies = client.cookies
    assert changed.get(client.page).status_code == 401


# Addresses


def test_the_addresses_that_are_printed_can_be_opened(session):
    alone = address_of(session, host="127.0.0.1", port=8757)
    assert alone.others == () and alone.url == f"http://127.0.0.1:8757/t/{session.book.token()}/"
    wide = address_of(session, host="0.0.0.0", port=8757, raters=("Anna", "Ben"))
    assert wide.url.startswith("http://127.0.0.1:8757/t/")
    assert all("0.0.0.0" not in url and "127.0.0.1" not in url for url in wide.others)
    assert list(wide.raters) == ["Anna", "Ben"] and len(set(wide.raters.values())) == 2
    (named,) = address_of(session, host="192.168.7.9", port=1, raters=("Anna",)).raters.values()
    assert named.startswith("http://192.168.7.9:1/r/")
    assert address_of(session, host="::1", port=1).url.startswith("http://[::1]:1/t/")


def test_the_owner_sees_who_graded_how_much_and_no_arm(client, session):
    own, joined = join(client, "Anna <b>")
    grade(client, own, joined["blocks"][0][0])
    page = client.get(f"/o/{session.book.key_for('owner')}/")
    assert page.status_code == 200 and "1 of 45" in page.text and "Anna &lt;b&gt;" in page.text
    assert not any(f">{arm}<" in page.text or f"{arm}/" in page.text for arm in ARMS)
    assert client.get("/o/" + "x" * 22 + "/").status_code == 404


def test_a_port_that_is_taken_is_named():
    first = bind("127.0.0.1", port=None)
    with pytest.raises(UserError, match="another --port"):
        bind("127.0.0.1", port=first.getsockname()[1])
    second = bind("127.0.0.1", port=None)  # unless the choice is ours
    assert second.getsockname()[1] != first.getsockname()[1]
    first.close()
    second.close()


WATCH = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event in ("open", "sqlite3.connect") else None)
import threading, urllib.request
from pathlib import Path
from finetrial.judging.server import serve
from finetrial.store.layout import TrialFolder
folder = TrialFolder(Path(sys.argv[1]))

def visit(address):
    def ask():
        import http.cookiejar, json, os, signal, urllib.parse
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        opener = urllib.request.build_opener(jar)
        def post(path, body):
            request = urllib.request.Request(urllib.parse.urljoin(address.url, path), json.dumps(body).encode())
            return json.loads(opener.open(request).read())
        urllib.request.urlopen(address.url).read()
        urllib.request.urlopen(address.url + "api/start").read()
        entered = post("api/join", {"rater": "Anna", "rater_kind": "person"})
        page = urllib.parse.urljoin(address.url, entered["link"])
        joined = post(page + "api/begin", {})
        opener.open(page + "api/block?n=0").read()
        opener.open(page + "api/formatted?n=0").read()
        post(page + "api/events", {"uid": "uid-000001", "kind": "grade", "value": "good",
                                   "item_id": joined["blocks"][0][0]})
        opener.open(address.progress).read()
        for path in opened:
            if path.startswith((str(folder.root), "file:" + str(folder.root))):
                print(Path(path.partition("?")[0]).name)
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=ask).start()

try:
    serve(folder, on_ready=visit)
except KeyboardInterrupt:
    pass
"""


def test_the_serving_process_reads_items_and_grades_and_never_the_key(folder):
    """Blind by structure: every file that the process opens in the trial's folder, seen by Python's audit hook."""
    before = folder.key.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(folder.root)], capture_output=True, text=True, timeout=60
    )
    assert set(done.stdout.split()) == {"items.jsonl", "pairs.jsonl", "grades.sqlite"}, done.stderr
    assert len(read_events(folder)) == 1 and folder.key.read_bytes() == before


def test_grading_works_where_there_is_no_key_at_all(tmp_path):
    folder = make_folder(tmp_path, distinct_samples(prompts=1))
    folder.key.unlink()
    session = GradingSession(folder)
    session.book.join("Anna")
    item = next(iter(session.items))
    session.record({"uid": "uid-000001", "kind": "grade", "item_id": item, "value": "good"}, rater="Anna")
    session.close()
    assert len(read_events(folder)) == 1


def test_nothing_to_grade_is_said(tmp_path):
    with pytest.raises(UserError, match="nothing to grade"):
        GradingSession(TrialFolder(tmp_path))
    make_folder(tmp_path, distinct_samples(), grade_prompts=0)
    with pytest.raises(UserError, match="set aside"):
        GradingSession(TrialFolder(tmp_path))
