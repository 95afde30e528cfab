"""The report in a real browser: what can be seen, pressed and read, in wide and narrow windows, light and dark."""

import contextlib
import time

import numpy as np
import pytest
from browser import Window, chromium
from report_helpers import eight_headed

from betafold_mlx.report import find_viewer, report_html
from betafold_mlx.report.bands import band_of
from betafold_mlx.report.markup import text

pytestmark = pytest.mark.slow
NASTY = '</script><img src=x onerror="window.harmed=1">\''
BANDS = np.array([[0x00, 0x53, 0xD6], [0x65, 0xCB, 0xF3], [0xFF, 0xDB, 0x13], [0xFF, 0x7D, 0x45]])


@pytest.fixture(scope="module")
def prediction():
    return eight_headed().fold(
        "GRCTKSIPPICFPD", cyclic=True, disulfides=[(3, 11)], samples=3, details=True, id=NASTY
    )


@pytest.fixture(scope="module")
def flat(prediction, tmp_path_factory):
    path = tmp_path_factory.mktemp("flat") / "report.html"
    path.write_text(report_html(prediction, NASTY, viewer=None), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def solid(prediction, tmp_path_factory):
    viewer = find_viewer()
    if viewer is None:
        pytest.skip("needs the 3D viewer (betafold-mlx viewer install)")
    path = tmp_path_factory.mktemp("solid") / "report.html"
    path.write_text(report_html(prediction, NASTY, viewer=viewer), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def launch():
    with chromium() as function:
        yield function


@pytest.fixture(scope="module")
def browser(launch):
    return Window(launch())


def visible(browser, section):
    """Return which models' parts of a section are to be seen."""
    return browser.run(
        "return [...new Set([...document.querySelectorAll(`#${arguments[0]} [data-model]`)]"
        ".filter((part) => getComputedStyle(part).display !== 'none').map((part) => part.dataset.model))]",
        section,
    )


def quiet(browser):
    """Tell that the page asked for nothing, broke no rule of its policy, and ran nothing that was put into a text."""
    assert [name for name in browser.asked if not name.startswith(("data:", "file:"))] == []
    assert browser.said == []
    assert browser.run("return window.harmed") is None


def seen(browser, wanted, seconds=120.0):
    """Wait until a picture of the 3D view, without its edge, is as wanted: a slow machine draws late. Return it."""
    end = time.monotonic() + seconds
    while not wanted(picture := browser.picture("#viewer")[8:-8, 8:-8]):
        assert time.monotonic() < end, "the 3D view does not become what it should be"
        time.sleep(0.1)
    return picture


def coloured(pixels):
    """Return the pixels (n, 3) of a picture that are not grey."""
    return pixels[np.ptp(pixels, axis=-1) > 60].astype(float)


def hue(colours):
    """Return colours (n, 3) without their grey, the strongest channel 1."""
    return (colours - colours.min(axis=-1, keepdims=True)) / np.ptp(colours, axis=-1, keepdims=True)


@contextlib.contextmanager
def window(browser, width, height=900, dark=False):
    """Make the window another for a while."""
    browser.page.set_viewport_size({"width": width, "height": height})
    browser.page.emulate_media(color_scheme="dark" if dark else "light")
    try:
        yield
    finally:
        browser.page.set_viewport_size({"width": 1280, "height": 900})
        browser.page.emulate_media(media="screen", color_scheme="light")


def test_the_model_is_switched_by_keys_in_every_picture(browser, flat):
    browser.open(flat)
    assert browser.run("return document.querySelector('h1').textContent") == NASTY
    for section in ("structure", "sequence", "ramachandran", "distances"):
        assert visible(browser, section) == ["1"]
    browser.press("Tab")
    assert browser.run("return document.activeElement.name") == "model"
    browser.press("ArrowRight", "ArrowRight")
    for section in ("structure", "sequence", "ramachandran", "distances"):
        assert visible(browser, section) == ["3"]
    quiet(browser)


def test_every_control_is_reached_by_tab(browser, flat):
    browser.open(flat)
    reached = []
    for _ in range(12):
        browser.press("Tab")
        reached.append(
            browser.run("const e = document.activeElement; return e.name || e.className || e.tagName")
        )
    for wanted in ("model", "scroll", "SUMMARY", "map", "head"):
        assert wanted in reached, reached


def test_maps_are_read_by_keys(browser, flat, prediction):
    browser.open(flat)
    browser.run("document.querySelector('#distances [data-model=\"1\"] .map').focus()")
    browser.press(
        "ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight"
    )  # the first shows the cursor
    said = browser.run("return document.querySelector('#distances [data-model=\"1\"] .readout').textContent")
    ca = prediction.coordinates[0, :, 1].astype(float)
    expected, deviation = (m[0, 4] for m in (prediction.details.distance, prediction.details.deviation))
    here = np.linalg.norm(ca[0] - ca[4])
    names, rest = said.split(": ")
    assert names == "G1 and K5"
    numbers = [float(word) for word in rest.replace(",", " ").split() if word.replace(".", "").isdigit()]
    assert numbers == pytest.approx([expected, deviation, here, 1], abs=0.06)

    browser.run("document.querySelectorAll('input[name=head]')[9].focus()")
    browser.press("ArrowRight")  # to layer 2, head 3
    assert browser.run("return document.getElementById('attention-name').textContent") == "Layer 2, head 3"
    browser.run("document.querySelector('#attention .map').focus()")
    browser.press("ArrowDown", "ArrowDown", "ArrowRight")
    said = browser.run("return document.querySelector('#attention .readout').textContent")
    assert said.startswith("R2 listens to R2 with weight ")
    assert float(said.split()[-1]) == pytest.approx(prediction.details.attention[1, 2, 1, 1], abs=0.006)
    shown = browser.run("return document.querySelector('#attention .map image').getAttribute('href')")
    assert shown == browser.run("return document.querySelectorAll('#attention .heads img')[10].src")


@pytest.mark.parametrize("width", [360, 400, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_window(browser, flat, width, dark):
    with window(browser, width, dark=dark):
        browser.open(flat)
        inner, whole = browser.run("return [innerWidth, document.documentElement.scrollWidth]")
        assert inner == width and whole <= width
        out = browser.run(
            "return [...document.querySelectorAll('h1, h2, p, dd, svg.plot, svg.trace, svg.key, img')]"
            ".map((e) => [e.className.baseVal ?? e.tagName, e.getBoundingClientRect()])"
            ".filter(([, box]) => box.width > 0 && (box.right > innerWidth || box.left < 0)).map(([name]) => name)"
        )
        assert out == []
        paper = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")


def test_the_structure_is_drawn_and_turns_and_changes_with_the_model(browser, solid):
    with window(browser, 360, 1200):  # software draws it; no need to scroll
        browser.open(solid)
        browser.until(
            "return document.getElementById('flat').hidden && document.querySelector('#viewer canvas')"
        )
        first = seen(browser, lambda picture: len(coloured(picture)) > 500)
        # Shaded, but in the hue of a band: the direction of the colour without its grey
        hues = hue(coloured(first))
        apart = np.abs(hues[:, None] - hue(BANDS.astype(float))).sum(axis=-1).min(axis=1)
        assert (apart < 0.35).mean() > 0.6

        def same(picture):
            return np.array_equal(picture, first)

        def another(picture):
            return not same(picture) and len(coloured(picture)) > 200

        def press(selector):
            browser.run("document.querySelector(arguments[0]).click()", selector)

        browser.run("document.getElementById('viewer').focus()")
        browser.press("ArrowRight", "ArrowRight", "ArrowRight")
        seen(browser, another)
        press("#reset-view")
        seen(browser, same)
        press("input[name=model][value='2']")
        seen(browser, another)
        press("input[name=model][value='1']")
        seen(browser, same)
        press("#show-labels")
        seen(browser, another)
        quiet(browser)

        browser.page.emulate_media(media="print")
        shown = "return ['flat', 'solid'].map((id) => getComputedStyle(document.getElementById(id)).display)"
        assert browser.run(shown) == ["block", "none"]  # on paper there is the flat picture


def test_without_webgl_the_flat_picture_stays(launch, solid):
    browser = Window(launch(webgl=False))
    browser.open(solid)
    assert visible(browser, "structure") == ["1"]
    assert not browser.run("return document.getElementById('no-3d').hidden")
    assert browser.run("return document.getElementById('solid').hidden")


def test_a_notebook_cell_is_drawn(browser, prediction, tmp_path):
    page = tmp_path / "cell.html"
    page.write_text(
        f"<!doctype html><meta charset=utf-8><title>{text('x')}</title>{prediction._repr_html_()}"
    )
    browser.open(page.as_uri())
    pixels = browser.picture(".betafold")
    for band in np.unique([band_of(value).key for value in prediction.plddt[0]]):
        assert (pixels == BANDS[band - 1]).all(axis=-1).sum() > 200
    quiet(browser)
