"""How soon a job could begin at a peer, and what is asked, waited for and bid by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from p2pnode.core.job.asking import Asking
from p2pnode.core.placement import arrival
from p2pnode.core.placement.advertising import Advertising
from p2pnode.core.placement.adverts import AdvertTable, Known
from p2pnode.core.placement.arrival import FetchRate, bytes_of, fetch_s, size_class, sizes_told, start_s, step
from p2pnode.core.placement.locality import cid_cache_key, image_cache_key
from p2pnode.core.placement.matching import requirements_of
from p2pnode.core.placement.ranking import free_tenths, rank_candidates
from p2pnode.core.records.events import CapacityChanged, Received, Send
from p2pnode.core.records.lifecycle import Execution, ExecutionState
from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import SIZE_CLASS_MAX
from p2pnode.core.wire.messages import Bid, Capacity
from p2pnode.core.wire.spec import DockerTask, InputSource, JobSpec, Resources, Source, Timeouts
from p2pnode.core.worker.machine import Worker

from .core_support import JOB, ROOM, advert, ask, capacity, known, new_record, signed, spec

DATA = cid_cache_key("data")
LARGE, SMALL = size_class(10 * 10**9), 0
LINE = size_class(12_500_000)


def with_data(timeouts: Timeouts | None = None, **changes: Any) -> JobSpec:
    wanted = spec(timeouts=timeouts, **changes)
    inputs = (InputSource(target="/data", source=Source(type="ipfs", params={"CID": "data"})),)
    return codec.replace(wanted, task=codec.replace(wanted.task, inputs=inputs))


@pytest.mark.parametrize("size_bytes", [0, 60, 2**16, 10**6, 10**9, 10**11, 2**60])
def test_a_class_is_off_by_less_than_a_factor_of_two(size_bytes: int) -> None:
    told = size_class(size_bytes)
    assert 0 <= told <= SIZE_CLASS_MAX
    if 2**16 <= size_bytes < 2**38:
        assert size_bytes / 2 < bytes_of(told) < size_bytes * 2
    if size_bytes < 2**16:
        assert bytes_of(told) == 0


@pytest.mark.parametrize(
    ("seconds", "which"), [(0, 0), (0.9, 0), (1, 1), (1.9, 1), (2, 2), (3.9, 2), (4, 3), (1000, 10)]
)
def test_times_are_compared_in_steps_that_double(seconds: float, which: int) -> None:
    assert step(seconds) == which


@pytest.mark.parametrize(
    ("held", "rate", "seconds"),
    [
        (((DATA, LARGE),), 0, 0),
        ((), LINE, 800),
        ((), 0, 800),
        ((), size_class(125_000_000), 80),
        ((), SIZE_CLASS_MAX, 0),
        ((), 1, arrival.START_S_MAX),
    ],
    ids=[
        "it is there",
        "100 Mbit/s",
        "a rate never seen",
        "1 Gbit/s",
        "the best of claims",
        "the worst of lines",
    ],
)
def test_the_time_to_begin_is_what_lacks_over_the_rate(held: Any, rate: int, seconds: float) -> None:
    found = start_s({DATA: LARGE}, capacity(cached=held, fetch_rate=rate))
    assert seconds / 2 <= found <= max(1, seconds * 2)


@pytest.mark.parametrize(
    ("own", "others", "size"),
    [
        ((), [], 0),
        ((), [12], 12),
        ((5,), [12, 12, 12], 5),
        ((), [12, 12, 23], 12),
        ((), [0, 12, 12], 12),
    ],
    ids=["nobody tells", "one tells", "one's own word", "one lies upwards", "one lies downwards"],
)
def test_a_size_is_ones_own_word_or_that_in_the_middle(own: Any, others: list[int], size: int) -> None:
    wanted = with_data()
    mine = capacity(cached=tuple((DATA, one) for one in own))
    theirs = [capacity(cached=((DATA, one),)) for one in others]
    assert sizes_told(requirements_of(wanted), wanted.task, mine, theirs) == {DATA: size}


def test_an_image_that_nobody_tells_of_is_taken_to_be_large() -> None:
    wanted = spec()
    task = codec.replace(wanted.task, engine=DockerTask(image="python:3"))
    need = requirements_of(codec.replace(wanted, task=task))
    assert sizes_told(need, task, None, []) == {image_cache_key("python:3"): arrival.IMAGE_CLASS}
    assert arrival.is_large(arrival.IMAGE_CLASS)


def test_a_rate_is_that_of_the_last_fetches_and_small_ones_tell_nothing() -> None:
    rate = FetchRate()
    assert rate.told == 0
    rate.note(60, 5.0)
    rate.note(10**9, 0.0)
    assert rate.told == 0
    rate.note(10**9, 80.0)
    assert rate.told == LINE
    for _ in range(20):
        rate.note(10**9, 8.0)
    assert rate.told == size_class(125_000_000)
    rate.note(10**7, 10**7)
    assert rate.told == 1


@pytest.mark.parametrize(
    "candidates",
    [
        [advert("worse"), advert("better", cached=((DATA, LARGE),), free=ROOM, fetch_rate=0)],
        [advert("worse", fetch_rate=1), advert("better", fetch_rate=20)],
        [advert("worse", price_micros=1, cached=((DATA, LARGE),)), advert("better")],
        [
            advert("worse"),
            advert("better", cached=((DATA, LARGE),), free=codec.replace(ROOM, cpu_millis=1000)),
        ],
    ],
    ids=["has the data", "has the wider line", "is cheaper", "has the data and is fuller"],
)
def test_of_two_peers_that_one_is_asked_first_where_the_job_begins_sooner(candidates: Any) -> None:
    need = requirements_of(with_data())
    for order in (candidates, candidates[::-1]):
        ranked = rank_candidates(JOB, 1, need, known(*order).values(), {}, {}, (), {DATA: LARGE})
        assert [one.peer for one in ranked] == ["better", "worse"]


def test_a_module_of_60_bytes_is_no_reason_and_load_is() -> None:
    need = requirements_of(with_data())
    fuller = advert("worse", cached=((DATA, SMALL),), free=codec.replace(ROOM, cpu_millis=2000))
    peers = known(fuller, advert("better")).values()
    assert rank_candidates(JOB, 1, need, peers, {}, {}, (), {DATA: SMALL})[0].peer == "better"


def test_what_a_peer_was_given_since_its_advert_counts_until_the_next() -> None:
    table, need = AdvertTable(), requirements_of(spec())
    first, second = advert("a"), advert("a", number=2)
    table.learn(signed(first), first, 90_000, 0.0)
    before = free_tenths(need, table.known["a"])
    for _ in range(40):
        table.gave("a", need.resources)
    table.gave("nobody", need.resources)
    assert free_tenths(need, table.known["a"]) < before - 50
    table.learn(signed(second), second, 90_000, 1.0)
    assert free_tenths(need, table.known["a"]) == before


def test_a_node_knows_what_it_has_before_its_advert_tells_it() -> None:
    table, own = AdvertTable(), advert("me")
    table.learn(signed(own), own, 90_000, 0.0)
    table.refresh("me", capacity(cached=((DATA, LARGE),), fetch_rate=3, free=codec.replace(ROOM, gpus=9)))
    found = table.known["me"].advert.capacity
    assert (found.cached, found.fetch_rate, found.free) == (((DATA, LARGE),), 3, ROOM)


@pytest.mark.parametrize(
    ("before", "after", "tells"),
    [((), ((1, SMALL),), False), ((), ((1, LARGE),), True), (((1, LARGE),), (), False)],
    ids=["something small has come", "something large has come", "something large has gone"],
)
def test_what_is_large_is_told_at_once(before: Any, after: Any, tells: bool) -> None:
    advertising = Advertising()
    advertising.take(capacity(cached=before), 3, 0.5, 0.0)
    advertising.changed(capacity(cached=after), 10.0)
    assert (advertising.due <= 10.0) is tells


FULL = codec.replace(ROOM, cpu_millis=0)


def asking(now: float, peers: list[Any], waited: str = "", wanted: JobSpec | None = None) -> Asking:
    """A job that was submitted at 100 s, and whose ask waits since then at the peer `waited`."""
    record = new_record(JOB, "me", wanted or with_data(), 100.0)
    table = {one.advert.peer: one for one in peers}
    found = Asking(record, table, now)
    if waited:
        Asking(record, {waited: table[waited]}, 100.0).begin_round([None])  # type: ignore[list-item]
        (one,) = record.executions.values()
        one.move(ExecutionState.QUEUED, 100.0, "busy")
    return found


def peer(name: str, brought_by: str | None = None, **changes: Any) -> Known:
    return replace(known(advert(name, **changes))[name], brought_by=brought_by)


HOLDER = {"cached": ((DATA, LARGE),), "free": FULL}
QUEUE_60_S = with_data(Timeouts(queue_s=60))


@pytest.mark.parametrize(
    ("now", "peers", "waited", "wanted", "asked"),
    [
        (100, [peer("holder", **HOLDER), peer("far")], "", None, ["holder"]),
        (130, [peer("holder", **HOLDER), peer("far")], "holder", None, []),
        (399, [peer("holder", **HOLDER), peer("far")], "holder", None, []),
        (400, [peer("holder", **HOLDER), peer("far")], "holder", None, ["far"]),
        (130, [peer("holder", **HOLDER), peer("far")], "holder", QUEUE_60_S, ["far"]),
        (100, [peer("holder", "liar", **HOLDER), peer("far")], "", None, ["far"]),
        (100, [peer("holder", price_micros=5, **HOLDER), peer("far")], "", None, ["far"]),
        (100, [peer("holder", cached=((DATA, 0),), free=FULL), peer("far")], "", None, ["far"]),
        (100, [peer("holder", scheduling="cordoned", **HOLDER), peer("far")], "", None, ["far"]),
    ],
    ids=[
        "the holder has no room: its ask waits there",
        "a moment later",
        "just before five minutes",
        "nobody waits for longer",
        "half of the QueueTimeout has passed",
        "a holder never heard itself is not waited for",
        "a dearer holder is not waited for",
        "nothing large is spared",
        "a cordoned holder takes nothing",
    ],
)
def test_a_job_waits_for_its_data_as_long_as_they_would_take_to_fetch(
    now: float, peers: list[Any], waited: str, wanted: JobSpec | None, asked: list[str]
) -> None:
    found = asking(now, peers, waited, wanted)
    assert [one.peer for one in found.whom_to_ask(1)] == asked
    if not asked:
        assert now < found.wakes() <= 400
        assert "would have to fetch" in found.why_waiting()


def test_where_holders_are_too_few_all_are_asked() -> None:
    found = asking(100, [peer("holder", **HOLDER), peer("far"), peer("other")], "", with_data(count=2))
    assert {one.peer for one in found.whom_to_ask(2)} >= {"far", "other"}


@pytest.mark.parametrize(
    ("bidder", "silent", "waits"),
    [
        (peer("bidder"), peer("silent"), 0),
        (peer("bidder", free=codec.replace(ROOM, cpu_millis=2000)), peer("silent"), 1),
        (peer("bidder"), peer("silent", free=codec.replace(ROOM, cpu_millis=2000)), 0),
        (peer("bidder"), peer("silent", cached=((DATA, LARGE),)), 1),
        (peer("bidder", free=codec.replace(ROOM, cpu_millis=2000)), peer("silent", "liar"), 0),
    ],
    ids=[
        "one is as good as the other",
        "the bidder has less room",
        "the bidder has more room",
        "the other has the data",
        "the other may be invented",
    ],
)
def test_an_answer_is_waited_for_longer_where_it_would_be_the_better_one(
    bidder: Known, silent: Known, waits: float
) -> None:
    found = asking(100, [bidder, silent])
    record = found.record
    for name, state in (("bidder", ExecutionState.BID), ("silent", ExecutionState.ASKED)):
        record.executions[name] = Execution(
            id=name, peer=name, round=1, state=state, created=100, modified=100
        )
    assert found.waits_for_answers(100) is bool(waits)
    assert not asking_at(101, found).waits_for_answers(100)
    assert asking_at(99.9, found).waits_for_answers(100) is (silent.brought_by is None)


def asking_at(now: float, found: Asking) -> Asking:
    return Asking(found.record, found.known, now)


def worker_with(offer: Capacity) -> Worker:
    worker = Worker(lambda spec: None)
    worker.capacity = offer
    worker.handle(CapacityChanged(offer), 0.0)
    return worker


@pytest.mark.parametrize(
    ("held", "sizes", "seconds"),
    [
        ((), (LARGE,), 800),
        ((), (SMALL,), 0),
        (((DATA, LARGE),), (LARGE,), 0),
        ((), (), 0),
    ],
    ids=["it lacks much", "it lacks little", "it has it", "its owner tells no sizes"],
)
def test_a_bid_says_how_long_the_fetches_take(held: Any, sizes: Any, seconds: float) -> None:
    worker = worker_with(capacity(cached=held, fetch_rate=LINE))
    actions = worker.handle(Received("me", ask(with_data(), sizes=sizes)), 1.0)
    (found,) = [one.message for one in actions if isinstance(one, Send) and isinstance(one.message, Bid)]
    assert seconds / 2 <= found.start_ms / 1000 <= seconds * 2


def test_the_worst_of_claims_are_a_time_that_a_bid_may_have() -> None:
    assert fetch_s([SIZE_CLASS_MAX] * 20_001, 1) == arrival.START_S_MAX
    assert bytes_of(SIZE_CLASS_MAX) > 0 and Resources(cpu_millis=0, memory_bytes=0)
