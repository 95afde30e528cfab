"""A real browser for tests: the Chromium of the system, headless, driven by playwright."""

import contextlib
import os
import shutil

import pytest

pytest.importorskip("playwright", reason="needs playwright: the extra dev")

from playwright import sync_api as playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("needs Chromium (Debian: apt-get install chromium)", allow_module_level=True)

SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
playwright.expect.set_options(timeout=60_000)


@contextlib.contextmanager
def chromium():
    """Yield a browser that draws in 3D by software."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to have one as root
    options = [*sandbox, "--force-color-profile=srgb", *SOFTWARE_GL]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, url, script="", **context):
    """Yield a page; at its end nothing may have gone wrong in it, and it must have asked no other place than `url`.

    `script` runs before those of the page.
    """
    with contextlib.closing(
        browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
    ) as made:
        made.set_default_timeout(60_000)
        page = made.new_page()
        page.add_init_script(script)
        wrong, asked = [], []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if "Refused" in message.text else None)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        yield page
    assert wrong == []
    assert [other for other in asked if not other.startswith((url, "data:", "blob:"))] == []
