"""The report in a real browser: what can be seen, pressed and read, in wide and narrow windows, light and dark."""

import time

import numpy as np
import pytest
from chromium import chromium, opened, playwright
from report_helpers import eight_headed, read_png
from structure_helpers import with_side_chains

from betafold_mlx.report.bands import band_of
from betafold_mlx.report.html import report_html
from betafold_mlx.report.threedmol import find_viewer

pytestmark = pytest.mark.slow

NASTY = '</script><img src=x onerror="window.harmed=1">\''
BANDS = np.array([[0x00, 0x53, 0xD6], [0x65, 0xCB, 0xF3], [0xFF, 0xDB, 0x13], [0xFF, 0x7D, 0x45]])
SECTIONS = ("structure", "sequence", "ramachandran", "distances")


@pytest.fixture(scope="module")
def prediction():
    folded = eight_headed().fold(
        "GRCTKSIPPICFPD", cyclic=True, disulfides=[(3, 11)], samples=3, details=True, id=NASTY
    )
    return with_side_chains(folded)


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
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser, flat):
    with opened(browser, flat) as shown:
        yield shown
        assert shown.evaluate("window.harmed") is None


def visible(page, section):
    """Return which models' parts of a section are to be seen."""
    parts = page.locator(f"#{section} [data-model]:visible").all()
    return {part.get_attribute("data-model") for part in parts}


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def seen(page, wanted, seconds=120.0):
    """Wait until a picture of the 3D view, without its edge, is as wanted: a slow machine draws late. Return it."""
    end = time.monotonic() + seconds
    while not wanted(picture := read_png(page.locator("#viewer").screenshot())[8:-8, 8:-8, :3]):
        assert time.monotonic() < end, "the 3D view does not become what it should be"
        time.sleep(0.1)
    return picture


def coloured(pixels):
    """Return the pixels (n, 3) of a picture that are not grey."""
    return pixels[np.ptp(pixels, axis=-1) > 60].astype(float)


def hue(colours):
    """Return colours (n, 3) without their grey, the strongest channel 1."""
    return (colours - colours.min(axis=-1, keepdims=True)) / np.ptp(colours, axis=-1, keepdims=True)


def test_the_model_is_switched_by_keys_in_every_picture(page):
    assert page.locator("h1").text_content() == NASTY
    assert [visible(page, section) for section in SECTIONS] == [{"1"}] * 4
    press(page, "Tab")
    assert page.evaluate("document.activeElement.name") == "model"
    press(page, "ArrowRight", "ArrowRight")
    assert [visible(page, section) for section in SECTIONS] == [{"3"}] * 4


def test_every_control_is_reached_by_tab(page):
    reached = []
    for _ in range(12):
        press(page, "Tab")
        reached.append(page.evaluate("(e => e.name || e.className || e.tagName)(document.activeElement)"))
    assert {"model", "scroll", "SUMMARY", "map", "head"} <= set(reached)


def test_maps_are_read_by_keys(page, prediction):
    part = page.locator('#distances [data-model="1"]')
    part.locator(".map").focus()
    press(page, "ArrowDown", *4 * ["ArrowRight"])  # the first shows the cursor
    names, rest = part.locator(".readout").text_content().split(": ")
    ca = prediction.coordinates[0, :, 1].astype(float)
    expected, deviation = (m[0, 4] for m in (prediction.details.distance, prediction.details.deviation))
    assert names == "G1 and K5"
    numbers = [float(word) for word in rest.replace(",", " ").split() if word.replace(".", "").isdigit()]
    assert numbers == pytest.approx([expected, deviation, np.linalg.norm(ca[0] - ca[4]), 1], abs=0.06)

    page.locator("input[name=head]").nth(9).focus()
    press(page, "ArrowRight")  # to layer 2, head 3
    assert page.locator("#attention-name").text_content() == "Layer 2, head 3"
    page.locator("#attention .map").focus()
    press(page, "ArrowDown", "ArrowDown", "ArrowRight")
    said = page.locator("#attention .readout").text_content()
    assert said.startswith("R2 listens to R2 with weight ")
    assert float(said.split()[-1]) == pytest.approx(prediction.details.attention[1, 2, 1, 1], abs=0.006)
    shown = page.locator("#attention .map image").get_attribute("href")
    assert shown == page.locator("#attention .heads img").nth(10).get_attribute("src")


@pytest.mark.parametrize("width", [360, 400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(browser, flat, width, scheme):
    with opened(browser, flat, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = page.evaluate(
            "[...document.querySelectorAll('h1, h2, p, dd, svg.plot, svg.trace, svg.key, img')]"
            ".map((e) => [e.className.baseVal ?? e.tagName, e.getBoundingClientRect()])"
            ".filter(([, box]) => box.width > 0 && (box.right > innerWidth || box.left < 0)).map(([name]) => name)"
        )
        assert wide == []
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(20, 23, 28)" if scheme == "dark" else "rgb(255, 255, 255)")


def test_the_structure_is_drawn_and_turns_and_changes_with_the_model(browser, solid):
    with opened(browser, solid, viewport={"width": 360, "height": 1200}) as page:  # software draws it
        playwright.expect(page.locator("#viewer canvas").first).to_be_visible()
        playwright.expect(page.locator("#flat")).to_be_hidden()
        with_sticks = seen(page, lambda picture: len(coloured(picture)) > 500)
        page.locator("#show-sticks").evaluate("e => e.click()")
        first = seen(page, lambda picture: not np.array_equal(picture, with_sticks))
        # Shaded, but in the hue of a band: the direction of the colour without its grey
        hues = hue(coloured(first))
        apart = np.abs(hues[:, None] - hue(BANDS.astype(float))).sum(axis=-1).min(axis=1)
        assert (apart < 0.35).mean() > 0.6

        def same(picture):
            return np.array_equal(picture, first)

        def another(picture):
            return not same(picture) and len(coloured(picture)) > 200

        page.locator("#viewer").focus()
        press(page, *3 * ["ArrowRight"])
        seen(page, another)
        for selector, wanted in (
            ("#reset-view", same),
            ("input[name=model][value='2']", another),
            ("input[name=model][value='1']", same),
            ("#show-sticks", lambda picture: np.array_equal(picture, with_sticks)),
            ("#show-labels", another),
        ):
            page.locator(selector).evaluate("e => e.click()")
            seen(page, wanted)
        page.emulate_media(media="print")
        playwright.expect(page.locator("#flat")).to_be_visible()  # on paper there is the flat picture
        playwright.expect(page.locator("#solid")).to_be_hidden()


def test_a_notebook_cell_is_drawn(browser, prediction, tmp_path):
    path = tmp_path / "cell.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><title>x</title>{prediction._repr_html_()}")
    with opened(browser, path.as_uri()) as page:
        pixels = read_png(page.locator(".betafold").screenshot())[..., :3]
        assert page.evaluate("window.harmed") is None
    for band in np.unique([band_of(value).key for value in prediction.plddt[0]]):
        assert (pixels == BANDS[band - 1]).all(axis=-1).sum() > 200


def test_without_webgl_the_flat_picture_stays(browser, solid):
    with opened(browser, solid, "HTMLCanvasElement.prototype.getContext = () => null") as page:
        assert visible(page, "structure") == {"1"}
        playwright.expect(page.locator("#no-3d")).to_be_visible()
        playwright.expect(page.locator("#solid")).to_be_hidden()
