"""A server of a small model in a thread of this process, and a client without a library in between."""

import contextlib
import http.client
import json
import threading
import time

from library_helpers import toy_predictor

from betafold_mlx.serve import server
from betafold_mlx.serve.app import make_app
from betafold_mlx.serve.server import ServerLimits
from betafold_mlx.serve.worker import TOGETHER, Worker

PEPTIDE = "GRCTKSIPPICFPD"


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def problems(self):
        return {each["field"]: each["message"] for each in self.json["error"]["fields"]}


class Running:
    """A server that runs: `ask` it."""

    def __init__(self, port, worker):
        self.port, self.worker = port, worker

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            return Answer(connection.getresponse())

    def post(self, path, document, **headers):
        return self.ask("POST", path, json.dumps(document), {"Content-Type": "application/json", **headers})

    def fold(self, **document):
        return self.post("/api/v1/fold", {"sequence": PEPTIDE, **document})

    @contextlib.contextmanager
    def model_held(self):
        """Keep the model busy: folds wait until the block ends."""
        begun, end = threading.Event(), threading.Event()
        self.worker._thread.submit(lambda: (begun.set(), end.wait(300)))
        assert begun.wait(120)
        try:
            yield
        finally:
            end.set()


@contextlib.contextmanager
def running(limits=None, load=toy_predictor, names=(), together=TOGETHER):
    limits = limits or ServerLimits()
    worker = Worker(load, limits.queue, together)
    bound = server.listen("127.0.0.1", 0)
    port = bound.getsockname()[1]
    made = server.make_server(make_app(worker, limits, names))
    thread = threading.Thread(target=made.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        wait_until(lambda: made.started)
        yield Running(port, worker)
    finally:
        made.should_exit = True
        thread.join(120)
        assert not thread.is_alive()


def wait_until(true, seconds=120.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
