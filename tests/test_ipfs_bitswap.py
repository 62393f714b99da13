"""Bitswap between hosts in memory: peers that vanish, lie, are silent, lack a block, or send garbage."""

from __future__ import annotations

import contextlib
import errno
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from p2pnode.core.wire import protobuf
from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import bitswap_messages, bitswap_streams, cid, fetch, reading, unixfs
from p2pnode.ipfs.bitswap import Bitswap, open_bitswap
from p2pnode.ipfs.bitswap_messages import Message, Want, WantKind
from p2pnode.ipfs.blocks import BlockStore, BlockUnavailable

from .bitswap_network import Host, Network, Scripted, run_at_once

LATEST, _, LEGACY = bitswap_streams.PROTOCOLS


@pytest.fixture
async def network(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Network]:
    monkeypatch.setattr(trio.to_thread, "run_sync", run_at_once)
    yield Network(nursery)
    nursery.cancel_scope.cancel()


class Node:
    def __init__(self, host: Host, store: BlockStore, bitswap: Bitswap) -> None:
        self.host = host
        self.store = store
        self.bitswap = bitswap


@contextlib.asynccontextmanager
async def nodes(network: Network, directory: Path, *names: str) -> AsyncIterator[list[Node]]:
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for name in names:
            host, store = network.host(name), BlockStore(directory / name)
            bitswap = await stack.enter_async_context(open_bitswap(host, store))
            made.append(Node(host, store, bitswap))
        yield made


def put_sample(store: BlockStore, size_bytes: int = 3_000_000) -> str:
    """A directory of some files, one of them large; the same each time."""
    source = random.Random(3)
    entries: dict[str, bytes] = {f"{index}": source.randbytes(index) for index in range(20)}
    return unixfs.add_directory({"large": source.randbytes(size_bytes), "small": entries}, store.put)


def block_count(store: BlockStore, root: str) -> int:
    """The blocks of a graph; fails when one is missing."""
    data = store.get(root)
    assert data is not None
    links = fetch.links_of(root, data)
    assert not isinstance(links, BadMessage)
    return 1 + sum(block_count(store, link) for link in links)


async def test_a_graph_is_fetched_whole_and_not_again(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here", "there") as (here, there):
        root = put_sample(there.store)
        counts: list[tuple[int, int]] = []
        await here.bitswap.fetch_dag(root, ["there"], progress=lambda *count: counts.append(count))
        assert block_count(here.store, root) == block_count(there.store, root)
        assert counts[-1] == (len(counts), there.store.size_bytes)
        await network.break_off("there")
        await here.bitswap.fetch_dag(root, ["there"])
        await here.bitswap.fetch_dag(root, [])


async def test_a_fetch_that_was_cut_off_goes_on_where_it_was(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here", "there") as (here, there):
        root = put_sample(there.store)
        with trio.CancelScope() as scope:

            def stop(blocks: int, size_bytes: int) -> None:
                if blocks == 5:
                    scope.cancel()

            await here.bitswap.fetch_dag(root, ["there"], progress=stop)
        before = here.store.size_bytes
        assert 0 < before < there.store.size_bytes
        await here.bitswap.fetch_dag(root, ["there"])
        assert block_count(here.store, root) == block_count(there.store, root)


async def test_a_directory_is_listed_without_fetching_what_is_in_it(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here", "there") as (here, there):
        small = put_sample(there.store)
        names = [f"{index:0250}" for index in range(2000)]
        large = unixfs.add_directory({name: name.encode() for name in names}, there.store.put)
        for root, expected in ((small, ["large", "small"]), (large, names)):
            await here.bitswap.fetch_dag(root, ["there"], reach=fetch.Reach.LISTING)
            found = {link.name: link.cid for link in reading.list_directory(root, here.store.get)}
            assert sorted(found) == expected
            assert not any(map(here.store.has, found.values()))


async def test_several_peers_share_the_work(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here", "there") as (here, there):
        root = put_sample(there.store, 20_000_000)

        def answer(want: Want) -> Message:
            data = there.store.get(str(want.cid))
            assert data is not None
            return Message(blocks=((want.cid, data),))

        helpers = [Scripted(network.host(name), answer) for name in ("one", "two")]
        await here.bitswap.fetch_dag(root, ["one", "two"])
        assert block_count(here.store, root) == block_count(there.store, root)
        shares = [len([want for want in helper.wants if not want.cancel]) for helper in helpers]
        assert min(shares) > 10


async def test_the_loss_of_a_peer_on_the_way_does_not_end_a_fetch(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here", "one", "two") as (here, one, two):
        root = put_sample(one.store, 20_000_000)
        assert put_sample(two.store, 20_000_000) == root
        started_s = trio.current_time()

        def lose_one(blocks: int, size_bytes: int) -> None:
            if blocks == 10:
                network.nursery.start_soon(network.break_off, "one")

        await here.bitswap.fetch_dag(root, ["one", "two"], progress=lose_one)
        assert block_count(here.store, root) == block_count(two.store, root)
        assert trio.current_time() - started_s < fetch.PEER_STALL_TIMEOUT_S


async def test_a_fetch_outlives_a_short_break_of_its_only_peer(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here", "there") as (here, there):
        root = put_sample(there.store, 20_000_000)

        async def interrupt() -> None:
            await network.break_off("there")
            await trio.sleep(fetch.PEER_RETRY_S / 2)
            network.hosts["there"] = there.host

        def lose(blocks: int, size_bytes: int) -> None:
            if blocks == 10:
                network.nursery.start_soon(interrupt)

        await here.bitswap.fetch_dag(root, ["there"], progress=lose)
        assert block_count(here.store, root) == block_count(there.store, root)


async def test_a_lying_peer_costs_time_and_nothing_else(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here", "there") as (here, there):
        root = put_sample(there.store)
        liar = Scripted(network.host("liar"), lambda want: Message(blocks=((want.cid, b"a lie"),)))
        await here.bitswap.fetch_dag(root, ["liar", "there"])
        assert block_count(here.store, root) == block_count(there.store, root)
        assert liar.wants
        assert here.store.size_bytes == there.store.size_bytes
        with pytest.raises(BlockUnavailable, match="liar: it sent nothing useful"):
            await here.bitswap.fetch_dag(cid.make(b"x", "raw"), ["liar"])


async def test_a_peer_that_floods_is_asked_no_more(
    network: Network, autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "USELESS_BYTES_MAX", 1000)
    async with nodes(network, tmp_path, "here") as (here,):
        Scripted(network.host("liar"), lambda want: Message(blocks=((want.cid, bytes(2000)),)))
        started_s = trio.current_time()
        with pytest.raises(BlockUnavailable, match="liar: it sends other blocks"):
            await here.bitswap.fetch_dag(cid.make(b"x", "raw"), ["liar"])
        assert trio.current_time() - started_s < 1


async def test_a_silent_peer_is_passed_over_and_a_lone_one_given_up(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here", "there") as (here, there):
        silent = Scripted(network.host("silent"))
        root = put_sample(there.store)
        await here.bitswap.fetch_dag(root, ["silent", "there"])
        assert block_count(here.store, root) == block_count(there.store, root)
        assert [want for want in silent.wants if want.cancel]
        started_s = trio.current_time()
        with pytest.raises(BlockUnavailable, match="nothing came for 45 s; …silent: it sent nothing useful"):
            await here.bitswap.fetch_dag(cid.make(b"x", "raw"), ["silent"])
        assert trio.current_time() - started_s == pytest.approx(fetch.FETCH_STALL_TIMEOUT_S, abs=1)


async def test_a_block_that_no_peer_has_fails_at_once_and_says_so(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here", "one", "two") as (here, one, _):
        root = put_sample(one.store)
        missing = cid.make(random.Random(3).randbytes(0), "raw")
        one.store.remove(missing)
        started_s = trio.current_time()
        with pytest.raises(BlockUnavailable) as caught:
            await here.bitswap.fetch_dag(root, ["one", "two"])
        assert caught.value.cid == missing
        assert caught.value.reason == "…one, …two: it does not have it"
        with pytest.raises(BlockUnavailable, match="no peer that may have it is known"):
            await here.bitswap.fetch_dag(missing, [])
        assert trio.current_time() - started_s < 1


async def test_peers_that_cannot_be_reached_are_tried_again_and_then_named(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here") as (here,):
        started_s = trio.current_time()
        with pytest.raises(BlockUnavailable, match="gone: gone is not connected"):
            await here.bitswap.fetch_dag(cid.make(b"x", "raw"), ["gone"])
        assert 2 < trio.current_time() - started_s < 10


async def test_a_full_disk_ends_a_fetch_with_its_own_error(
    network: Network, autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(store: BlockStore, address: str, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with nodes(network, tmp_path, "here", "there") as (here, there):
        root = put_sample(there.store)
        monkeypatch.setattr(BlockStore, "write", full)
        with pytest.raises(OSError, match="No space left"):
            await here.bitswap.fetch_dag(root, ["there"])


async def test_a_graph_that_is_too_large_or_is_none_is_refused(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here", "there") as (here, there):
        root = put_sample(there.store)
        with pytest.raises(BlockUnavailable, match="more than 1000000 bytes"):
            await here.bitswap.fetch_dag(root, ["there"], size_bytes_max=1_000_000)
        with pytest.raises(BlockUnavailable, match="no UnixFS node"):
            await here.bitswap.fetch_dag(there.store.put(b"junk", "dag-pb"), ["there"])


async def test_two_fetches_of_one_graph_at_once_both_end(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here", "there") as (here, there):
        root = put_sample(there.store)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.bitswap.fetch_dag, root, ["there"])
            nursery.start_soon(here.bitswap.fetch_dag, root, ["there"])
        assert block_count(here.store, root) == block_count(there.store, root)


async def test_a_node_passes_on_what_it_is_still_fetching(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "far", "middle", "source") as (far, middle, source):
        root = put_sample(source.store)
        async with trio.open_nursery() as nursery:
            # Scripted wants without "send dont have", so that middle remembers them.
            asker = Scripted(network.host("asker"))
            stream = await asker.host.open_stream("middle", [LATEST], 1)
            await stream.write(bitswap_messages.encode(Message(wants=(Want(cid.parse(root)),))), 1)
            await trio.sleep(1)
            assert asker.messages == []
            nursery.start_soon(middle.bitswap.fetch_dag, root, ["source"])
        await trio.sleep(1)
        assert [data for message in asker.messages for data in message.received] == [source.store.get(root)]
        await far.bitswap.fetch_dag(root, ["middle"])


async def test_what_a_peer_asks_about_is_answered_as_bitswap_says(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here") as (here,):
        small, large = here.store.put(b"small"), here.store.put(bytes(2000))
        missing = cid.make(b"missing", "raw")
        asker = Scripted(network.host("asker"))

        async def ask(*wants: Want) -> list[Message]:
            asker.messages.clear()
            stream = await asker.host.open_stream("here", [LATEST], 1)
            await stream.write(bitswap_messages.encode(Message(wants=wants)), 1)
            await stream.close()
            await trio.sleep(1)
            return asker.messages

        def want(address: str, kind: WantKind, send_dont_have: bool = True) -> Want:
            return Want(cid.parse(address), kind, send_dont_have=send_dont_have)

        (answer,) = await ask(
            want(small, WantKind.HAVE), want(large, WantKind.HAVE), want(missing, WantKind.HAVE)
        )
        assert answer.received == (b"small",)
        assert set(answer.presences) == {(cid.parse(missing), False), (cid.parse(large), True)}
        (answer,) = await ask(want(large, WantKind.BLOCK), want(missing, WantKind.BLOCK, False))
        assert (answer.received, answer.presences) == ((bytes(2000),), ())
        asker.messages.clear()
        here.store.put(b"missing")
        here.bitswap.blocks_added()
        await trio.sleep(1)
        assert [message.received for message in asker.messages] == [(b"missing",)]
        gone = cid.make(b"gone", "raw")
        await ask(want(gone, WantKind.BLOCK, False))
        await ask(Want(cid.parse(gone), cancel=True))
        here.store.put(b"gone")
        here.bitswap.blocks_added()
        await trio.sleep(1)
        assert asker.messages == []


async def test_blocks_are_sent_in_batches(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here") as (here,):
        data = [bytes([index]) * 100_000 for index in range(12)]
        wants = tuple(Want(cid.parse(here.store.put(block))) for block in data)
        asker = Scripted(network.host("asker"))
        stream = await asker.host.open_stream("here", [LATEST], 1)
        await stream.write(bitswap_messages.encode(Message(wants=wants)), 1)
        await trio.sleep(1)
        assert [len(message.received) for message in asker.messages] == [5, 5, 2]
        assert [block for message in asker.messages for block in message.received] == data


async def test_a_peer_of_version_1_0_gets_and_gives_bare_blocks(
    network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    old = network.host("old", [LEGACY])
    async with nodes(network, tmp_path, "here") as (here,):
        root = here.store.put(b"for old")
        asker = Scripted(old, lambda want: Message(blocks=((want.cid, b"from old"),)))
        stream = await old.open_stream("here", [LEGACY], 1)
        await stream.write(bitswap_messages.encode(Message(wants=(Want(cid.parse(root)),)), legacy=True), 1)
        await here.bitswap.fetch_dag(cid.make(b"from old", "raw"), ["old"])
        await trio.sleep(1)
        assert [message.received for message in asker.messages if message.received] == [(b"for old",)]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x05hello",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
        protobuf.varint(bitswap_messages.MESSAGE_SIZE_BYTES_MAX + 1),
        b"\x02\x0a\x7f",
        b"\x80",
    ],
)
async def test_garbage_costs_its_sender_the_stream(
    garbage: bytes, network: Network, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with nodes(network, tmp_path, "here", "there") as (here, there):
        stream = await network.host("evil").open_stream("here", [LATEST], 1)
        await stream.write(garbage, 1)
        await stream.close()
        await trio.sleep(1)
        assert len(here.host.reset_by) == 1
        await here.bitswap.fetch_dag(there.store.put(b"still works"), ["there"])
