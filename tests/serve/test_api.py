"""The HTTP interface: folding, downloads, the paths of the ESM Atlas, and what is refused."""

import contextlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import gemmi
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="serve needs fastapi and uvicorn: the extra serve")

from library_helpers import toy_predictor
from serve_helpers import PEPTIDE, running

from betafold_mlx.files import to_json
from betafold_mlx.report.html import report_html
from betafold_mlx.serve.server import ServerLimits

pytestmark = pytest.mark.usefixtures("quick_folds")


@pytest.fixture(scope="module")
def server():
    with running(ServerLimits(predictions=2)) as made:
        yield made


@pytest.fixture(scope="module")
def predicted():
    return toy_predictor().fold(PEPTIDE, cyclic=True, disulfides=[(3, 11)], samples=2, seed=3, id="sunflower")


def b_factors(text, kind):
    if kind == "pdb":
        model = gemmi.read_pdb_string(text)[0]
    else:
        model = gemmi.make_structure_from_block(gemmi.cif.read_string(text).sole_block())[0]
    return np.array([residue["CA"][0].b_iso for residue in model[0]])


def test_a_fold_is_that_of_the_library(server, predicted):
    answer = server.fold(
        cyclic=True, disulfides=[[3, 11]], samples=2, seed=3, id="sunflower", include=["pdb", "cif"]
    )
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    assert answer.json == {
        "result": json.loads(to_json(predicted.to_dict())),
        "structures": {"pdb": predicted.text("pdb"), "cif": predicted.text("cif")},
        "files": None,
    }


def test_the_same_request_gives_the_same_answer(server):
    assert server.fold(seed=5, samples=2).body == server.fold(seed=5, samples=2).body


def test_what_is_kept_can_be_downloaded(server, predicted):
    answer = server.fold(cyclic=True, disulfides=[[3, 11]], samples=2, seed=3, id='sun"\r\nflower', keep=True)
    files = answer.json["files"]
    assert set(files) == {"cif", "pdb", "json", "html"}
    got = {kind: server.ask("GET", path) for kind, path in files.items()}
    assert {each.status for each in got.values()} == {200}
    types = {kind: each.headers["content-type"].partition(";")[0] for kind, each in got.items()}
    assert types == {
        "cif": "chemical/x-cif",
        "pdb": "chemical/x-pdb",
        "json": "application/json",
        "html": "text/html",
    }
    assert got["json"].json == json.loads(to_json({**predicted.to_dict(), "id": 'sun"\r\nflower'}))
    assert got["cif"].headers["content-disposition"] == 'attachment; filename="sun___flower.cif"'
    np.testing.assert_allclose(b_factors(got["pdb"].body.decode(), "pdb"), predicted.plddt[0], atol=0.006)
    assert "content-disposition" not in got["html"].headers
    assert server.ask("GET", files["html"] + "?download=1").headers["content-disposition"].endswith('.html"')
    assert server.ask("GET", files["cif"].replace("/cif", "/exe")).status == 422


def test_a_report_shows_itself_and_can_do_nothing_else(server):
    nasty = "<script>alert(1)</script>"
    answer = server.ask("GET", server.fold(id=nasty, keep=True).json["files"]["html"])
    page = answer.body.decode()
    assert nasty not in page and "&lt;script&gt;alert(1)" in page
    assert f"betafold-mlx fold {PEPTIDE} --model toy" in page
    folded = toy_predictor().fold(PEPTIDE, id=nasty, details=True)
    assert page == report_html(folded, command=f"betafold-mlx fold {PEPTIDE} --model toy")
    policy = answer.headers["content-security-policy"]
    assert "sandbox" in policy and "allow-same-origin" not in policy
    assert "default-src 'none'" in policy and "connect-src" not in policy
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"


def test_the_oldest_predictions_go(server):
    paths = [server.fold(seed=seed, keep=True).json["files"]["json"] for seed in range(3)]
    assert [server.ask("GET", path).status for path in paths] == [404, 200, 200]


@pytest.fixture(scope="module")
def plain():
    return toy_predictor().fold(PEPTIDE)


@pytest.mark.parametrize(
    ("kind", "body"),
    [("pdb", PEPTIDE), ("cif", f">a title\n{PEPTIDE[:7]}\n{PEPTIDE[7:]}\n")],
)
def test_the_atlas_paths(server, plain, kind, body):
    answer = server.ask("POST", f"/foldSequence/v1/{kind}/", body)
    assert (answer.status, answer.headers["content-type"]) == (200, f"chemical/x-{kind}")
    expected = plain
    scale = 100 if kind == "pdb" else 1
    np.testing.assert_allclose(
        scale * b_factors(answer.body.decode(), kind), expected.plddt[0], atol=0.51 * scale / 100
    )
    if kind == "pdb":
        lines = answer.body.decode().splitlines()
        assert {len(line) for line in lines} == {80}
        title = " ".join(line[10:].strip() for line in lines if line.startswith("TITLE"))
        assert title.startswith(f"{PEPTIDE}: PREDICTED BY BETAFOLD-MLX") and "MODEL TOY" in title
        assert "ESM" not in title
        remarks = "".join(line[11:] for line in lines if line.startswith("REMARK"))
        assert "0 to 1." in remarks and "0 to 100" not in remarks
        theirs = gemmi.read_pdb_string(answer.body.decode())
        ours = gemmi.read_pdb_string(expected.text("pdb"))
        places = [[atom.pos.tolist() for chain in s[0] for r in chain for atom in r] for s in (theirs, ours)]
        assert places[0] == places[1]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("", 400, "Sequence is empty."),
        (">title\n", 400, "Sequence is empty."),
        ("A" * 51, 413, "Sequence is longer than 50."),
        ("A" * 20_000, 413, "too long: 16 kB"),
        ("ACDEFX", 422, "'X' at position 6"),
        ("ACD:EFG", 422, "':' at position 4"),
        ("ACDEF\n>b\nACDEF", 422, "'>' at position 6"),
        (b"ACD\xff\xfe", 422, "Sequence can only contain ACDEFGHIKLMNPQRSTVWY"),
        ("ACD", 422, "Sequence is shorter than 4."),
    ],
)
def test_what_the_atlas_paths_refuse(server, body, status, words):
    answer = server.ask("POST", "/foldSequence/v1/pdb", body)
    assert answer.status == status and words in answer.body.decode()


def test_wrong_input_is_told_by_the_field(server):
    answer = server.fold(sequence="GRX", cyclic=5)
    assert answer.status == 422 and set(answer.problems) == {"sequence", "cyclic"}
    assert answer.json["error"]["message"] == f"sequence: {answer.problems['sequence']}"
    assert server.fold(samples=21).problems == {"samples": "this must be a whole number from 1 to 20"}


def test_thousands_of_wrong_fields_are_not_all_told(server):
    assert len(server.fold(**{f"x{number}": 0 for number in range(1000)}).problems) == 10


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b"\xff", 400),
        (b'{"sequence": "AAAA", "seed": NaN}', 422),
        (b'{"seed": ' + b"9" * 5000 + b"}", 400),
        (b"[" * 10_000, 400),
        (b"[1]", 422),
        (b'{"sequence": "AAAA", "id": "\\ud800"}', 422),
        (b'{"sequence": "AAAA", "\\ud800": 1}', 422),
        (b'{"sequence": "AAAA", "id": "' + b"x" * 20_000 + b'"}', 413),
    ],
)
def test_bodies_that_will_not_do(server, body, status):
    answer = server.ask("POST", "/api/v1/fold", body, {"Content-Type": "application/json"})
    assert answer.status == status, answer.body


def test_other_media_types_are_no_json(server):
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = server.ask("POST", "/api/v1/fold", json.dumps({"sequence": PEPTIDE}), {"Content-Type": kind})
        assert answer.status == 422 and "application/json" in answer.json["error"]["message"]


def raw(server, *parts):
    """Send bytes as they are, and return the first line of the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as connection:
        for part in parts:
            connection.sendall(part)
        return connection.makefile("rb").readline().decode()


HEAD = b"POST /foldSequence/v1/pdb/ HTTP/1.1\r\nHost: localhost\r\n"


def test_what_does_not_arrive_is_cut_off_and_what_waits_for_a_fold_is_not(server, monkeypatch):
    monkeypatch.setattr("betafold_mlx.serve.server._ARRIVAL", 1)
    begun = [b"", b"GET / HT", HEAD, HEAD + b"Content-Length: 100\r\n\r\nGIGK"]
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as clients:
        late = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 30)) for _ in begun]
        with server.model_held():
            waiting = clients.submit(server.fold)
            for connection, part in zip(late, begun, strict=True):
                connection.sendall(part)
            for connection in late:
                with contextlib.suppress(ConnectionResetError):
                    assert connection.recv(1) == b""
        assert waiting.result().status == 200


@pytest.mark.parametrize("head", [HEAD, HEAD.replace(b"foldSequence/v1/pdb/", b"api/v1/fold")])
def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(server, caplog, head):
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        connection.sendall(head + b"Content-Length: 100\r\n\r\nGIGK")
        assert server.ask("GET", "/api/v1/info").status == 200
    assert server.fold().status == 200
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_body_without_end_is_cut_off(server):
    chunk = b"4000\r\n" + b"A" * 0x4000 + b"\r\n"
    assert " 413 " in raw(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk, chunk)


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/api/v1/info", "/static/app.js"])
def test_pages_come_with_their_guards(server, path):
    answer = server.ask("GET", path)
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert (
        policy.startswith("default-src 'none'")
        and "unsafe" not in policy
        and "frame-ancestors 'none'" in policy
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in answer.headers and "server" not in answer.headers


@pytest.mark.parametrize("path", ["/nothing", "/static/../app.py", "/static/%2e%2e/app.py", "//"])
def test_nothing_else_is_there(server, path):
    answer = server.ask("GET", path)
    assert answer.status == 404 and answer.json["error"]["status"] == 404


def test_methods_that_are_not_there(server):
    answer = server.ask("GET", "/api/v1/fold")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:1", 200),
        ("LOCALHOST.", 200),
        ("192.168.0.7:8765", 200),
        ("[::1]:8765", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("localhost@evil.example", 421),
        ("127.0.0.1.evil.example:80", 421),
        ("localhost/x", 421),
        ("localhost:x", 421),
        ("[", 421),
        ("", 421),
    ],
)
def test_names_that_somebody_pointed_here_are_refused(server, host, status):
    assert server.ask("GET", "/api/v1/info", headers={"Host": host}).status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:5", "Host": "localhost:5"}, 200),
        ({"Origin": "http://localhost:6", "Host": "localhost:5"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_pages_of_other_sites_cannot_fold(server, headers, status):
    assert server.ask("POST", "/foldSequence/v1/pdb/", "AAAA", headers).status == status


def test_a_name_can_be_allowed():
    with running(names=["Peptides.Lab.example"]) as made:
        assert made.ask("GET", "/", headers={"Host": "peptides.lab.example:80"}).status == 200
        assert made.ask("GET", "/", headers={"Host": "other.lab.example"}).status == 421
