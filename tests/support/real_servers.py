"""Real servers of a real model on this machine, and a counter in front of them."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_START_SECONDS = 300


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def _running(command, *, port, alive):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            assert process.poll() is None and time.monotonic() < deadline, "the server did not start"
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}{alive}", timeout=5).close()
                break
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def transformers_serve(folder):
    """`transformers serve` with the model of a folder; the address of its API."""
    port = _free_port()
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve"]
    command += [str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    return _running(command, port=port, alive="/health")


def llama_cpp_server(gguf, *, alias):
    """llama-cpp-python's server with a GGUF file, which holds answers to a JSON schema."""
    port = _free_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(gguf), "--model_alias", alias]
    command += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "1024", "--n_threads", "1"]
    return _running([*command, "--interrupt_requests", "False"], port=port, alive="/v1/models")


class CountingProxy:
    """Hands requests on to a server, and keeps of each what was asked and the status that it got."""

    def __init__(self, url):
        self.asked = []  # [messages as JSON, status; None: under way]
        lock, server, target = threading.Lock(), self, urlsplit(url)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                row = [json.dumps(json.loads(raw)["messages"]), None]
                with lock:
                    server.asked.append(row)
                line = http.client.HTTPConnection(target.hostname, target.port, timeout=600)
                line.request("POST", self.path, raw, {"Content-Type": "application/json"})
                answer = line.getresponse()
                content, row[1] = answer.read(), answer.status
                line.close()
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who asked was killed
                    self.send_response(row[1])
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *args):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}{target.path}"

    @property
    def not_refused(self):
        """The questions that the server answered or has under way, as often as it got them."""
        return [messages for messages, status in self.asked if status is None or status < 400]

    def close(self):
        self._http.shutdown()
        self._http.server_close()
