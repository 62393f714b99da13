"""Links between real hosts on loopback: loss, restart, silence and garbage."""

from __future__ import annotations

import os
import random

import pytest
import trio

from p2pnode.core.link import machine
from p2pnode.core.link.failure_detector import (
    LinkDown,
    LinkUp,
    MessageRejected,
    OutboxEmptied,
    PeerForgot,
)
from p2pnode.core.link.frames import (
    FRAME_SIZE_BYTES_MAX,
    PAYLOAD_SIZE_BYTES_MAX,
    Beat,
    Data,
    Hello,
)
from p2pnode.core.values import patience
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage, Untimely
from p2pnode.core.wire.reasons import reason_of
from p2pnode.network import link_end, links
from p2pnode.network.host import open_host
from p2pnode.network.link_owner import CannotSend
from p2pnode.network.streams import Stream, StreamBroken

from .network_support import LOOPBACK, WAIT_S, MemoryJournal, new_identity, open_node, until


def numbers(count: int, first: int = 0) -> list[bytes]:
    return [str(number).encode() for number in range(first, first + count)]


async def test_messages_arrive_in_order_both_ways_and_are_forgotten() -> None:
    async with open_node() as a, open_node() as b:
        a.meet(b)
        for payload in numbers(200):
            a.links.send(b.id, payload)
        await until(lambda: len(b.got) == 200)
        for payload in numbers(200):
            b.links.send(a.id, payload)
        await until(lambda: len(a.got) == 200)
        assert [payload for _, payload in a.got] == [payload for _, payload in b.got] == numbers(200)
        await until(lambda: not (a.links.waiting(b.id) or b.links.waiting(a.id)))
        assert a.journal.outboxes[b.id] == {}
        assert a.events[-1] == OutboxEmptied(b.id)
        assert a.comings == [LinkUp(b.id)]


async def test_both_sides_may_begin_at_once() -> None:
    async with open_node() as a, open_node() as b:
        a.meet(b)
        b.meet(a)
        for payload in numbers(20):
            a.links.send(b.id, payload)
            b.links.send(a.id, payload)
        await until(lambda: len(a.got) == len(b.got) == 20)
        assert [payload for _, payload in a.got] == [payload for _, payload in b.got] == numbers(20)


async def test_the_largest_message_arrives_and_a_larger_one_is_refused() -> None:
    async with open_node() as a, open_node() as b:
        a.meet(b)
        payload = os.urandom(PAYLOAD_SIZE_BYTES_MAX)
        a.links.send(b.id, payload)
        await until(lambda: b.got)
        assert b.got == [(a.id, payload)]
        with pytest.raises(CannotSend, match="at most"):
            a.links.send(b.id, payload + b"x")
        assert a.links.waiting(b.id) in (0, 1)


async def test_what_was_sent_to_an_absent_peer_arrives_when_it_comes() -> None:
    journal, identity = MemoryJournal(), new_identity()
    async with open_node(journal=journal) as a:
        a.links.send(identity.peer_id, b"before")
    async with open_node(journal=journal) as a:
        async with open_node(identity) as b:
            a.meet(b)
            await until(lambda: b.got)
            assert b.got[0][1] == b"before"


async def test_a_peer_that_restarts_on_its_port_is_found_again_and_nothing_is_lost() -> None:
    identity, journal = new_identity(), MemoryJournal()
    async with open_node() as a:
        async with open_node(identity, journal) as b:
            a.meet(b)
            address = b.host.addresses()[0].split("/p2p")[0]
            a.links.keep(b.id)
            a.links.send(b.id, b"0")
            await until(lambda: b.got)
        await until(lambda: not a.links.is_up(b.id))
        for payload in numbers(10, 1):
            a.links.send(b.id, payload)
        async with open_node(identity, journal, address) as b:
            assert await until(lambda: len(b.got) == 10) < 5
            assert [payload for _, payload in b.got] == numbers(10, 1)
        assert PeerForgot(b.id) not in a.events


async def test_a_peer_that_lost_its_disk_is_reported_and_served() -> None:
    identity = new_identity()
    async with open_node() as a:
        for payload in numbers(2):
            async with open_node(identity) as b:
                a.meet(b)
                a.links.send(b.id, payload)
                await until(lambda b=b: b.got)
                await until(lambda b=b: not a.links.waiting(b.id))
                assert b.got == [(a.id, payload)]
        assert PeerForgot(identity.peer_id) in a.events


async def test_a_journal_that_fails_refuses_the_message_and_the_node_goes_on() -> None:
    async with open_node() as a, open_node() as b:
        a.meet(b)
        a.links.send(b.id, b"0")
        await until(lambda: b.got)
        a.journal.fails = True
        with pytest.raises(OSError, match="disk is full"):
            a.links.send(b.id, b"lost")
        a.journal.fails = False
        a.links.send(b.id, b"1")
        await until(lambda: len(b.got) == 2)
        assert [payload for _, payload in b.got] == numbers(2)


async def test_a_receiver_whose_journal_fails_gets_the_message_again() -> None:
    async with open_node() as a, open_node() as b:
        a.meet(b)
        a.links.send(b.id, b"0")
        await until(lambda: b.got)
        b.journal.fails = True
        a.links.send(b.id, b"1")
        await until(lambda: any(isinstance(event, LinkDown) for event in b.events))
        b.journal.fails = False
        await until(lambda: len(b.got) == 2)
        assert [payload for _, payload in b.got] == numbers(2)


@pytest.mark.parametrize(
    "error", [BadMessage("no such kind"), KeyError("kind"), ExceptionGroup("", [ValueError()])]
)
async def test_what_the_owner_cannot_take_in_is_discarded_and_holds_up_nothing(error: Exception) -> None:
    async def refuse(peer: str, payload: bytes) -> None:
        if payload == b"junk":
            raise error

    async with open_node() as a, open_node() as b:
        a.meet(b)
        b.on_message = refuse
        for payload in (b"junk", b"good"):
            a.links.send(b.id, payload)
        await until(lambda: b.got)
        assert b.got == [(a.id, b"good")]
        await until(lambda: not a.links.waiting(b.id))
        assert [one for one in a.events if isinstance(one, MessageRejected)] == [
            MessageRejected(b.id, b"junk", reason_of(error))
        ]
        assert not any(isinstance(event, LinkDown) for event in b.events)
        # A failure of this node's own is a problem that people hear of; a bad message is not.
        assert len(b.problems) == (not isinstance(error, BadMessage))


async def test_a_peer_that_keeps_sending_what_is_refused_is_left_alone() -> None:
    async def refuse(peer: str, payload: bytes) -> None:
        raise BadMessage("no such kind")

    async with open_node() as a, open_node() as b:
        a.meet(b)
        b.on_message = refuse
        for payload in numbers(patience.REFUSALS_MAX + 1):
            a.links.send(b.id, payload)
        await until(lambda: any(isinstance(event, LinkDown) for event in b.events))
        a.links.send(b.id, b"more")
        with trio.move_on_after(0.5):
            await until(lambda: a.links.is_up(b.id))
        assert not b.links.is_up(a.id)
        assert b.got == []
        # A connection of its own, with a new outbox, does not make another peer of it.
        stream = await a.host.open_stream(b.id, [links.PROTOCOL], 5)
        hello = codec.encode(Hello(version=4, store="0" * 32, first=1, known="", received=0))
        await stream.write(len(hello).to_bytes(4, "big") + hello, 5)
        with pytest.raises(StreamBroken):
            await stream.read_exactly(1, 5)
        assert sum(isinstance(event, LinkDown) for event in b.events) == 1


async def test_a_peer_that_ends_each_stream_at_once_is_dialled_ever_more_rarely() -> None:
    opened: list[float] = []

    async def refuse(stream: Stream) -> None:
        opened.append(trio.current_time())
        await stream.reset()

    async with open_node() as a, open_host(new_identity(), [LOOPBACK]) as b:
        b.handle(links.PROTOCOL, refuse)
        a.known[b.peer_id] = b.addresses()
        a.links.send(b.peer_id, b"x")
        await until(lambda: len(opened) >= 4)
        # At least 0.1, 0.2 and 0.4 s.
        assert opened[3] - opened[0] >= 0.6


async def test_what_does_not_go_with_what_is_known_here_is_not_held_against_its_sender() -> None:
    async def refuse(peer: str, payload: bytes) -> None:
        raise Untimely("a job of another type")

    async with open_node() as a, open_node() as b:
        a.meet(b)
        b.on_message = refuse
        for payload in numbers(2 * patience.REFUSALS_MAX):
            a.links.send(b.id, payload)
        await until(lambda: not a.links.waiting(b.id))
        assert a.links.is_up(b.id)
        assert not any(isinstance(event, LinkDown) for event in b.events)


async def test_who_posts_when_a_link_comes_up_posts_behind_what_waits() -> None:
    """The owner is told once all actions are performed: what it says then has the next number."""
    journal, identity = MemoryJournal(), new_identity()
    async with open_node() as a:
        a.links.send(identity.peer_id, b"0")
        a.on_event = lambda event: a.links.send(identity.peer_id, b"1") if isinstance(event, LinkUp) else None
        async with open_node(identity, journal) as b:
            a.meet(b)
            await until(lambda: len(b.got) == 2)
            assert [payload for _, payload in b.got] == numbers(2)
            assert a.comings == [LinkUp(b.id)]


async def test_a_message_for_what_is_no_peer_id_is_not_taken() -> None:
    async with open_node() as a:
        for name in ("0OIl", "", "12D3KooWnope", "x" * 60):
            with pytest.raises(CannotSend, match="no peer id"):
                a.links.send(name, b"x")


async def test_what_an_older_journal_holds_for_no_peer_is_thrown_away_at_the_start() -> None:
    journal = MemoryJournal()
    journal.add_message("0OIl", 1, b"x")
    async with open_node(journal=journal) as a, open_node() as b:
        assert journal.outboxes["0OIl"] == {}
        a.meet(b)
        a.links.send(b.id, b"y")
        await until(lambda: b.got)


async def test_a_dial_that_raises_costs_that_link_alone() -> None:
    async with open_node() as a, open_node() as b:
        strange = new_identity().peer_id
        good = a.links._addresses_of
        a.links._addresses_of = lambda peer: [][1] if peer == strange else good(peer)
        a.links.send(strange, b"x")
        await until(lambda: a.problems)
        a.meet(b)
        a.links.send(b.id, b"y")
        await until(lambda: b.got)
        assert {subject for _, subject, _ in a.problems} == {strange}


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


HELLO = framed(codec.encode(Hello(version=4, store="f" * 32, first=1, known="", received=0)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        bytes(4),
        random.Random(1).randbytes(100),
        (FRAME_SIZE_BYTES_MAX + 1).to_bytes(4, "big") + b"x",
        framed(b"junk"),
        framed(codec.encode(Beat())),
        HELLO,
        HELLO + framed(b"junk"),
        HELLO + framed(codec.encode(Data(sequence=5, payload=b"x"))),
        HELLO + framed(codec.encode(Beat())) + HELLO,
        HELLO + framed(codec.encode(Beat())) + (FRAME_SIZE_BYTES_MAX + 1).to_bytes(4, "big"),
        HELLO + framed(codec.encode(Beat())) + b"\x00\x00\x10\x00half",
    ],
)
async def test_garbage_on_a_link_costs_that_peer_its_link_and_nothing_else(data: bytes) -> None:
    async with open_node() as a, open_node() as b, open_host(new_identity(), [LOOPBACK]) as stranger:
        a.meet(b)
        a.links.keep(b.id)
        await until(lambda: a.links.is_up(b.id))
        await stranger.connect(b.id, b.host.addresses(), WAIT_S)
        stream = await stranger.open_stream(b.id, [links.PROTOCOL], WAIT_S)
        await stream.write(data, WAIT_S)
        await stream.close_write()
        # Whatever it is, the other end lets go of the stream.
        with trio.fail_after(WAIT_S):
            while await stream.read_some(65_536, WAIT_S):
                pass
        await until(lambda: not b.links.is_up(stranger.peer_id))
        a.links.send(b.id, b"still here")
        await until(lambda: b.got)
        assert LinkDown not in [type(event) for event in a.events]
        assert b.got == [(a.id, b"still here")]


async def test_a_link_ends_when_neither_side_wants_it_any_more_and_no_sooner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "REST_AFTER_S", 0.3)
    async with open_node() as a, open_node() as b:
        a.meet(b)
        b.meet(a)
        a.links.keep(b.id)
        await until(lambda: b.links.is_up(a.id))
        b.links.keep(a.id)
        a.links.release(b.id)
        # Its opener has left the stream, and the other has opened one.
        await until(lambda: LinkDown in [type(event) for event in b.events])
        await until(lambda: b.links.is_up(a.id) and a.links.is_up(b.id))
        await trio.sleep(0.6)  # Nothing is to happen.
        assert b.links.is_up(a.id)
        b.links.release(a.id)
        await until(lambda: not (a.links._ends or b.links._ends))
        assert a.host.connected() == [b.id]


async def test_what_nobody_wants_is_not_kept() -> None:
    async with open_node() as a, open_node() as b:
        a.meet(b)
        a.links.keep(b.id)
        await until(lambda: a.links.is_up(b.id))
        a.links.release(b.id)
        await b.host.disconnect(a.id)
        await until(lambda: not a.links._ends)
        await until(lambda: not b.links._ends)


async def test_frames_that_wait_go_in_one_write_up_to_a_bound() -> None:
    size = link_end.WRITE_SIZE_BYTES_MAX // 2
    sending, waiting = trio.open_memory_channel[bytes](8)
    for data in (b"second", b"x" * size, b"y" * size, b"last"):
        sending.send_nowait(data)
    framed = [len(data).to_bytes(4, "big") + data for data in (b"first", b"second", b"x" * size, b"y" * size)]
    assert link_end.together(b"first", waiting) == b"".join(framed)
    assert waiting.receive_nowait() == b"last"
    assert link_end.together(b"alone", waiting) == b"\x00\x00\x00\x05alone"
