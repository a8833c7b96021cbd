"""A hub on this machine: it answers what huggingface_hub asks when it makes a repository and sends a folder.

It speaks the hub's own protocol (repos/create, preupload, commit as lines of JSON) to the real library.
"""

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LocalHub:
    """Keeps what was made and sent. `refuse` is a status with which every request is answered."""

    def __init__(self, *, token: str, refuse: int | None = None) -> None:
        self.token, self.refuse = token, refuse
        self.made: list[dict] = []
        self.files: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def _answer(self, content, status=200):
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _handle(self):
                size = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(size)
                hub.requests.append(f"{self.command} {self.path}")
                if hub.refuse is not None:
                    return self._answer({"error": "not allowed here"}, hub.refuse)
                if self.headers.get("authorization") != f"Bearer {hub.token}":
                    return self._answer({"error": "Invalid credentials"}, 401)
                return self._answer(*hub.answer(self.path.split("?")[0], body))

            do_GET = do_POST = do_HEAD = _handle

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, path: str, body: bytes) -> tuple:
        if path == "/api/repos/create":
            asked = json.loads(body)
            # `visibility` since huggingface_hub 2, `private` before
            self.made.append(
                asked | {"private": asked.get("visibility") == "private" or asked.get("private", False)}
            )
            where = {"model": "", "space": "spaces/"}[asked.get("type") or "model"]
            return ({"url": f"{self.url}/{where}{asked['organization']}/{asked['name']}"},)
        if path == "/api/validate-yaml":
            return ({"errors": [], "warnings": []},)
        if found := re.fullmatch(r"/api/(\w+)/([^/]+/[^/]+)/preupload/main", path):
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            return ({"files": files},)
        if found := re.fullmatch(r"/api/(\w+)/([^/]+/[^/]+)/commit/main", path):
            kept = self.files.setdefault(f"{found[1]}/{found[2]}", {})
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    kept[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            place = f"{found[1]}/{found[2]}".removeprefix("models/")
            commit = "0" * 40
            return (
                {"commitUrl": f"{self.url}/{place}/commit/{commit}", "commitOid": commit, "commitMessage": "x"},
            )
        return ({"error": f"not found: {path}"}, 404)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
