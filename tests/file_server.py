"""A server of files on this machine, with faults on demand: /store/NAME, and a Hugging Face hub (HF_ENDPOINT)."""

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c731040fcd8d73dceaa04b0a8e6329b345b0f5df"


class Server:
    """What the server has and does.

    `files` holds contents by name: "owner/model/file" for those of the hub. `cuts` is a list of byte counts: each
    download from the store takes the first of them and breaks off after so many bytes. `log` holds the path of each
    GET from the store.
    """

    def __init__(self, files):
        self.files = dict(files)
        self.cuts, self.log = [], []
        self.status = {}  # path -> the error that it answers with; of a list, one at a time, and then the file
        self.retry_after = None  # said with each error
        self.slow = 0.0  # seconds before each answer
        self.busy = self.busiest = 0  # requests at a time: now, and at most
        self.pause = None  # an event to wait for after the last of the cuts, before breaking off
        self.address = ""
        self.lock = threading.Lock()


@contextmanager
def serve(files):
    """Run a server until the block ends."""
    server = Server(files)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            with server.lock:
                server.busy += 1
                server.busiest = max(server.busiest, server.busy)
                server.log.append(self.path)
                status = server.status.get(self.path)
                if isinstance(status, list):
                    status = status.pop(0) if status else None
            threading.Event().wait(server.slow)
            with server.lock:  # before the answer: who has it may already ask for more
                server.busy -= 1
            if status is not None:
                return self.send(
                    b"", status, {"Retry-After": server.retry_after} if server.retry_after else {}
                )
            if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/.+", self.path):
                names = [
                    name[len(match[1]) + 1 :] for name in server.files if name.startswith(match[1] + "/")
                ]
                files = [
                    {"rfilename": name, "path": name, "type": "file", "oid": "", "size": 1} for name in names
                ]
                info = {"id": match[1], "sha": COMMIT, "siblings": files}
                document = info if match[2] == "revision" else files
                return self.send(json.dumps(document).encode(), 200 if names else 404)
            match = re.fullmatch(r"/store/(.+)", self.path)
            match = match or re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+(/[^/]+)", self.path)
            content = server.files.get("".join(match.groups())) if match else None
            if content is None:
                code = "EntryNotFound" if match and match.lastindex == 2 else "RepoNotFound"
                return self.send(b"", 404, {"X-Error-Code": code, "X-Repo-Commit": COMMIT})
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            return self.send(content, 200, {"ETag": etag, "X-Repo-Commit": COMMIT})

        def send(self, body, status, headers=None):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if not server.cuts or not self.path.startswith("/store/"):
                self.wfile.write(body)
                return
            self.wfile.write(body[: server.cuts.pop(0)])
            self.wfile.flush()
            if server.pause is not None and not server.cuts:
                server.pause.wait(30)
            self.close_connection = True

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.handle_error = lambda *_: None  # a client that goes away is what is tested
    server.address = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        if server.pause is not None:
            server.pause.set()
        http.shutdown()
        thread.join()
        http.server_close()


def checkpoint_files(hub_id, folder):
    """Return a checkpoint folder as the files of a model on the hub."""
    return {f"{hub_id}/{path.name}": path.read_bytes() for path in folder.iterdir()}
