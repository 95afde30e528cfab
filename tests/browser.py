"""A real browser for tests: the Chromium of the system, without a window, driven by playwright."""

import contextlib
import io
import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SOFTWARE_GL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@contextlib.contextmanager
def chromium():
    """Give a function that starts Chromium, with or without WebGL; skip where it or playwright is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: the extra dev")
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to have one as root
    arguments = [*sandbox, "--hide-scrollbars", "--force-color-profile=srgb"]
    with playwright.sync_playwright() as started, contextlib.ExitStack() as stack:

        def launch(webgl=True):
            drawing = SOFTWARE_GL if webgl else ["--disable-3d-apis"]
            browser = started.chromium.launch(executable_path=CHROMIUM, args=[*arguments, *drawing])
            stack.callback(browser.close)
            return browser

        yield launch


class Window:
    """A page of a browser, and what it said on its console and asked for."""

    def __init__(self, browser):
        self.page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.page.set_default_timeout(60_000)
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, url):
        """Go to a page, and forget what was said and asked before."""
        self.page.goto("about:blank")
        self.said.clear()
        self.asked.clear()
        self.page.goto(url)

    def run(self, script, *arguments):
        """Run the body of a function in the page, and return what it returns."""
        return self.page.evaluate(f"(arguments) => {{ {script} }}", list(arguments))

    def until(self, script, seconds=60.0):
        """Wait until the body of a function returns something true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, f"in vain: {script}"
            time.sleep(0.1)

    def press(self, *names):
        """Press keys, one after the other, where the focus is."""
        for name in names:
            self.page.keyboard.press(name)

    def picture(self, selector):
        """Return the pixels (rows, columns, 3) that an element shows in the window."""
        box, size = self.page.locator(selector).bounding_box(), self.page.viewport_size
        x, y = round(max(box["x"], 0)), round(max(box["y"], 0))
        right, bottom = (
            min(box["x"] + box["width"], size["width"]),
            min(box["y"] + box["height"], size["height"]),
        )
        taken = self.page.screenshot(
            clip={"x": x, "y": y, "width": int(right) - x, "height": int(bottom) - y}
        )
        return read_image(taken)[..., :3]


def read_image(data):
    """Return the pixels (rows, columns, channels) of an image; those of a palette as red, green, blue, alpha."""
    image = Image.open(io.BytesIO(data))
    return np.array(image.convert("RGBA") if image.mode == "P" else image).astype(int)
