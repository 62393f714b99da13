"""The order of what a program wrote to stdout and stderr: as it is written down, read, and lied about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.core.wire.log_order import (
    RUNS_MAX,
    STDERR,
    STDOUT,
    LogOrder,
    LogReading,
)
from p2pnode.engines.wasm.worker.output import MARK_SIZE_BYTES, Pieces
from p2pnode.network.protocols import logs
from p2pnode.node.log_orders import LogOrders
from p2pnode.service.logs import _interleaved, _Stream

CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
OTHER = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"

written = st.lists(st.tuples(st.sampled_from((STDOUT, STDERR)), st.binary(min_size=1, max_size=5)))

MARK = bytes(range(1, MARK_SIZE_BYTES + 1))


def order_of(writes: Sequence[tuple[int, bytes]]) -> LogOrder:
    order = LogOrder()
    for stream, data in writes:
        order.add(stream, len(data))
    return order


def whole(writes: Sequence[tuple[int, bytes]], stream: int) -> bytes:
    return b"".join(data for one, data in writes if one == stream)


def chunks(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 3] for at in range(0, len(data), 3))


def read(
    out: bytes, err: bytes, runs: Sequence[int], offsets: tuple[int, int] = (0, 0)
) -> list[tuple[str, bytes]]:
    """The output of `job logs` for a result whose files come in chunks of three bytes."""
    streams: dict[logs.Name, _Stream] = {
        "stdout": _Stream(chunks(out), offsets[0]),
        "stderr": _Stream(chunks(err), offsets[1]),
    }
    return list(_interleaved(streams, LogReading(runs, *offsets)))


@given(writes=written)
def test_what_was_written_is_read_in_its_order(writes: list[tuple[int, bytes]]) -> None:
    pieces = read(whole(writes, STDOUT), whole(writes, STDERR), order_of(writes).runs)
    assert [(name, byte) for name, data in pieces for byte in data] == [
        (logs.NAMES[stream], byte) for stream, data in writes for byte in data
    ]


@given(
    out=st.binary(max_size=20),
    err=st.binary(max_size=20),
    runs=st.lists(st.integers(0, 30) | st.just(2**63 - 1), max_size=20),
    offsets=st.tuples(st.integers(0, 25), st.integers(0, 25)),
)
def test_whatever_a_peer_says_every_byte_comes_once_in_the_order_of_its_stream(
    out: bytes, err: bytes, runs: list[int], offsets: tuple[int, int]
) -> None:
    pieces = read(out, err, runs, offsets)
    assert b"".join(data for name, data in pieces if name == "stdout") == out[offsets[0] :]
    assert b"".join(data for name, data in pieces if name == "stderr") == err[offsets[1] :]


@pytest.mark.parametrize(
    ("runs", "seen"),
    [
        pytest.param([2, 2, 2, 2], "aaEEaaEE", id="as it was written"),
        pytest.param([], "aaaaEEEE", id="an order that is not known: stdout and then stderr"),
        pytest.param([2, 2], "aaEEaaEE", id="only its beginning is known"),
        pytest.param([9, 2, 2, 2], "aaaaEEEE", id="a run beyond its stream: stdout and then stderr"),
        pytest.param([0, 2**63 - 1], "EEEEaaaa", id="the longest run that there is"),
    ],
)
def test_an_order_and_what_is_wrong_with_it(runs: list[int], seen: str) -> None:
    assert b"".join(data for _, data in read(b"aaaa", b"EEEE", runs)) == seen.encode()


def test_an_order_ends_at_its_limit_and_what_comes_then_is_read_stream_by_stream() -> None:
    writes = [(number % 2, b"ab"[number % 2 : number % 2 + 1]) for number in range(RUNS_MAX + 10)]
    order = order_of(writes)
    assert len(order.runs) == RUNS_MAX
    seen = b"".join(data for _, data in read(whole(writes, STDOUT), whole(writes, STDERR), order.runs))
    assert seen == b"ab" * (RUNS_MAX // 2) + b"a" * 5 + b"b" * 5


async def test_what_runs_is_read_in_its_order_and_what_has_no_order_stdout_first(tmp_path: Path) -> None:
    paths = tmp_path / "stdout", tmp_path / "stderr"
    paths[0].write_bytes(b"one\nthree\nfive\n")
    paths[1].write_bytes(b"two\nfour\n")

    async def seen(runs: list[int], stdout_offset: int = 0) -> bytes:
        pieces = logs.tail(lambda: (*paths, runs), stdout_offset, 0, follow=False)
        return b"".join([data async for _, data in pieces])

    assert await seen([4, 4, 6, 5, 5]) == b"one\ntwo\nthree\nfour\nfive\n"
    assert await seen([4, 4, 6, 5, 5], stdout_offset=4) == b"two\nthree\nfour\nfive\n"
    assert await seen([]) == b"one\nthree\nfive\ntwo\nfour\n"


@given(
    writes=st.lists(
        st.tuples(st.sampled_from((1, 2)), st.one_of(st.binary(min_size=1, max_size=9), st.just(MARK[:9])))
    ),
    cut=st.integers(1, 7),
)
def test_a_workers_pieces_are_taken_apart_wherever_they_are_cut(
    writes: list[tuple[int, bytes]], cut: int
) -> None:
    heads = (MARK + len(data).to_bytes(4, "big") if stream == 2 else b"" for stream, data in writes)
    sent = b"".join(head + data for head, (_, data) in zip(heads, writes, strict=True))
    pieces = Pieces(MARK)
    found = [piece for at in range(0, len(sent), cut) for piece in pieces.take_untrusted(sent[at : at + cut])]
    found.append((1, pieces.rest()))
    assert [(one, byte) for one, data in found for byte in data] == [
        (one, byte) for one, data in writes for byte in data
    ]


@given(parts=st.lists(st.one_of(st.binary(), st.just(MARK), st.just(MARK[:9]))))
def test_whatever_a_worker_sends_is_taken(parts: list[bytes]) -> None:
    pieces = Pieces(MARK)
    taken = [piece for part in parts for _, piece in pieces.take_untrusted(part)]
    assert sum(map(len, taken)) <= sum(map(len, parts))


def test_orders_are_kept_as_long_as_their_results_and_only_where_they_tell_something(tmp_path: Path) -> None:
    kept = {CID}
    orders = LogOrders(tmp_path / "orders", kept.__contains__)
    orders.add(OTHER, LogOrder([4, 4]))
    assert not (tmp_path / "orders").exists()
    orders.add(CID, LogOrder([4, 4, 1]))
    assert list(orders.of(CID)) == [4, 4, 1]
    assert list(orders.of(OTHER)) == []
    again = LogOrders(tmp_path / "orders", set[str]().__contains__)
    assert list(again.of(CID)) == [4, 4, 1]
    again.add(OTHER, LogOrder([0, 4, 1]))
    assert list(again.of(CID)) == []
    assert list(again.of(OTHER)) == [0, 4, 1]


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xa1", b"\xa1druns\x81\x20" + b"\x20"])
def test_an_order_that_the_disk_has_spoilt_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CID).write_bytes(content)
    assert list(LogOrders(tmp_path, lambda result: True).of(CID)) == []
