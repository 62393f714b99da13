"""Bitswap between hosts in memory: peers that vanish, lie, are silent, lack a block, or send garbage."""

from __future__ import annotations

import contextlib
import errno
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from p2pnode.core.wire import BadMessage
from p2pnode.ipfs import bitswap as bitswaps
from p2pnode.ipfs import bitswap_messages, cid, dagpb, fetch, protobuf, unixfs
from p2pnode.ipfs.bitswap import Bitswap, open_bitswap
from p2pnode.ipfs.bitswap_messages import Message, Want, WantKind
from p2pnode.ipfs.blocks import BlockStore, BlockUnavailable

LATEST, _, LEGACY = bitswaps.PROTOCOLS


class Broken(Exception):
    """What the network in memory raises."""


class Stream:
    """One end of a stream in memory, with the methods of the network's stream."""

    def __init__(self, peer: str, protocol: str, inner: trio.StapledStream) -> None:
        self.peer = peer
        self.protocol = protocol
        self._inner = inner
        self._buffer = bytearray()

    async def read_some(self, size_bytes_max: int, timeout_s: float) -> bytes:
        if not self._buffer:
            self._buffer += await self._receive(timeout_s)
        data = bytes(self._buffer[:size_bytes_max])
        del self._buffer[:size_bytes_max]
        return data

    async def read_exactly(self, size_bytes: int, timeout_s: float) -> bytes:
        while len(self._buffer) < size_bytes:
            data = await self._receive(timeout_s)
            if not data:
                raise Broken("closed")
            self._buffer += data
        data = bytes(self._buffer[:size_bytes])
        del self._buffer[:size_bytes]
        return data

    async def _receive(self, timeout_s: float) -> bytes:
        try:
            with trio.fail_after(timeout_s):
                return bytes(await self._inner.receive_some())
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as exc:
            raise Broken("no data") from exc

    async def write(self, data: bytes, timeout_s: float) -> None:
        try:
            with trio.fail_after(timeout_s):
                await self._inner.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as exc:
            raise Broken("no peer") from exc

    async def close(self) -> None:
        await trio.aclose_forcefully(self._inner)

    async def reset(self) -> None:
        await trio.aclose_forcefully(self._inner)


Handler = Callable[[Stream], Awaitable[None]]


class Network:
    """Hosts in memory, all connected. `break_off` takes one away, with all its streams."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.hosts: dict[str, Host] = {}

    def host(self, name: str, protocols: Sequence[str] = bitswaps.PROTOCOLS) -> Host:
        self.hosts[name] = Host(self, name, protocols)
        return self.hosts[name]

    async def break_off(self, name: str) -> None:
        for stream in self.hosts.pop(name).streams:
            await stream.reset()


class Host:
    def __init__(self, network: Network, name: str, protocols: Sequence[str]) -> None:
        self.network = network
        self.name = name
        self.protocols = protocols
        self.handlers: dict[str, Handler] = {}
        self.streams: list[Stream] = []
        self.reset_by: list[Exception] = []

    def handle(self, protocol: str, handler: Handler, *, time_limit_s: float) -> None:
        self.handlers[protocol] = handler

    async def open_stream(self, peer: str, protocols: Sequence[str], timeout_s: float) -> Stream:
        await trio.lowlevel.checkpoint()
        other = self.network.hosts.get(peer)
        if other is None or self.network.hosts.get(self.name) is not self:
            raise Broken(f"{peer} is not connected")
        protocol = next(name for name in protocols if name in other.protocols)
        here, there = trio.testing.memory_stream_pair()
        ours, theirs = Stream(peer, protocol, here), Stream(self.name, protocol, there)
        self.streams.append(ours)
        other.streams.append(theirs)
        self.network.nursery.start_soon(other.serve, theirs)
        return ours

    async def serve(self, stream: Stream) -> None:
        try:
            await self.handlers[stream.protocol](stream)
        except (Broken, BadMessage) as exc:
            self.reset_by.append(exc)
        await stream.reset()


class Scripted:
    """A peer of which a test decides what it sends; what it is sent is kept."""

    def __init__(self, host: Host, answer: Callable[[Want], Message | None] = lambda want: None) -> None:
        self.host = host
        self.messages: list[Message] = []
        self.answer = answer
        for protocol in host.protocols:
            host.handle(protocol, self.serve, time_limit_s=1)

    async def serve(self, stream: Stream) -> None:
        back = await self.host.open_stream(stream.peer, self.host.protocols, 1)
        while (data := await read_message(stream)) is not None:
            message = bitswap_messages.decode_untrusted(data)
            self.messages.append(message)
            for want in message.wants:
                reply = None if want.cancel else self.answer(want)
                if reply is not None:
                    await back.write(bitswap_messages.encode(reply), 1)

    @property
    def wants(self) -> list[Want]:
        return [want for message in self.messages for want in message.wants]


async def read_message(stream: Stream) -> bytes | None:
    prefix = b""
    while not prefix or prefix[-1] & 0x80:
        byte = await stream.read_some(1, 1000)
        if not byte:
            return None
        prefix += byte
    return await stream.read_exactly(protobuf.varint_untrusted(prefix, 0)[0], 1000)


async def run_at_once(function: Callable[..., object], *arguments: object, limiter: object = None) -> object:
    """Stands in for a thread: the jumping clock knows of none, and would jump while one works."""
    await trio.lowlevel.checkpoint()
    return function(*arguments)


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
            bitswap = await stack.enter_async_context(open_bitswap(host, store, Broken))
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
        with pytest.raises(BlockUnavailable, match="nothing came for 45 s; silent: it sent nothing useful"):
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
        assert caught.value.reason == "one: it does not have it; two: it does not have it"
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
        monkeypatch.setattr(BlockStore, "put_verified", full)
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


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_bad_message(data: bytes) -> None:
    with contextlib.suppress(BadMessage):
        bitswap_messages.decode_untrusted(data)


@given(
    st.lists(st.tuples(st.binary(max_size=9), st.sampled_from(WantKind), st.booleans(), st.booleans())),
    st.lists(st.tuples(st.binary(max_size=9), st.booleans())),
    st.booleans(),
)
def test_a_message_survives_encoding(
    raw_wants: list[tuple[bytes, WantKind, bool, bool]], presences: list[tuple[bytes, bool]], full: bool
) -> None:
    def named(data: bytes) -> cid.Cid:
        return cid.parse(cid.make(data, "raw"))

    message = Message(
        wants=tuple(Want(named(data), *rest) for data, *rest in raw_wants),
        full=full,
        blocks=tuple((named(data), data) for data, _ in presences),
        presences=tuple((named(data), have) for data, have in presences),
    )
    encoded = bitswap_messages.encode(message)
    _, start = protobuf.varint_untrusted(encoded, 0)
    decoded = bitswap_messages.decode_untrusted(encoded[start:])
    assert (decoded.wants, decoded.full, decoded.presences) == (message.wants, full, message.presences)
    assert decoded.received == tuple(data for _, data in message.blocks)


def test_a_wantlist_of_too_many_entries_is_refused() -> None:
    wants = (Want(cid.parse(cid.make(b"", "raw"))),) * (bitswap_messages.ENTRIES_PER_MESSAGE_MAX + 1)
    encoded = bitswap_messages.encode(Message(wants=wants))
    _, start = protobuf.varint_untrusted(encoded, 0)
    with pytest.raises(BadMessage, match="more than"):
        bitswap_messages.decode_untrusted(encoded[start:])


def test_the_largest_block_fits_into_a_message() -> None:
    data = bytes(dagpb.BLOCK_SIZE_BYTES_MAX)
    encoded = bitswap_messages.encode(Message(blocks=((cid.parse(cid.make(data, "raw")), data),)))
    assert len(encoded) < bitswap_messages.MESSAGE_SIZE_BYTES_MAX
