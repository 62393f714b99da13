"""The link's machine, example by example; the simulation covers what is between them."""

from __future__ import annotations

from math import inf

import pytest

from p2pnode.core.link import machine as link
from p2pnode.core.link.events import (
    Accepted,
    Action,
    Deliver,
    Delivered,
    Discarded,
    Down,
    Drop,
    ForgetMessages,
    Forgot,
    FrameReceived,
    Heard,
    LinkRecord,
    LinkTick,
    Opened,
    Post,
    PostRejected,
    Refuse,
    ReplaceMessages,
    Rest,
    SaveMessage,
    SaveRecord,
    SendFrame,
    StreamEnded,
    Suspect,
    Up,
)
from p2pnode.core.link.frames import (
    PAYLOAD_SIZE_BYTES_MAX,
    SEQUENCE_MAX,
    Ack,
    Beat,
    Data,
    Frame,
    Hello,
    Reject,
    decode_frame_untrusted,
)
from p2pnode.core.link.machine import Link
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage

OURS, THEIRS, NEW = "a" * 32, "b" * 32, "c" * 32


def hello(store: str = THEIRS, first: int = 1, known: str = "", received: int = 0) -> bytes:
    return codec.encode(Hello(version=4, store=store, first=first, known=known, received=received))


def frame(value: Frame) -> bytes:
    return codec.encode(value)


def sent(actions: list[Action]) -> list[Frame]:
    return [decode_frame_untrusted(action.data) for action in actions if isinstance(action, SendFrame)]


def without_sends(actions: list[Action]) -> list[Action]:
    return [action for action in actions if not isinstance(action, SendFrame)]


def new(
    own: str = "own",
    peer: str = "peer",
    record: LinkRecord | None = None,
    outbox: tuple[tuple[int, bytes], ...] = (),
) -> Link:
    return Link(own=own, peer=peer, store=OURS, record=record or LinkRecord(), outbox=outbox)


def up(**kwargs: object) -> Link:
    machine = new(**kwargs)  # type: ignore[arg-type]
    machine.handle(Opened(1), 0)
    machine.handle(FrameReceived(1, hello()), 0)
    assert machine.is_up
    return machine


def test_the_opener_says_hello_and_then_whatever_waits() -> None:
    machine = new(outbox=((4, b"x"),), record=LinkRecord(sent=4))
    assert sent(machine.handle(Opened(1), 0)) == [Hello(version=4, store=OURS, first=4, known="", received=0)]
    actions = machine.handle(FrameReceived(1, hello(first=9)), 0)
    assert sent(actions) == [Data(sequence=4, payload=b"x"), Beat()]
    assert without_sends(actions) == [SaveRecord(LinkRecord(THEIRS, 8, 4)), Up()]


def test_an_accepted_stream_counts_from_its_second_frame() -> None:
    machine = new(outbox=((1, b"x"),), record=LinkRecord(sent=1))
    actions = machine.handle(Accepted(1, hello()), 0)
    assert [type(value) for value in sent(actions)] == [Hello]
    assert not machine.is_up
    actions = machine.handle(FrameReceived(1, frame(Beat())), 1)
    assert machine.is_up
    assert sent(actions) == [Data(sequence=1, payload=b"x")]


def test_an_opener_that_is_silent_after_its_hello_is_dropped() -> None:
    machine = new()
    machine.handle(Accepted(1, hello()), 0)
    assert machine.deadline == link.HELLO_S_MAX
    assert machine.handle(LinkTick(), 5) == [Drop(1, "the peer did not go on after its hello")]
    assert not machine.has_stream


def test_a_message_is_acknowledged_after_its_delivery_and_not_before() -> None:
    machine = up()
    assert machine.handle(FrameReceived(1, frame(Data(sequence=1, payload=b"x"))), 0) == [Deliver(1, b"x")]
    assert machine.record.received == 0
    assert sent(machine.handle(Delivered(1), 0)) == [Ack(sequence=1)]
    assert machine.record.received == 1


def test_a_delivery_that_ends_after_its_stream_still_counts() -> None:
    machine = up()
    machine.handle(FrameReceived(1, frame(Data(sequence=1, payload=b"x"))), 0)
    machine.handle(StreamEnded(1, "cut"), 0)
    assert machine.handle(Delivered(1), 0) == []
    assert machine.handle(Opened(2), 0) != []
    machine.handle(FrameReceived(2, hello()), 0)
    again = machine.handle(FrameReceived(2, frame(Data(sequence=1, payload=b"x"))), 0)
    assert sent(again) == [Ack(sequence=1)]
    assert without_sends(again) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(Data(sequence=2, payload=b"")), "message 2 out of order, after 0"),
        (frame(Ack(sequence=1)), "message 1 acknowledged, which was not sent"),
        (hello(), "a second hello"),
        (b"", "not a message"),
        (b"\xff" * 30, "not a message"),
    ],
)
def test_a_frame_that_must_not_be_costs_the_link(data: bytes, reason: str) -> None:
    machine = up()
    drop, down = machine.handle(FrameReceived(1, data), 0)
    assert isinstance(drop, Drop)
    assert isinstance(down, Down)
    assert drop.reason == down.reason
    assert drop.reason.startswith(reason)
    assert not machine.has_stream


@pytest.mark.parametrize("data", [frame(Beat()), b"", codec.encode({"kind": "hello", "version": 4})])
def test_a_stream_that_does_not_begin_with_hello_is_dropped(data: bytes) -> None:
    machine = new()
    (action,) = machine.handle(Accepted(1, data), 0)
    assert isinstance(action, Drop)
    machine.handle(Opened(2), 0)
    (action,) = machine.handle(FrameReceived(2, data), 0)
    assert isinstance(action, Drop)


def test_another_version_is_named() -> None:
    data = codec.encode(Hello(version=5, store=THEIRS, first=1, known="", received=0))
    assert new().handle(Accepted(1, data), 0) == [
        Drop(1, "the peer speaks version 5 of the link, this node 4")
    ]


def test_a_message_that_is_discarded_counts_as_received_and_its_sender_hears_why() -> None:
    machine = up()
    machine.handle(FrameReceived(1, frame(Data(sequence=1, payload=b"junk"))), 0)
    actions = machine.handle(Discarded(1, "no such kind"), 0)
    assert actions[0] == SaveRecord(LinkRecord(THEIRS, 1, 0))
    assert sent(actions) == [Reject(sequence=1, reason="no such kind")]
    assert machine.handle(FrameReceived(1, frame(Data(sequence=2, payload=b"x"))), 0) == [Deliver(2, b"x")]


def test_a_rejected_message_leaves_the_outbox_with_all_before_it() -> None:
    machine = up(outbox=((1, b"a"), (2, b"b"), (3, b"c")), record=LinkRecord(sent=3))
    actions = machine.handle(FrameReceived(1, frame(Reject(sequence=2, reason="no"))), 0)
    assert actions == [ForgetMessages(2), PostRejected(b"b", "no")]
    assert machine.waiting == 1


def test_a_rejection_of_what_is_not_under_way_costs_the_link() -> None:
    machine = up()
    drop, down = machine.handle(FrameReceived(1, frame(Reject(sequence=1, reason="no"))), 0)
    assert drop == Drop(1, "message 1 rejected, which was not sent")
    assert isinstance(down, Down)


@pytest.mark.parametrize("received", [link.LOST_MESSAGES_MAX + 4, SEQUENCE_MAX])
def test_a_peer_that_has_more_of_us_than_a_disk_can_lose_gets_no_link(received: int) -> None:
    record = LinkRecord(THEIRS, 0, 3)
    data = hello(known=OURS, received=received)
    reason = f"the peer says that it has message {received} of 3"
    assert new(record=record).handle(Accepted(1, data), 0) == [Drop(1, reason)]
    opener = new(record=record)
    opener.handle(Opened(1), 0)
    assert opener.handle(FrameReceived(1, data), 0) == [Drop(1, reason)]
    assert opener.record == record


def test_of_two_streams_opened_at_once_that_of_the_lower_id_stays() -> None:
    low, high = new("a", "b"), new("b", "a")
    for machine in (low, high):
        machine.handle(Opened(1), 0)
    (action,) = low.handle(Accepted(2, hello()), 0)
    assert action == Drop(2, "both sides opened a link, and this one's stays")
    assert [type(value) for value in sent(high.handle(Accepted(2, hello()), 0))] == [Hello]
    assert Drop(1, "the peer opened another") in high.handle(FrameReceived(2, frame(Beat())), 0)
    assert high.is_up


def test_a_peer_that_opens_another_stream_has_lost_the_first() -> None:
    machine = up()
    machine.handle(Accepted(2, hello()), 1)
    actions = machine.handle(FrameReceived(2, frame(Beat())), 1)
    # For the owner nothing has happened.
    assert without_sends(actions) == [Drop(1, "the peer opened another")]
    assert machine.is_up


def test_a_peer_with_a_new_disk_gets_what_waits_and_is_reported() -> None:
    machine = new(record=LinkRecord(THEIRS, 7, 5), outbox=((4, b"d"), (5, b"e")))
    machine.handle(Opened(1), 0)
    actions = machine.handle(FrameReceived(1, hello(store=NEW)), 0)
    assert without_sends(actions) == [SaveRecord(LinkRecord(NEW, 0, 5)), Forgot(), Up()]
    assert [value.sequence for value in sent(actions) if isinstance(value, Data)] == [4, 5]


def test_what_the_peer_has_is_not_sent_again() -> None:
    machine = new(record=LinkRecord(THEIRS, 0, 5), outbox=((4, b"d"), (5, b"e")))
    machine.handle(Opened(1), 0)
    actions = machine.handle(FrameReceived(1, hello(known=OURS, received=4)), 0)
    assert ForgetMessages(4) in actions
    assert sent(actions) == [Data(sequence=5, payload=b"e"), Beat()]


def test_a_disk_that_lost_its_latest_writes_numbers_on() -> None:
    machine = new(record=LinkRecord(THEIRS, 0, 5), outbox=((5, b"e"),))
    machine.handle(Opened(1), 0)
    actions = machine.handle(FrameReceived(1, hello(known=OURS, received=8)), 0)
    assert ReplaceMessages(LinkRecord(THEIRS, 0, 9), ((9, b"e"),)) in actions
    assert Data(sequence=9, payload=b"e") in sent(actions)


def test_messages_are_saved_before_they_are_sent() -> None:
    save, send = up().handle(Post(b"x"), 0)
    assert save == SaveMessage(1, b"x")
    assert isinstance(send, SendFrame)
    assert new().handle(Post(b"x"), 0) == [SaveMessage(1, b"x")]


def test_an_outbox_has_limits_and_says_so() -> None:
    machine = new()
    for _ in range(link.OUTBOX_MESSAGES_MAX):
        machine.handle(Post(b""), 0)
    assert machine.handle(Post(b""), 0) == [Refuse("1024 messages wait for this peer already", full=True)]
    machine = new()
    for _ in range(16):
        machine.handle(Post(bytes(PAYLOAD_SIZE_BYTES_MAX)), 0)
    (refusal,) = machine.handle(Post(bytes(2000)), 0)
    assert isinstance(refusal, Refuse)
    assert machine.waiting == 16
    (refusal,) = new().handle(Post(bytes(PAYLOAD_SIZE_BYTES_MAX + 1)), 0)
    assert isinstance(refusal, Refuse) and not refusal.full


def test_the_largest_message_fits_a_frame() -> None:
    machine = up()
    (data,) = sent(machine.handle(Post(bytes(PAYLOAD_SIZE_BYTES_MAX)), 0))
    assert isinstance(data, Data)
    largest = Data(sequence=SEQUENCE_MAX, payload=bytes(PAYLOAD_SIZE_BYTES_MAX))
    assert decode_frame_untrusted(codec.encode(largest)) == largest


def test_no_more_than_a_window_is_under_way() -> None:
    machine = up()
    actions: list[Action] = []
    for _ in range(100):
        actions += machine.handle(Post(b"x"), 0)
    assert len(sent(actions)) == link.WINDOW_MESSAGES_MAX
    assert len(sent(machine.handle(FrameReceived(1, frame(Ack(sequence=10))), 0))) == 10


def test_a_quiet_link_beats() -> None:
    machine = up()
    assert machine.deadline == link.BEAT_AFTER_S
    assert sent(machine.handle(LinkTick(), link.BEAT_AFTER_S)) == [Beat()]


def test_a_link_that_its_opener_does_not_want_any_more_is_closed_when_it_is_quiet() -> None:
    machine = up()
    assert machine.handle(Rest(), machine.rests_at - 1) == []
    machine.handle(FrameReceived(1, frame(Data(sequence=1, payload=b"news"))), 10)
    assert machine.rests_at == inf
    machine.handle(Delivered(1), 10)
    machine.handle(FrameReceived(1, frame(Beat())), 20)
    assert machine.rests_at == 10 + link.REST_AFTER_S
    dropped, down = machine.handle(Rest(), machine.rests_at)
    assert (type(dropped), type(down)) == (Drop, Down)


def test_a_link_that_the_peer_opened_is_the_peers_to_close() -> None:
    machine = new()
    machine.handle(Accepted(1, hello()), 0)
    machine.handle(FrameReceived(1, frame(Beat())), 0)
    assert machine.is_up
    assert machine.rests_at == inf


def test_a_link_on_which_something_waits_is_not_closed() -> None:
    machine = up()
    machine.handle(Post(b"for the peer"), 1)
    assert machine.rests_at == inf


def _silence(machine: Link, until_s: float) -> list[tuple[float, Action]]:
    """All that the machine does, tick by tick, while the peer says nothing."""
    history: list[tuple[float, Action]] = []
    while machine.deadline <= until_s:
        now = machine.deadline
        history += [(now, action) for action in machine.handle(LinkTick(), now)]
        assert machine.deadline > now, "or it would be woken for ever"
    return [(now, action) for now, action in history if not isinstance(action, SendFrame)]


def test_a_pause_of_three_seconds_is_no_loss() -> None:
    assert _silence(up(), 3.9) == []


def test_a_silent_peer_is_suspected_and_then_lost() -> None:
    assert _silence(up(), 10) == [
        (4.0, Suspect()),
        (6.0, Drop(1, "the peer was silent for 6 s")),
        (6.0, Down("the peer was silent for 6 s")),
    ]


def test_a_suspected_peer_that_speaks_is_trusted_again() -> None:
    machine = up()
    _silence(machine, 5)
    machine.handle(Heard(1), 5)
    assert [now for now, _ in _silence(machine, 20)] == [9.0, 11.0, 11.0]


def test_a_node_that_was_paused_itself_does_not_blame_its_peers() -> None:
    machine = up()
    assert [type(action) for action in machine.handle(LinkTick(), 60)] == [SendFrame, Suspect]
    machine.handle(Heard(1), 60.1)
    assert machine.is_up


def test_events_of_dropped_streams_are_ignored() -> None:
    machine = up()
    machine.handle(StreamEnded(1, "cut"), 0)
    for event in (FrameReceived(1, b"junk"), Heard(1), StreamEnded(1, "cut"), LinkTick()):
        assert machine.handle(event, 1) == []


@pytest.mark.parametrize("first", [0, -1, 2**53])
def test_numbers_out_of_range_are_a_bad_message(first: int) -> None:
    data = codec.encode(
        {"kind": "hello", "version": 1, "store": THEIRS, "first": first, "known": "", "received": 0}
    )
    with pytest.raises(BadMessage):
        decode_frame_untrusted(data)
