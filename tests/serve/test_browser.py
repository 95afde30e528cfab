"""The page in a real browser: headless Chromium, driven by playwright."""

import base64
import io
import itertools
import json
import re
import zipfile
from pathlib import Path

import gemmi
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="serve needs fastapi and uvicorn: the extra serve")
from chromium import chromium, opened, playwright
from serve_helpers import PEPTIDE, running

from betafold_mlx.report.threedmol import find_viewer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    with running() as made:
        yield made


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def page(server, browser):
    with opened(browser, f"http://127.0.0.1:{server.port}/") as shown:
        playwright.expect(shown.locator("#model")).to_contain_text("toy")
        yield shown


def fold(page, sequence=PEPTIDE):
    page.fill("#sequence", sequence)
    page.click("#submit")
    playwright.expect(page.locator("#result")).to_be_visible()
    playwright.expect(page.locator("#submit")).to_be_enabled()


def download(page, selector):
    with page.expect_download() as waiting:
        page.click(selector)
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_fold_bond_switch_download(page):
    page.fill("#sequence", PEPTIDE.lower())
    page.click("button.residue[data-place='3']")
    page.click("text=bond to Cys 11")
    playwright.expect(page.locator("#sequence")).to_have_value("GRC(1)TKSIPPIC(1)FPD")
    playwright.expect(page.locator("#bonds")).to_contain_text("Cys 3 \u2013 Cys 11")
    page.check("#cyclic")
    playwright.expect(page.locator("#n_cap")).to_be_disabled()
    page.fill("#samples", "2")
    page.fill("#id", "sunflower")
    page.click("#submit")
    report = page.frame_locator("#report")
    playwright.expect(report.locator("h1")).to_have_text("sunflower")
    playwright.expect(report.locator("body")).to_contain_text("--cyclic --disulfide 3-11 --samples 2")

    switch = report.get_by_role("radio", name=re.compile("^2")).or_(
        report.get_by_role("button", name=re.compile("^2"))
    )
    switch.first.focus()
    page.keyboard.press("Space")
    chosen = switch.first.evaluate("e => e.checked || e.getAttribute('aria-pressed') === 'true'")
    assert chosen

    name, data = download(page, "[data-kind=cif]")
    assert name == "sunflower.cif"
    model = gemmi.make_structure_from_block(gemmi.cif.read_string(data.decode()).sole_block())
    assert len(model) == 2 and len(model[0][0]) == len(PEPTIDE)
    assert download(page, "[data-kind=html]")[0] == "sunflower.html"


HARM = "window.harmed = (window.harmed || 0) + 1"
NAMES = (
    f"<script>{HARM}</script>",
    f'"><img src=x onerror="{HARM}">',
    f"</script><svg onload='{HARM}'>",
    f"javascript:{HARM}//{{{{7*7}}}}${{7*7}}",
    "../../etc/passwd\u202e",
)


def test_hostile_names_are_text_on_the_page_and_in_its_report(page):
    harms = []
    page.on("dialog", lambda dialog: harms.append(dialog.message))
    for name in NAMES:
        page.fill("#id", name)
        fold(page, "GIGKFLHSA")
        playwright.expect(page.locator("#history strong").first).to_have_text(name)
        playwright.expect(page.frame_locator("#report").locator("h1")).to_have_text(name)
        report = next(frame for frame in page.frames if "/predictions/" in frame.url)
        for frame in (page.main_frame, report):
            assert frame.evaluate("window.harmed") is None
        scripts = "[...document.querySelectorAll('script:not([type])')].map(script => script.text)"
        assert not any("harmed" in script for script in report.evaluate(scripts))
        attributes = "[...document.querySelectorAll('*')].flatMap(each => each.getAttributeNames())"
        assert not [each for each in report.evaluate(attributes) if each.startswith("on")]
        assert re.fullmatch(r"[\w.-]+\.pdb", download(page, "[data-kind=pdb]")[0])
    assert harms == []


def test_a_residue_becomes_d_or_modified_by_the_keyboard(page):
    text, menu, error = (page.locator(id) for id in ("#sequence", "#menu", "#residues-error"))
    page.fill("#sequence", "Gly-Ile-Gly-Lys-Phe-Leu")
    chips = page.locator("button.residue")
    playwright.expect(chips).to_have_count(6)
    text.focus()
    for key in ["Tab", *["ArrowRight"] * 4, "Enter"]:
        page.keyboard.press(key)
    playwright.expect(menu).to_contain_text("Phe, phenylalanine (PHE)")
    playwright.expect(menu.get_by_text("L-Phe", exact=True)).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    playwright.expect(text).to_have_value("GIGKfL")
    playwright.expect(page.locator("#notes")).to_have_text("lower-case letters read as D residues: 5")
    playwright.expect(chips.nth(4)).to_be_focused()
    playwright.expect(chips.nth(4)).to_have_class("residue d")
    playwright.expect(chips.nth(4)).to_have_text("FD 5")
    page.keyboard.press("Enter")
    menu.get_by_text("2-Nal NAL", exact=True).click()
    playwright.expect(text).to_have_value("GIGK[NAL]L")
    playwright.expect(chips.nth(4)).to_have_attribute("aria-label", "2-Nal 5")

    chips.first.click()
    page.fill("#other-residue", "Norleucin")
    page.keyboard.press("Enter")
    playwright.expect(error).to_have_text("residue 1: 'Norleucin' is not known: is Nle meant?")
    assert text.input_value() == "GIGK[NAL]L"
    page.fill("#other-residue", "nle")
    page.keyboard.press("Enter")
    playwright.expect(text).to_have_value("[NLE]IGK[NAL]L")
    playwright.expect(error).to_be_empty()
    chips.first.click()
    page.keyboard.press("Escape")
    playwright.expect(menu).to_be_hidden()
    playwright.expect(chips.first).to_be_focused()
    page.click("#submit")
    playwright.expect(page.locator("#submit")).to_be_enabled()
    playwright.expect(page.locator("#result")).to_be_visible()
    residues = json.loads(download(page, "[data-kind=json]")[1])["residues"]
    assert residues == ["NLE", "ILE", "GLY", "LYS", "NAL", "LEU"]


def test_what_the_text_says_is_shown_while_it_is_typed(page):
    page.fill("#sequence", "cyclo(GRCTKSIPPICFX)")
    playwright.expect(page.locator("#sequence-hint")).to_contain_text("'X' at position 13")
    playwright.expect(page.locator("#residues-field")).to_be_hidden()
    page.fill("#sequence", "cyclo(GRC(1)TKSIPPIC(1)FPD)")
    playwright.expect(page.locator("#n_cap")).to_be_disabled()
    playwright.expect(page.locator(".ring-end")).to_have_count(2)
    page.click("#bonds button")
    playwright.expect(page.locator("#sequence")).to_have_value("cyclo(GRCTKSIPPICFPD)")
    playwright.expect(page.locator("#bonds button")).to_have_count(0)
    page.fill("#sequence", "Ac-KLAK-NH2")
    playwright.expect(page.locator(".ring-end")).to_have_text(["ACE", "NH2"])
    page.check("#d_amino_acids")
    playwright.expect(page.locator("button.residue.d")).to_have_count(4)
    page.click("button.residue[data-place='3']")
    page.click("text=L-Ala")
    playwright.expect(page.locator("button.residue.d")).to_have_count(3)
    playwright.expect(page.locator("#d_amino_acids")).not_to_be_checked()


COUNT_COLOURS = """async (png) => {
  const image = await createImageBitmap(await (await fetch("data:image/png;base64," + png)).blob());
  const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
  context.drawImage(image, 0, 0);
  return new Set(new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer)).size;
}"""


def colours(browser, png):
    """Return how many colours a picture has."""
    blank = browser.new_page()
    try:
        return blank.evaluate(COUNT_COLOURS, base64.b64encode(png).decode())
    finally:
        blank.close()


@pytest.mark.skipif(find_viewer() is None, reason="needs the 3D viewer: betafold-mlx viewer install")
def test_the_3d_canvas_is_not_blank(page, browser):
    fold(page)
    canvas = page.frame_locator("#report").locator("canvas").first
    playwright.expect(canvas).to_be_visible()
    page.wait_for_timeout(1000)  # to be drawn
    assert colours(browser, canvas.screenshot()) > 50


def test_wrong_input_is_told_by_its_field_until_it_is_mended(page):
    page.fill("#sequence", "GRCTX")
    page.fill("#samples", "0")
    page.click("#submit")
    error = page.locator("#sequence-error")
    playwright.expect(error).to_contain_text("'X' at position 5")
    playwright.expect(page.locator("#samples-error")).to_have_text("this must be at least 1")
    field = page.locator("#sequence")
    assert field.get_attribute("aria-invalid") == "true" and field.evaluate(
        "e => e === document.activeElement"
    )
    below = error.bounding_box()["y"] - field.bounding_box()["y"] - field.bounding_box()["height"]
    assert 0 <= below < 60
    page.keyboard.press("End")
    page.keyboard.press("Backspace")
    playwright.expect(error).to_be_empty()
    assert field.get_attribute("aria-invalid") is None
    assert not page.locator("#result").is_visible()


def test_the_history_is_of_this_tab(page, browser, server):
    fold(page)
    page.fill("#id", "<img src=x onerror=alert(1)>")
    fold(page, "KLAKLAK")
    entries = page.locator("#history button")
    playwright.expect(entries).to_have_count(2)
    playwright.expect(entries.first).to_contain_text("<img src=x")
    page.reload()
    playwright.expect(entries).to_have_count(2)
    entries.nth(1).click()
    playwright.expect(page.locator("#result-title")).to_have_text(PEPTIDE)
    assert page.input_value("#sequence") == PEPTIDE
    other = browser.new_page()
    other.goto(f"http://127.0.0.1:{server.port}/")
    playwright.expect(other.locator("#model")).to_contain_text("toy")
    assert other.locator("#history button").count() == 0
    other.close()
    page.click("#forget")
    playwright.expect(entries).to_have_count(0)


def test_a_fasta_file(page, tmp_path):
    (tmp_path / "some.fasta").write_text(f">one\n{PEPTIDE}\n><b>two</b>\nXX\n")
    page.get_by_role("tab", name="One peptide").focus()
    page.keyboard.press("ArrowRight")
    page.set_input_files("#file", tmp_path / "some.fasta")
    playwright.expect(page.locator("#fasta")).to_have_value(re.compile("^>one"))
    page.click("#batch-submit")
    playwright.expect(page.locator("#batch-state")).to_have_text("Done: 2 of 2 records, 1 of them failed")
    playwright.expect(page.locator("#batch-rows tr.failed")).to_contain_text("<b>two</b>")
    name, data = download(page, "#batch-downloads a")
    assert name == "betafold-mlx.zip"
    assert set(zipfile.ZipFile(io.BytesIO(data)).namelist()) == {
        "one.cif",
        "one.json",
        "summary.csv",
        "errors.csv",
    }
    page.get_by_role("button", name="one", exact=True).click()
    playwright.expect(page.locator("#result-title")).to_have_text("one")


def test_nothing_is_wider_than_the_window(page):
    page.click("#example")
    playwright.expect(page.locator("#result")).to_be_visible()
    page.click("button.residue[data-place='12']")
    for width, scheme in itertools.product((1280, 400, 360), ("light", "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        for tab in ("#tab-many", "#tab-one"):
            page.click(tab)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = np.mean([int(number) for number in re.findall(r"\d+", ground)][:3])
        assert (brightness < 128) == (scheme == "dark")


def test_the_description_can_be_read(page):
    page.click("text=HTTP interface")
    playwright.expect(page.locator("#operations section")).to_have_count(11)
    page.get_by_role("link", name="FoldRequest").first.click()
    playwright.expect(page.locator("#schema-FoldRequest")).to_contain_text("d_amino_acids")
