"""The real server in a process of its own, started in milliseconds and killed without warning."""

import json
import multiprocessing
import os
import signal
import socket
import time

from finetrial.judging.server import serve


def _run(folder, port, mode, raters, path):
    def ready(address):
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps({"url": address.url, "raters": address.raters, "progress": address.progress}))
        partial.replace(path)

    serve(folder, port=port, mode=mode, raters=raters, on_ready=ready)


# A fork server that has imported everything: the process under test is real, its start is cheap.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["finetrial.judging.server"])


class GradingServer:
    """One trial's page. `kill` is SIGKILL; `start` afterwards serves the same address."""

    def __init__(self, folder, *, mode="single", raters=()):
        self.folder, self.mode, self._raters = folder, mode, raters
        self._ready = folder.root / "address.json"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = None

    def start(self):
        self._ready.unlink(missing_ok=True)
        self.process = _context.Process(
            target=_run, args=(self.folder, self.port, self.mode, self._raters, self._ready), daemon=True
        )
        self.process.start()
        deadline = time.monotonic() + 20
        while not self._ready.exists():
            assert self.process.is_alive() and time.monotonic() < deadline, "the server did not start"
            time.sleep(0.002)
        address = json.loads(self._ready.read_text())
        self.url, self.links, self.progress = address["url"], address["raters"], address["progress"]
        return self

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()

    def stop(self):
        if self.process is not None and self.process.is_alive():
            self.process.terminate()
            self.process.join(5)
            if self.process.is_alive():
                self.kill()
