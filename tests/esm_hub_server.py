"""A Hugging Face hub of one's own, on this machine, or any store of files, as a download sees it; faults on demand."""

import hashlib
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c731040fcd8d73dceaa04b0a8e6329b345b0f5df"


class Hub:
    """What the server has and does.

    `files` holds contents by "owner/name/file". Those named in `stored` are large files: they redirect to a store, as
    on the hub; all files are in the store, at /store/NAME. `cuts` is a list of byte counts: each download takes the
    first of them and breaks off after so many bytes. `log` holds method, path and Range of each request, `times` when
    each came.
    """

    def __init__(self, files, stored=("model.safetensors", "pytorch_model.bin")):
        self.files, self.stored = dict(files), stored
        self.cuts, self.log, self.times = [], [], []
        self.ranges = True  # whether parts can be asked for
        self.status = {}  # path -> the error that it answers with; of a list, one at a time, and then the file
        self.retry_after = None  # said with each error
        self.slow = 0.0  # seconds before each answer
        self.busy = self.busiest = 0  # requests at a time: now, and at most
        self.pause = None  # an event to wait for after the last of the cuts, before breaking off
        self.corrupt = False
        self.commit = COMMIT
        self.address = ""
        self.lock = threading.Lock()

    def requests(self, method="GET"):
        return [(path, part) for each, path, part in self.log if each == method]


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serve(files, **options):
    """Run a hub until the block ends."""
    hub = Hub(files, **options)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer("HEAD")

        def do_GET(self):
            self.answer("GET")

        def answer(self, method):
            with hub.lock:
                hub.busy += 1
                hub.busiest = max(hub.busiest, hub.busy)
                hub.times.append(time.monotonic())
                hub.log.append((method, self.path, self.headers.get("Range")))
                status = hub.status.get(self.path)
                if isinstance(status, list):
                    status = status.pop(0) if status else None
            threading.Event().wait(hub.slow)
            with hub.lock:  # before the answer: who has it may already ask for more
                hub.busy -= 1
            self.respond(method, status)

        def respond(self, method, status):
            part = self.headers.get("Range")
            if status is not None:
                return self.head(status, {"Retry-After": hub.retry_after} if hub.retry_after else {})
            if self.path.startswith("/store/"):
                stored = self.path[len("/store/") :]
                return (
                    self.send(method, hub.files[stored], part) if stored in hub.files else self.head(404, {})
                )
            match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/([^/]+)", self.path)
            name = match and f"{match[1]}/{match[3]}"
            if not match or match[2] not in ("main", hub.commit) or name not in hub.files:
                return self.head(404, {})
            content = hub.files[name]
            if match[3] not in hub.stored:
                headers = {"ETag": f'"{git_sha1(content)}"', "X-Repo-Commit": hub.commit}
                return self.send(method, content, part, headers)
            return self.head(
                302,
                {
                    "X-Linked-Size": str(len(content)),
                    "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                    "X-Repo-Commit": hub.commit,
                    "Location": f"/store/{name}",
                },
            )

        def head(self, status, headers, length=0):
            self.send_response(status)
            for name, value in {"Content-Length": str(length), **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def send(self, method, content, part, headers=None):
            if hub.corrupt:
                content = bytes(len(content))
            start = int(part[6:-1]) if part and hub.ranges else 0
            body = content[start:]
            self.head(206 if part and hub.ranges else 200, headers or {}, len(body))
            if method == "HEAD":
                return
            if not hub.cuts:
                self.wfile.write(body)
                return
            self.wfile.write(body[: hub.cuts.pop(0)])
            self.wfile.flush()
            if hub.pause is not None and not hub.cuts:
                hub.pause.wait(30)
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a client that goes away is what is tested
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        if hub.pause is not None:
            hub.pause.set()
        server.shutdown()
        thread.join()
        server.server_close()


def checkpoint_files(hub_id, folder):
    """Return a checkpoint folder as the files of a model on the hub."""
    return {f"{hub_id}/{path.name}": path.read_bytes() for path in folder.iterdir()}
