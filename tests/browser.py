"""A real browser for tests: headless Chromium, driven through its WebDriver (W3C Recommendation 2018) over loopback."""

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import pytest

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {
    "ArrowRight": "\ue014",
    "ArrowDown": "\ue015",
    "ArrowLeft": "\ue012",
    "ArrowUp": "\ue013",
    "Tab": "\ue004",
}


def needs_browser():
    """Skip where Chromium or its driver is missing."""
    if not (shutil.which("chromedriver") and (shutil.which("chromium") or shutil.which("google-chrome"))):
        pytest.skip("needs Chromium and its driver (Debian: chromium, chromium-driver)")


class Browser:
    """A session; a context manager.

    Parameters
    ----------
    width, height : int
        Of the window, pixels.
    dark : bool
        Prefers dark colours.
    folder : Path, optional
        Where downloads go.
    webgl : bool
        Draws in 3D, by software.
    """

    def __init__(self, width=1280, height=900, dark=False, folder=None, webgl=True):
        self._size, self._dark, self._folder, self._webgl = (width, height), dark, folder, webgl
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        with self._stack:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            # Profiles and sockets are Chromium's own business: in a folder that goes with it.
            home = self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            driver = subprocess.Popen(
                ["chromedriver", f"--port={port}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "TMPDIR": home, "HOME": home},
            )
            self._stack.callback(driver.wait)
            self._stack.callback(driver.terminate)
            self._url = f"http://127.0.0.1:{port}"
            self._wait_until_it_answers()
            preferences = {"download.default_directory": str(self._folder)} if self._folder else {}
            options = {
                "args": [
                    "--headless=new",
                    "--no-sandbox",  # the tests may run as root
                    "--disable-dev-shm-usage",
                    # WebGL without a graphics card
                    *(
                        ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
                        if self._webgl
                        else ["--disable-3d-apis"]
                    ),
                    "--hide-scrollbars",
                    "--force-color-profile=srgb",
                    f"--window-size={self._size[0]},{self._size[1]}",
                ],
                "prefs": preferences,
            }
            capabilities = {
                "browserName": "chrome",
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL"},
            }
            answer = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
            self._url += f"/session/{answer['sessionId']}"
            self._stack.callback(self._ask, "DELETE", "")
            # The window cannot be narrower than 500 pixels, but what it shows can.
            self.devtools(
                "Emulation.setDeviceMetricsOverride",
                width=self._size[0],
                height=self._size[1],
                deviceScaleFactor=1,
                mobile=False,
            )
            scheme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
            self.devtools("Emulation.setEmulatedMedia", features=[scheme])
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *error):
        self._stack.close()

    def open(self, url):
        """Go to a page; what the one before it says while it is taken down is not this one's."""
        self._ask("POST", "/url", {"url": "about:blank"})
        self.log()
        self._ask("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """Run the body of a function in the page, and return what it returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, script, seconds=60.0):
        """Wait until the body of a function returns something true, and return that."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"in vain: {script}"
            time.sleep(0.1)
        return value

    def find(self, selector):
        return self._ask("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def click(self, selector):
        self._ask("POST", f"/element/{self.find(selector)}/click", {})

    def type(self, selector, text):
        self._ask("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def press(self, *names):
        """Press keys, one after the other, where the focus is."""
        keys = [KEYS.get(name, name) for name in names]
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": steps}]})

    def screenshot(self, selector="html"):
        """Return a PNG of what an element shows in the window, written for speed: `png.read_png` reads it."""
        box = self.run(
            "const box = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return {x: Math.max(box.x, 0), y: Math.max(box.y, 0),"
            " width: Math.min(box.right, innerWidth), height: Math.min(box.bottom, innerHeight)}",
            selector,
        )
        x, y = round(box["x"]), round(box["y"])
        size = {"width": int(box["width"]) - x, "height": int(box["height"]) - y}
        clip = {"x": x + self.run("return scrollX"), "y": y + self.run("return scrollY"), **size, "scale": 1}
        taken = self.devtools("Page.captureScreenshot", format="png", optimizeForSpeed=True, clip=clip)
        return base64.b64decode(taken["data"])

    def log(self):
        """Return what came onto the console since the last call: messages of the page, refused requests, errors."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def devtools(self, command, **parameters):
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _wait_until_it_answers(self):
        end = time.monotonic() + 20
        while True:
            try:
                if self._ask("GET", "/status")["ready"]:
                    return
            except OSError:
                assert time.monotonic() < end, "chromedriver does not start"
            time.sleep(0.05)

    def _ask(self, method, path, document=None):
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(
            self._url + path, data, {"Content-Type": "application/json"}, method=method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=180) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(json.load(error)["value"]["message"]) from error
