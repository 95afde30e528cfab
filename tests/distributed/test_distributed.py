"""Ranks: what they tell each other, and what happens to the others when one is gone."""

import json
import socket
import threading
import time
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from rank_helpers import free_addresses, run_ranks

from betafold_mlx.distributed import control
from betafold_mlx.distributed.control import Control, RankLostError, meet
from betafold_mlx.distributed.ranks import ALONE, join
from betafold_mlx.errors import BetafoldError

SCRIPT = Path(__file__).parents[1].joinpath("rank_script.py")


def together(*functions):
    """Run each function in a thread of its own; return what they return, or raise."""
    results = [None] * len(functions)

    def run(place):
        try:
            results[place] = functions[place]()
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


@pytest.fixture
def star():
    """Return controls of three ranks, connected."""
    made = []

    def make(silence=30.0, size=3):
        pairs = {rank: socket.socketpair() for rank in range(1, size)}
        made.append(Control(0, size, {rank: pair[0] for rank, pair in pairs.items()}, silence))
        made.extend(Control(rank, size, {0: pair[1]}, silence) for rank, pair in pairs.items())
        return made

    yield make
    together(*(one.close for one in made))


def die(one):
    """End the connections as the end of a process does."""
    for connection in one._peers.values():
        connection.shutdown(socket.SHUT_RDWR)


# What ranks tell each other


def test_three_processes_on_a_ring(tmp_path):
    results = run_ranks(tmp_path, *([SCRIPT],) * 3)
    assert [code for code, _, _ in results] == [0, 0, 0], results
    found = [json.loads(out) for _, out, _ in results]
    drawn = [np.random.default_rng(rank).normal(size=(7, 3)).astype(np.float32) for rank in range(3)]
    sent = [np.array([1e-45, -0.0, np.nan], np.float32), np.array(2**60 + 2), np.array([2, 7], np.uint8)]
    for rank, one in enumerate(found):
        assert (one["rank"], one["size"], one["main"]) == (rank, 3, rank == 0)
        assert one["gathered"] == [
            {"rank": other, "text": "ä\n", "half": 0.5 if other else None} for other in range(3)
        ]
        assert one["from_main"] == "made by 0" and one["bytes"] == "00ff00ff"
        assert np.allclose(one["sum"][0], np.sum(drawn, axis=0, dtype=np.float64), atol=1e-6)
        assert one["sum"][1] == 4.5 and one["shapes"] == [[7, 3], []]
        assert one["sum"] == found[0]["sum"]  # the same bits
        assert one["broadcast"][1:] == [array.tobytes().hex() for array in sent[1:]]
        assert one["broadcast"] == found[2]["broadcast"]  # denormals, the sign of zero and NaN too
        assert one["types"] == ["mlx.core.float32", "mlx.core.int64", "mlx.core.uint8"]
        assert one["different"] == (
            "rank 1 has the setting network width 33, rank 0 32: all must have the same"
        )
    assert sorted(number for one in found for number in one["share"]) == list(range(8))


def test_a_rank_that_fails_stops_the_others_with_its_reason(tmp_path):
    script = "import runpy, sys\nfrom betafold_mlx.cli import main\nmain.cli.main = lambda *a, **k: " + (
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\nmain.main()"
    )
    results = run_ranks(tmp_path, *(["-c", script, "fail"],) * 3)
    assert [code for code, _, _ in results] == [1, 1, 1]
    assert [err for _, _, err in results] == [
        "betafold-mlx: rank 1 stopped: the disk is full",
        "betafold-mlx: rank 1: the disk is full",
        "betafold-mlx: rank 2: rank 1 stopped: the disk is full",
    ]


def test_the_first_reason_counts_where_another_rank_repeats_it_at_once(star, monkeypatch):
    first, *_ = star()
    send = first._send

    def answered(peer, kind, value=None, behind=b""):
        if kind == "failed":
            first._fail(peer, f"rank {peer} stopped: {value}")
        send(peer, kind, value, behind)

    monkeypatch.setattr(first, "_send", answered)
    first._fail(1, "rank 1 stopped: the disk is full")
    with pytest.raises(RankLostError, match=r"^rank 1 stopped: the disk is full$"):
        first.receive(1)


def test_values_come_in_order_however_late(star):
    def talk(one):
        told = []
        for number in range(20):
            if (number + one.rank) % 7 == 0:
                time.sleep(0.002)
            told.append(one.exchange([one.rank, number]))
        return told

    expected = [[[rank, number] for rank in range(3)] for number in range(20)]
    assert together(*(lambda one=one: talk(one) for one in star())) == [expected] * 3


def test_bytes_of_any_size_go_between_the_main_rank_and_another_beside_all_else(star):
    first, second, third = star()
    big = np.random.default_rng(0).bytes(3 * control._PIECE + 17)
    sent = [big, b"", b"\n[", big[: control._PIECE], b"x"]

    def talk(one):
        for number, data in enumerate(sent):
            one.send(data, 0)
            if number == 2:
                assert one.exchange(one.rank) == [0, 1, 2]
        return [one.receive(0) for _ in range(2)]

    def main():
        told = first.exchange(0)
        for peer in (1, 2):
            first.send(b"%d" % peer, peer)
        for peer in (2, 1):
            first.send(big[peer:], peer)
        return told, [[first.receive(peer) for _ in sent] for peer in (1, 2)]

    results = together(main, lambda: talk(second), lambda: talk(third))
    assert results == [([0, 1, 2], [sent] * 2), [b"1", big[1:]], [b"2", big[2:]]]


def test_a_process_by_itself_has_nobody_to_send_to():
    with pytest.raises(ValueError, match="nobody"):
        ALONE.send(b"", 0)
    with pytest.raises(ValueError, match="nobody"):
        ALONE.receive(0)


# A rank that is gone


def test_bytes_that_did_not_come_whole_are_a_rank_that_is_lost(star):
    first, second = star(size=2)
    second.send(b"whole", 0)
    second._peers[0].sendall(b'["piece", [10, true]]\nhalf')
    die(second)
    assert first.receive(1) == b"whole"
    with pytest.raises(RankLostError, match="rank 1 was lost: its process ended"):
        first.receive(1)


@pytest.mark.parametrize("announced", [b"[-1, true]", b"[9e9, true]", b"[1048577, true]", b"7", b"[null, 1]"])
def test_more_bytes_than_a_rank_sends_are_something_else(star, announced):
    first, second = star(size=2)
    second._peers[0].sendall(b'["piece", %s]\n' % announced)
    with pytest.raises(RankLostError, match="something else"):
        first.receive(1)


def test_a_rank_that_takes_nothing_more_is_lost(star):
    """Its process was stopped: what is sent to it fills the buffers, and then waits."""
    first, _ = star(size=2)
    listening = first._peers[1]
    ours, theirs = socket.socketpair()
    with ours, theirs:  # where nobody reads
        ours.settimeout(0.3)
        first._peers[1] = ours
        first.send(bytes(1 << 24), 1)
        first._peers[1] = listening
    with pytest.raises(RankLostError, match="rank 1 was lost: no sign of life"):
        first.receive(1)


def test_a_connection_that_ends_is_a_rank_that_is_lost(star):
    first, second, third = star()
    die(second)
    begin = time.monotonic()
    lost = together(lambda: first.exchange(0), lambda: third.exchange(0))
    assert [type(error) for error in lost] == [RankLostError] * 2 and time.monotonic() - begin < 5
    assert {str(error) for error in lost} == {"rank 1 was lost: its process ended"}


def test_what_all_said_counts_where_one_is_gone_since(star):
    first, second = star(size=2)
    assert together(lambda: first.exchange("a"), lambda: second.exchange("b"))[0] == ["a", "b"]
    assert together(lambda: first.exchange("c"), lambda: (second._send(0, "value", "d"), die(second)))[0] == [
        "c",
        "d",
    ]
    with pytest.raises(RankLostError):
        first.exchange("e")


def test_a_rank_that_has_left_is_not_lost_to_one_that_hears_the_last_word_later(star, monkeypatch):
    first, second, third = star()
    send = first._send

    def slow(peer, kind, *rest):
        if peer == 2 and kind == "value":
            time.sleep(0.5)  # rank 1 has heard it meanwhile, and gone
        send(peer, kind, *rest)

    monkeypatch.setattr(first, "_send", slow)
    results = together(
        lambda: first.exchange(0),
        lambda: (second.exchange(1), second.close())[0],
        lambda: third.exchange(2),
    )
    assert results == [[0, 1, 2]] * 3


def test_silence_is_a_rank_that_is_lost(star, monkeypatch):
    monkeypatch.setattr(
        control, "_BEATS", 0.01
    )  # a machine without power: nothing is sent, nothing is closed
    first, second = star(silence=0.3, size=2)
    for one in (first, second):
        with pytest.raises(RankLostError, match="no sign of life"):
            one.exchange(0)


def test_signs_of_life_keep_a_rank_that_has_nothing_to_say(star):
    first, second = star(silence=1.5, size=2)
    results = together(lambda: first.exchange(0), lambda: time.sleep(2.0) or second.exchange(1))
    assert results == [[0, 1]] * 2


def test_work_that_waits_for_a_lost_rank_is_left_behind(star):
    first, second = star(size=2)
    never = threading.Event()
    threading.Timer(0.2, die, [second]).start()
    with pytest.raises(RankLostError, match="rank 1 was lost"):
        first.watch(never.wait)
    never.set()


def test_the_errors_of_work_name_the_rank_where_that_is_known(star, monkeypatch):
    monkeypatch.setattr(control, "_NAMING_SECONDS", 0.3)
    first, second = star(size=2)

    def breaks():
        raise RuntimeError("[ring] broken")

    with pytest.raises(RankLostError, match=r"connection between the ranks broke \(\[ring\] broken\)"):
        first.watch(breaks)
    monkeypatch.setattr(control, "_NAMING_SECONDS", 30.0)
    die(second)
    with pytest.raises(RankLostError, match="rank 1 was lost"):
        first.watch(breaks)
    first.watch(lambda: None)  # done is done


def test_a_line_of_something_else_is_a_rank_that_is_lost(star):
    first, second = star(size=2)
    second._peers[0].sendall(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(RankLostError, match="something else"):
        first.exchange(0)


# Coming together


def address():
    host, _, port = free_addresses(1)[0].rpartition(":")
    return host, int(port)


def test_strangers_are_sent_away(star):
    place = address()

    def stranger():
        for words in (b"GET /\n", b"[7, 3]\n", b"[1, 2]\n", b"[true, 3]\n", b""):
            while True:
                try:
                    connection = socket.create_connection(place)
                    break
                except ConnectionRefusedError:
                    time.sleep(0.02)
            with connection:
                connection.sendall(words)
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(10) == b""

    controls = together(
        lambda: meet(0, 3, place, 20, 30),
        lambda: (stranger(), meet(1, 3, place, 20, 30))[1],
        lambda: (time.sleep(0.3), meet(2, 3, place, 20, 30))[1],
    )
    assert [one.rank for one in controls] == [0, 1, 2]
    assert together(*(lambda one=one: one.exchange(one.rank) for one in controls)) == [[0, 1, 2]] * 3
    with socket.create_server(place):  # the address is free for the ring while the connections live
        pass
    together(*(one.close for one in controls))


def test_a_rank_that_does_not_come_is_named():
    place = address()
    errors = together(lambda: meet(0, 3, place, 0.6, 30), lambda: meet(1, 3, place, 0.6, 30))
    assert str(errors[0]) == "rank 2 did not come within 1 seconds"
    assert isinstance(errors[1], BetafoldError) and "rank 1 was not let in by rank 0" in str(errors[1])
    with pytest.raises(BetafoldError, match=r"rank 1 cannot reach rank 0 at 127\.0\.0\.1:\d+"):
        meet(1, 3, place, 0.3, 30)
    with socket.create_server(place), pytest.raises(BetafoldError, match="starting-port"):
        meet(0, 3, place, 0.3, 30)


def test_a_process_by_itself_initialises_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(mx.distributed, "init", lambda *args, **kwargs: pytest.fail("initialised"))
    monkeypatch.delenv("MLX_RANK", raising=False)
    assert join() is ALONE
    monkeypatch.setenv("MLX_RANK", "0")
    (tmp_path / "hosts").write_text("\n")  # mlx.launch -n 1
    monkeypatch.setenv("MLX_HOSTFILE", str(tmp_path / "hosts"))
    assert join() is ALONE
    with ALONE as ranks:
        assert (
            ranks.gather("x") == ["x"] and ranks.from_main(lambda: 3) == 3 and [1, 2][ranks.share()] == [1, 2]
        )


@pytest.mark.parametrize("text", ["{", "3", '[["host"], ["host"]]', "[[], []]", '[["h:1"], ["h:x"]]'])
def test_a_list_of_hosts_that_is_none(tmp_path, monkeypatch, text):
    (tmp_path / "hosts").write_text(text)
    monkeypatch.setenv("MLX_RANK", "1")
    monkeypatch.setenv("MLX_HOSTFILE", str(tmp_path / "hosts"))
    with pytest.raises(BetafoldError, match="not a list of ring addresses"):
        join()


def test_other_backends_and_odd_timeouts_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_RANK", "0")
    monkeypatch.delenv("MLX_HOSTFILE", raising=False)
    monkeypatch.setenv("MLX_WORLD_SIZE", "2")
    with pytest.raises(BetafoldError, match="--backend ring"):
        join()
    (tmp_path / "hosts").write_text('[["127.0.0.1:1"], ["127.0.0.1:2"]]')
    monkeypatch.setenv("MLX_HOSTFILE", str(tmp_path / "hosts"))
    for text in ("soon", "0", "nan"):
        monkeypatch.setenv("BETAFOLD_RANK_TIMEOUT", text)
        with pytest.raises(BetafoldError, match="BETAFOLD_RANK_TIMEOUT"):
            join()
