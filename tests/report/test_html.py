"""The report: nothing from outside, nothing unescaped, and the numbers of the prediction in every picture."""

import base64
import dataclasses
import hashlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_helpers import data_of, eight_headed, parsed, read_png
from structure_helpers import with_side_chains

from betafold_mlx.geometry.checks import Bond
from betafold_mlx.report.bands import BANDS, band_of
from betafold_mlx.report.html import report_html
from betafold_mlx.report.maps import MASSES, ramp, regions_of, scale_end
from betafold_mlx.report.pictures import bond_lanes
from betafold_mlx.report.threedmol import Viewer
from betafold_mlx.report.view import MAX_MODELS, lay_out, view

VIEWER = Viewer("3Dmol.js 0", "window.$3Dmol = undefined; // </script>", "a licence <with> words")


@pytest.fixture(scope="module")
def predictor():
    return eight_headed()


@pytest.fixture(scope="module")
def prediction(predictor):
    folded = predictor.fold("GRCTKSIPPICFPD", cyclic=True, disulfides=[(3, 11)], samples=3, details=True)
    return with_side_chains(folded)


@pytest.fixture(scope="module")
def plain(predictor):
    return predictor.fold("GIGKFLHSAKKF")


@pytest.fixture(scope="module")
def tree(prediction):
    return parsed(report_html(prediction, "betafold-mlx fold X --report", viewer=None))


def pixels(address):
    assert address.startswith("data:image/png;base64,")
    return read_png(base64.b64decode(address.split(",")[1], validate=True))


def ca_distances(prediction, rank):
    ca = prediction.coordinates[rank, :, 1].astype(np.float64)
    return np.sqrt(np.square(ca[:, None] - ca).sum(axis=-1))


def test_the_same_bytes_twice_and_none_of_today(prediction):
    first, second = (report_html(prediction, "c", viewer=VIEWER) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("viewer", [None, VIEWER])
def test_nothing_is_asked_of_anywhere(prediction, viewer):
    tree = parsed(report_html(prediction, viewer=viewer))
    for element in tree.all():
        for name, value in element.attributes.items():
            assert not name.startswith("on") and name != "style", (element.name, name)
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                assert value.startswith("data:image/png;base64,"), value[:60]
    assert not tree.all("link") and not tree.all("iframe") and not tree.all("a")
    assert (
        "url(" not in tree.one("style").text.replace("url(#", "") and "@import" not in tree.one("style").text
    )


@pytest.mark.parametrize("viewer", [None, VIEWER])
def test_the_policy_lets_nothing_run_but_what_is_put_in(prediction, viewer):
    tree = parsed(report_html(prediction, viewer=viewer))
    policy = tree.one("meta", http_equiv="Content-Security-Policy").attributes["content"]
    rules = {words[0]: words[1:] for words in map(str.split, policy.split(";"))}
    assert rules["default-src"] == ["'none'"] and rules["img-src"] == ["data:"]
    scripts = [s.text for s in tree.all("script") if "type" not in s.attributes]
    assert len(scripts) == (1 if viewer is None else 2)
    for kind, texts in (("script-src", scripts), ("style-src", [tree.one("style").text])):
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert rules[kind] == [f"'sha256-{each}'" for each in hashes]


def test_the_viewer_brings_its_licence(prediction):
    tree = parsed(report_html(prediction, viewer=VIEWER))
    assert VIEWER.licence in [pre.text for pre in tree.all("pre")]
    assert tree.all(id="viewer") and tree.all(id="flat")
    assert "3Dmol.js 0" in tree.one(id="making").text
    flat = parsed(report_html(prediction, viewer=None))
    assert not flat.all(id="viewer") and "betafold-mlx viewer install" in flat.one(id="structure").text


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=40))
def test_any_text_stays_text(plain, identifier, command, warning):
    nasty = "</script><img src=x onerror=alert(1)>\"'&"
    usual = parsed(report_html(plain, "x", viewer=None))
    made = dataclasses.replace(plain, id=identifier + nasty, warnings=(warning + nasty,))
    tree = parsed(report_html(made, command + nasty, viewer=None))
    names = [element.name for element in tree.all() if element.name not in ("p", "div", "ul", "li", "strong")]
    assert names == [
        element.name for element in usual.all() if element.name not in ("p", "div", "ul", "li", "strong")
    ]
    assert tree.one("h1").text.endswith(nasty)
    assert tree.one(id="making").all("code")[-1].text.endswith(nasty)
    assert tree.one(class_="warnings").one("li").text.endswith(nasty)


def test_odd_bytes_of_a_file_name_can_be_written(plain):
    report_html(plain, "fold \udcff", viewer=None).encode("utf-8")


def test_how_it_was_made(tree, prediction):
    made = {pair.one("dt").text: pair.one("dd").text for pair in tree.one(class_="made").all("div")}
    assert made["model"] == "toy" and made["SHA-256"] == prediction.model_sha256
    assert made["command"] == "betafold-mlx fold X --report" and made["seed"] == "0"
    assert made["models made"] == "3" and "mlx " in made["software"] and "python " in made["software"]
    assert "command" not in parsed(report_html(prediction, viewer=None)).one(class_="made").text


def test_every_model_has_its_pictures_and_the_first_is_visible(tree):
    assert [radio.attributes["value"] for radio in tree.all("input", name="model")] == ["1", "2", "3"]
    for section in ("structure", "sequence", "ramachandran", "distances"):
        parts = tree.one(id=section).all(data_model=True)
        assert {part.attributes["data-model"] for part in parts} == {"1", "2", "3"}, section
        assert all(("hidden" in part.attributes) == (part.attributes["data-model"] != "1") for part in parts)


def test_the_script_gets_the_models_as_they_are(tree, prediction):
    data = data_of(tree)
    assert data["sequence"] == prediction.sequence and len(data["models"]) == 3
    for rank, model in enumerate(data["models"]):
        np.testing.assert_allclose(model["plddt"], prediction.plddt[rank], atol=0.051)
        assert model["structure"] == prediction.secondary_structure[rank]
        assert [len(residue) for residue in model["atoms"]] == [len(names) for names in data["atoms"]]
        ours = np.array([atom for residue in model["atoms"] for atom in residue]) / 100
        theirs = prediction.atoms[rank][np.isfinite(prediction.atoms[rank])].reshape(-1, 3).astype(np.float64)
        # The same distances and the same hand: the same structure, elsewhere.
        apart = [np.linalg.norm(x[:, None] - x, axis=-1) for x in (ours, theirs)]
        np.testing.assert_allclose(*apart, atol=0.03)
        volumes = [np.linalg.det(x[1:4] - x[0]) for x in (ours, theirs)]
        np.testing.assert_allclose(*volumes, atol=0.2)
        assert abs(volumes[0]) > 1
        bonds = [(bond.kind, list(bond.residues), bond.formed) for bond in prediction.bonds[rank]]
        assert bonds == [(b["kind"], b["residues"], b["formed"]) for b in model["bonds"]]
    assert data["atoms"] == [[name for name in names if name] for names in prediction.atom_names]
    flat = [(place, atom) for place, names in enumerate(data["atoms"]) for atom in names]
    assert [flat[a] for a, b, order in data["chain_bonds"] if order == 2 and flat[b][1] == "O"] == [
        (place, "C") for place in range(len(prediction.sequence))
    ]
    first = prediction.atoms[0][np.isfinite(prediction.atoms[0])].reshape(-1, 3)
    lengths = [np.linalg.norm(first[a] - first[b]) for a, b, _ in data["chain_bonds"]]
    assert min(lengths) > 1.1 and max(lengths) < 1.9
    details = prediction.details
    weights = (
        np.frombuffer(base64.b64decode(data["attention"]), np.uint8).reshape(details.attention.shape) / 255
    )
    np.testing.assert_allclose(weights, details.attention, atol=0.002)
    assert data["heads"] == 8
    for name in ("distance", "deviation"):
        numbers = np.array(data[name], dtype=float) / 10
        np.testing.assert_allclose(numbers, getattr(details, name), atol=0.051)


def test_models_lie_on_the_first():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(12, 5, 3)) * [9, 4, 1]
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    moved = first @ turn + [5.0, -3.0, 8.0]
    models = np.stack([first, moved, first * [1, 1, -1]])
    laid, atoms = lay_out(models, models.reshape(3, -1, 3))
    np.testing.assert_array_equal(atoms, laid.reshape(3, -1, 3))
    np.testing.assert_allclose(laid[0], laid[1], atol=1e-9)
    assert np.abs(laid[0] - laid[2]).max() > 0.5  # a mirror image is another molecule
    backbone = laid[0, :, :3].reshape(-1, 3)
    np.testing.assert_allclose(backbone.mean(axis=0), 0, atol=1e-9)
    extent = backbone.std(axis=0)
    assert extent[0] > extent[1] > extent[2]


def test_distance_maps_have_the_prediction_above_and_the_model_below(tree, prediction):
    maps = tree.one(id="distances").all("div", data_model=True)
    colours = ramp()[:, :3].astype(int)
    end = scale_end(view(prediction))
    for rank, part in enumerate(maps):
        (image,) = (i for i in part.all("image"))
        painted = pixels(image.attributes["href"])[..., :3]
        level = np.abs(painted[:, :, None] - colours).sum(axis=-1).argmin(axis=-1)
        read = (1 - level / (len(colours) - 1)) * end
        expected = ca_distances(prediction, rank)
        length = len(expected)
        above = np.triu(np.ones((length, length), dtype=bool), 2)
        expected[above] = prediction.details.distance[above]
        assert end >= expected.max()
        np.testing.assert_allclose(read, expected, atol=0.51 * end / (len(colours) - 1) + 0.01)


def test_attention_images_are_the_roots_of_the_weights(tree, prediction):
    images = tree.one(id="attention").all("img")
    maps = prediction.details.attention.reshape(-1, 14, 14)
    colours = ramp()[:, :3].astype(int)
    assert len(images) == len(maps) == 32
    for image, weights in zip(images, maps, strict=True):
        painted = pixels(image.attributes["src"])[..., :3]
        level = np.abs(painted[:, :, None] - colours).sum(axis=-1).argmin(axis=-1) / (len(colours) - 1)
        np.testing.assert_allclose(level, np.sqrt(weights), atol=0.51 / (len(colours) - 1))


def test_ramachandran_marks_stand_at_their_torsions(tree, prediction):
    section = tree.one(id="ramachandran")
    for rank, group in enumerate(section.all("g", data_model=True)):
        marks = group.all("path")
        degrees = np.degrees(prediction.torsions[rank, :, :2])
        defined = ~np.isnan(degrees).any(axis=1)
        assert len(marks) == defined.sum() == 14
        for mark, (phi, psi) in zip(marks, degrees[defined], strict=True):
            x, y = map(float, re.match(r"M(-?[\d.]+) (-?[\d.]+)", mark.attributes["d"]).groups())
            shape = {"G": (0, -7), "P": (-5, -5)}.get(prediction.sequence[marks.index(mark)], (-5.5, 0))
            assert x - shape[0] == pytest.approx(54 + phi + 180, abs=0.1)
            assert y - shape[1] == pytest.approx(8 + 180 - psi, abs=0.1)
    density = prediction.details.torsion_density
    painted = pixels(section.one("image").attributes["href"])[..., 3]
    # phi to the right, psi upwards; the likeliest cell is in the innermost region
    i, j = np.unravel_index(density.argmax(), density.shape)
    assert painted[len(density) - 1 - j, i] == painted.max()
    np.testing.assert_array_equal(painted > 0, (regions_of(density) > 0).T[::-1])


def test_regions_hold_their_share_and_no_more():
    density = np.random.default_rng(0).gamma(0.3, size=(72, 72))
    regions = regions_of(density)
    for number, mass in enumerate(MASSES, start=1):
        inside = density[regions >= number]
        assert inside.sum() >= mass * density.sum() > inside.sum() - inside.min() * 1.001
        assert inside.min() >= density[regions < number].max()


def test_the_sequence_has_a_column_a_residue(tree, prediction):
    for rank, part in enumerate(tree.one(id="sequence").all(class_="scroll")[0].all("div", data_model=True)):
        columns = part.all("g", class_="column")
        assert "".join(column.one("text").text for column in columns) == prediction.sequence
        for place, column in enumerate(columns):
            plddt = float(prediction.plddt[rank, place])
            _, bar, spread = column.all("rect")
            assert float(bar.attributes["height"]) == pytest.approx(0.9 * plddt, abs=0.01)
            assert bar.attributes["fill"] == f"url(#bf-band-{band_of(plddt).key})"
            assert f"pLDDT {plddt:.0f}" in column.one("title").text
            widest = max(*prediction.spread.per_residue, 1.0)
            share = prediction.spread.per_residue[place] / widest
            assert float(spread.attributes["height"]) == pytest.approx(44 * share, abs=0.01)


def test_bonds_are_drawn_in_the_sequence_and_the_trace(tree, prediction):
    for section in ("sequence", "structure"):
        for rank, part in enumerate(tree.one(id=section).all("div", class_="per-model")[:3]):
            for bond in prediction.bonds[rank]:
                kind = "ring" if bond.kind == "ring" else "bridge"
                assert bond.formed
                (drawn,) = (e for e in part.all(class_=kind) if e.name in ("path", "line"))
                assert drawn.one("title").text == bond.describe()


def test_a_bond_that_is_not_formed_is_drawn_as_such_and_told(prediction):
    broken = Bond("disulfide", (3, 11), 9.0, False)
    made = dataclasses.replace(prediction, bonds=((prediction.bonds[0][0], broken), *prediction.bonds[1:]))
    tree = parsed(report_html(made, viewer=None))
    for section in ("sequence", "structure"):
        assert tree.one(id=section).all(class_="bridge unmade")
    assert "S–S, not formed" in tree.one(id="sequence").text
    assert "1 of 2" in tree.one(class_="figures").text


@given(st.lists(st.tuples(st.integers(1, 32), st.integers(1, 32)).filter(lambda p: p[0] < p[1]), max_size=7))
def test_lanes_keep_bonds_apart(pairs):
    lanes = bond_lanes(tuple(Bond("disulfide", pair, 4.0, True) for pair in pairs))
    for n, (i, j) in enumerate(pairs):
        for m, (a, b) in enumerate(pairs[:n]):
            if lanes[n] == lanes[m]:
                assert j < a or b < i
            elif i <= a and b <= j:
                assert lanes[m] < lanes[n] or (i, j) == (a, b)


def test_tables_say_what_the_pictures_show(tree, prediction):
    tables = tree.one(id="sequence").one("details").all("table")
    assert len(tables) == 3
    for rank, table in enumerate(tables):
        rows = [[cell.text for cell in row.children] for row in table.one("tbody").all("tr")]
        assert len(rows) == 14
        for place, row in enumerate(rows):
            plddt = float(prediction.plddt[rank, place])
            assert row[:4] == [
                f"{prediction.sequence[place]}{place + 1}",
                prediction.secondary_structure[rank][place],
                f"{plddt:.1f}",
                band_of(plddt).name,
            ]
            phi = np.degrees(prediction.torsions[rank, place, 0])
            assert row[4] == f"{phi:.0f}°"
    models = tree.one(id="models").one("tbody").all("tr")
    assert [float(row.children[3].text) for row in models] == [
        pytest.approx(value, abs=0.051) for value in prediction.spread.rmsd_to_first
    ]


def test_without_details_the_rest_is_there_and_says_so(predictor):
    tree = parsed(report_html(predictor.fold("GIGKFLHSAKKF", samples=2), viewer=None))
    for section in ("attention", "distances", "ramachandran"):
        assert "folded without details" in tree.one(id=section).text
    assert not tree.one(id="attention").all("img") and data_of(tree)["attention"] is None
    assert len(tree.one(id="ramachandran").all("g", data_model="1")[0].all("path")) == 10


def test_one_model_needs_no_choice(plain):
    tree = parsed(report_html(plain, viewer=None))
    assert not tree.all("input", name="model") and "--samples 5" in tree.one(id="models").text


def test_many_models_are_cut_and_counted(prediction):
    again = (MAX_MODELS + 4) // 3
    many = dataclasses.replace(
        prediction,
        coordinates=np.concatenate([prediction.coordinates] * again),
        atoms=np.concatenate([prediction.atoms] * again),
        plddt=np.concatenate([prediction.plddt] * again),
        torsions=np.concatenate([prediction.torsions] * again),
        bonds=prediction.bonds * again,
        secondary_structure=prediction.secondary_structure * again,
        clashes=prediction.clashes * again,
        through=prediction.through * again,
        threaded=prediction.threaded * again,
    )
    tree = parsed(report_html(many, viewer=None))
    assert len(tree.all("input", name="model")) == MAX_MODELS == len(data_of(tree)["models"])
    assert (
        f"The best {MAX_MODELS} are shown here; the structure file has the other {3 * again - MAX_MODELS}"
        in (tree.one(id="models").text)
    )


def test_a_d_peptide_names_its_residues_and_mirrors_the_plot(predictor):
    left, right = (
        parsed(report_html(predictor.fold("KLAKLAKKLAGC", d_amino_acids=d, details=True), viewer=None))
        for d in (False, True)
    )
    assert data_of(right)["names"] == [f"D-{n}" if n[0] != "G" else n for n in data_of(left)["names"]]
    places = [
        {
            t.text.rstrip("*"): (float(t.attributes["x"]), float(t.attributes["y"]) - 5)
            for t in tree.all(class_="region halo")
        }
        for tree in (left, right)
    ]
    assert len(places[0]) == 4
    for name, (x, y) in places[0].items():
        assert places[1][name] == pytest.approx((2 * (54 + 180) - x, 2 * (8 + 180) - y))
    assert "left-handed helix" in right.one(id="sequence").text


@pytest.mark.parametrize("length", [4, 5, 32])
def test_every_length_has_a_report(predictor, length):
    sequence = ("GIGKFLHSAKKFGKAFVGEIMNSGIGKFLHSA")[:length]
    tree = parsed(report_html(predictor.fold(sequence, samples=2, details=True), viewer=None))
    assert len(data_of(tree)["models"]) == 2


def test_size_of_thirty_residues_five_models_and_all_heads(predictor):
    made = predictor.fold("GIGKFLHSAKKFGKAFVGEIMNSGIGKFLH", samples=5, details=True)
    assert len(report_html(made, "betafold-mlx fold", viewer=None).encode()) < 310_000


def test_in_a_notebook_there_are_pictures_and_no_scripts(prediction, plain):
    html = prediction._repr_html_()
    tree = parsed(html)
    assert len(html.encode()) < 40_000 and not tree.all("script") and len(tree.all("svg", role="img")) == 2
    assert (
        f"mean pLDDT {prediction.plddt[0].mean():.1f}" in tree.text and "the first of 3 models" in tree.text
    )
    nasty = dataclasses.replace(plain, id="<b>x</b>", warnings=("<i>",))
    assert not parsed(nasty._repr_html_()).all("b") and not parsed(nasty._repr_html_()).all("i")


# Colours: contrast by WCAG 2.2, success criterion 1.4.3


def contrast(one, other):
    def luminance(colour):
        full = colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
        parts = np.array([int(full[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [
            0.2126,
            0.7152,
            0.0722,
        ]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast("#000", "#fff") == pytest.approx(21) and contrast("#777777", "#fff") == pytest.approx(
        4.48, abs=0.01
    )


@pytest.mark.parametrize("scheme", range(3))
def test_text_can_be_read_in_light_dark_and_print(tree, scheme):
    roots = re.findall(r":root\{(.*?)\}", tree.one("style").text, flags=re.DOTALL)
    assert len(roots) == 3
    colours = dict(re.findall(r"--([\w-]+):(#[0-9a-fA-F]+)", roots[scheme]))
    for paper in ("paper", "panel", "warn"):
        for ink in ("ink", "quiet"):
            assert contrast(colours[ink], colours.get(paper, colours["paper"])) >= 4.5, (ink, paper)
    assert contrast(colours["paper"], colours["accent"]) >= 4.5  # the chosen model
    for graphic in ("edge", "accent", "bridge", "ring"):  # success criterion 1.4.11
        assert contrast(colours[graphic], colours["panel"]) >= 3.0, graphic


def test_letters_can_be_read_on_every_band():
    for band in BANDS:
        assert contrast(band.colour, band.ink) >= 4.5


def test_colours_of_maps_grow_lighter_all_the_way():
    colours = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b, _ in ramp()]
    lightness = [contrast(colour, "#000000") for colour in colours]
    assert (np.diff(lightness) > 0).all()
