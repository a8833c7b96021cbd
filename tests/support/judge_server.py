"""A local server that speaks chat completions, and misbehaves as it is told to."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class JudgeServer:
    """Answers by `answer(user text or prompt, body) -> words`; `faults` are taken one a request, before it does.

    A fault is a status such as 429, or one of: half (the body breaks off), nonsense (no JSON), empty (no choices),
    hang (silent until released), words (an answer that is not of the form asked for), drop (the line is cut).
    `refused_formats` maps types of a response_format that it does not know to the status that it then sends.
    """

    def __init__(self, answer, faults=(), *, refused_formats=None, usage=True, headers=None):
        self.answer, self.faults, self.usage = answer, list(faults), usage
        self.refused_formats = refused_formats or {}
        self.headers = headers or {}
        self.seen = []  # (headers, body) of every request
        self.under_way = self.most_under_way = 0
        self.delay_seconds = 0.0
        self.lock = threading.Lock()
        self.released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server.lock:
                    server.seen.append((dict(self.headers), body))
                    server.under_way += 1
                    server.most_under_way = max(server.most_under_way, server.under_way)
                    fault = server.faults.pop(0) if server.faults else None
                try:
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        self.respond(body, fault)
                finally:
                    with server.lock:
                        server.under_way -= 1

            def respond(self, body, fault):
                time.sleep(server.delay_seconds)
                refused = server.refused_formats.get(body.get("response_format", {}).get("type"))
                if refused is not None:
                    return self.send(refused, b'{"error": "unknown value in response_format"}')
                if isinstance(fault, int):
                    said = json.dumps({"error": f"no, {self.headers.get('Authorization')}"})
                    return self.send(fault, said.encode(), server.headers)
                if fault == "hang":
                    server.released.wait(30)
                    return None
                if fault == "drop":
                    return self.connection.close()
                if fault == "nonsense":
                    return self.send(200, b"<html>gateway</html>")
                if fault == "empty":
                    return self.send(200, b'{"choices": []}')
                is_chat = "messages" in body
                asked = body["messages"][-1]["content"] if is_chat else body["prompt"]
                words = "I like it" if fault == "words" else server.answer(asked, body)
                said = {"message": {"role": "assistant", "content": words}} if is_chat else {"text": words}
                content = {
                    "model": "served",
                    "choices": [{**said, "finish_reason": "stop"}],
                    **({"usage": {"prompt_tokens": 100, "completion_tokens": 10}} if server.usage else {}),
                }
                raw = json.dumps(content).encode()
                return self.send(200, raw[: len(raw) // 2] if fault == "half" else raw, announced=len(raw))

            def send(self, status, raw, headers=None, announced=None):
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(raw) if announced is None else announced))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def close(self):
        self.released.set()
        self.http.shutdown()
        self.http.server_close()


def likes_version_0(user, body):
    """Calls a text good that ends in version 0, and of a pair the one that does, else the first."""
    if "ANSWER B:" in user:
        a, b = user.split("ANSWER A:\n", 1)[1].split("\n\nANSWER B:\n")
        better = "A" if a.endswith("version 0") else "B" if b.endswith("version 0") else "A"
        return json.dumps({"note": "seen", "better": better})
    good = user.endswith("version 0")
    grade = (5 if good else 2) if "1 to 5" in body["messages"][0]["content"] else "good" if good else "bad"
    return json.dumps({"note": "seen", "reasons": [] if good else ["off_task"], "grade": grade})
