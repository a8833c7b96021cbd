"""Who may reach the page, what it says to whom, and what its process reads."""

import base64
import json
import subprocess
import sys

import pytest
from grading_material import ARMS, distinct_samples, make_folder
from starlette.testclient import TestClient

from finetrial.errors import UserError
from finetrial.grading.desk import Desk
from finetrial.grading.server import bind, build_app, serve
from finetrial.store.grades import read_events
from finetrial.store.layout import TrialFolder

HOST = "127.0.0.1:8757"


@pytest.fixture
def client(folder):
    desk = Desk(folder)
    token = desk.book.token()
    app = build_app(desk, token=token, hosts=frozenset({HOST}), folder=str(folder.root))
    client = TestClient(app, base_url=f"http://{HOST}")
    client.page = f"/t/{token}/"
    yield client
    desk.close()


def join(client, name="Anna"):
    return client.post(client.page + "api/join", json={"rater": name})


def test_the_page_and_all_its_files_come_from_here_alone(client):
    page = client.get(client.page)
    assert page.status_code == 200 and "tiny" in page.text
    assert "http://" not in page.text.replace("http://www.w3.org/2000/svg", "") and "https://" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for name in ("page.css", "text.js", "transport.js", "session.js", "cards.js", "summary.js", "page.js"):
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
    join(client)
    event = {"uid": "uid-000001", "rater": "Anna", "kind": "grade", "item_id": "x", "value": "good"}
    assert client.post(client.page + "api/events", json=event, headers=headers).status_code == 403
    assert read_events(folder) == ()


def test_the_page_s_own_origin_is_welcome(client):
    own = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
    assert client.post(client.page + "api/join", json={"rater": "Anna"}, headers=own).status_code == 200


def test_nothing_the_page_hears_names_an_arm_of_a_text(client):
    joined = join(client).json()
    heard = json.dumps(joined)
    for number in range(len(joined["blocks"])):
        heard += client.get(client.page + f"api/block?rater=Anna&n={number}").text
    assert not any(arm in heard for arm in ARMS) and "p0" not in heard
    start = client.get(client.page + "api/start").json()
    assert start["arms"] == sorted(ARMS)  # the names alone, for the guesses at the end


def test_every_rater_gets_an_order_of_their_own(client):
    assert join(client, "Anna").json()["blocks"] != join(client, "Ben").json()["blocks"]
    assert join(client, "Anna").json()["blocks"] == join(client, "ANNA").json()["blocks"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"not json", 400), (b"[]", 400), (b"{}", 400), (b'{"kind": "grade"}', 400), (b"x" * 200_000, 400)],
)
def test_what_makes_no_sense_is_a_plain_error(client, body, status):
    answer = client.post(client.page + "api/events", content=body)
    assert answer.status_code == status and answer.json()["error"]["what"]


def test_unknown_blocks_and_raters_are_plain_errors(client):
    join(client)
    for query in ("rater=Anna&n=99", "rater=Anna&n=-1", "rater=Anna&n=x", "rater=Nobody&n=0", ""):
        assert client.get(client.page + "api/block?" + query).status_code == 400


def test_locked_grades_answer_423(client, folder):
    join(client)
    desk = Desk(folder)
    desk.book.lock()
    item = next(iter(desk.items))
    desk.close()
    event = {"uid": "uid-000001", "rater": "Anna", "kind": "grade", "item_id": item, "value": "good"}
    assert client.post(client.page + "api/events", json=event).status_code == 423


def test_another_address_needs_its_password(folder, monkeypatch):
    with pytest.raises(UserError, match="needs a password"):
        serve(folder, host="0.0.0.0", on_ready=lambda address: None)
    monkeypatch.setattr("finetrial.grading.server.WRONG_PASSWORD_SECONDS", 0.0)
    desk = Desk(folder)
    token = desk.book.token()
    client = TestClient(
        build_app(desk, token=token, hosts=None, password="tuba ü"), base_url="http://grader.example"
    )

    def knock(password):
        header = base64.b64encode(f"anyone:{password}".encode()).decode()
        return client.get(f"/t/{token}/", headers={"authorization": f"Basic {header}"}).status_code

    refused = client.get(f"/t/{token}/")
    assert refused.status_code == 401 and "Basic" in refused.headers["www-authenticate"]
    assert (knock("wrong"), knock(""), knock("tuba ü")) == (401, 401, 200)
    assert client.get(f"/t/{token}/", headers={"authorization": "Basic !!"}).status_code == 401
    desk.close()


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
from finetrial.grading.server import serve
from finetrial.store.layout import TrialFolder
folder = TrialFolder(Path(sys.argv[1]))

def visit(address):
    def ask():
        import json, os, signal
        def post(path, body):
            request = urllib.request.Request(address.url + path, json.dumps(body).encode())
            return json.loads(urllib.request.urlopen(request).read())
        urllib.request.urlopen(address.url).read()
        urllib.request.urlopen(address.url + "api/start").read()
        joined = post("api/join", {"rater": "Anna"})
        urllib.request.urlopen(address.url + "api/block?rater=Anna&n=0").read()
        post("api/events", {"uid": "uid-000001", "rater": "Anna", "kind": "grade", "value": "good",
                            "item_id": joined["blocks"][0][0]})
        for path in opened:
            if path.startswith((str(folder.root), "file:" + str(folder.root))):
                print(Path(path).name)
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
    desk = Desk(folder)
    desk.book.join("Anna")
    item = next(iter(desk.items))
    desk.record({"uid": "uid-000001", "rater": "Anna", "kind": "grade", "item_id": item, "value": "good"})
    desk.close()
    assert len(read_events(folder)) == 1


def test_nothing_to_grade_is_said(tmp_path):
    with pytest.raises(UserError, match="nothing to grade"):
        Desk(TrialFolder(tmp_path))
    make_folder(tmp_path, distinct_samples(), grade_prompts=0)
    with pytest.raises(UserError, match="set aside"):
        Desk(TrialFolder(tmp_path))
