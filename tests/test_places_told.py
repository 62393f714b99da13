"""Places of a requester's policy hold wherever its job is looked after: told to members, kept, obeyed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from p2pnode.core.job.machine import Job
from p2pnode.core.job.trusting import trust_in
from p2pnode.core.node import Core
from p2pnode.core.records.events import AdvertHeard, JobSubmitted, PeerLost, Received, Send
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.replication import sync
from p2pnode.core.values.places import Place
from p2pnode.core.values.trust import ANYBODY, Trust
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.extensions import EXTENSION_SIZE_BYTES_MAX
from p2pnode.core.wire.messages import Ask, Award, Replicate, WhoOwns
from p2pnode.core.wire.places import NAME_LENGTH_MAX, PLACES_EXTENSION, PLACES_MAX, heard_untrusted, told

from .core_support import JOB, NONCE, a_mandate, advert, bid, known, new_record, sent, signed, spec
from .fake_keys import FakeKeys
from .sim.trusting import PlacedSimulation

NORTH = Place("north", labels={"zone": "north"})
CHEAP = Place("cheap", peers=("b*", "12D3*"), roles=("member",), price_micros_max=5)


def core(me: str, *places: Place) -> Core:
    node = Core(me, lambda spec: None, FakeKeys(me), trust=Trust(places=places))
    for peer, zone in (("a", "north"), ("b", "north"), ("c", "south")):
        one = advert(peer, labels={"zone": zone})
        node.handle(AdvertHeard(signed(one), one, 90_000, peer), 0)
    return node


def copy_of(*places: Place) -> tuple[Core, Replicate]:
    """The core of the first deputy of a job whose requester has these places, and what it was told."""
    requester = core("me", *places)
    actions = requester.handle(JobSubmitted(JOB, spec(), NONCE), 1)
    me = requester.jobs[JOB].record.deputies[0]
    (message,) = [one for peer, one in sent(actions, Replicate) if peer == me]
    node = core(me)
    node.handle(Received("me", message), 1)
    return node, message


def whole(record: JobRecord, to: str) -> Any:
    return sync.told_to(to, copy.deepcopy(record), (), None, 2)[0].message


def test_places_are_told_as_they_are_kept() -> None:
    message = codec.replace(
        whole(new_record(JOB, "me", spec(), 0), "me"), extensions={PLACES_EXTENSION: told([NORTH, CHEAP])}
    )
    assert heard_untrusted(message) == (NORTH, CHEAP)
    assert heard_untrusted(codec.replace(message, extensions={PLACES_EXTENSION: told([])})) == ()
    assert heard_untrusted(codec.replace(message, extensions={"example.org/mood": b"\xf5"})) is None


@pytest.mark.parametrize(
    "places",
    [
        [NORTH] * (PLACES_MAX + 1),
        [Place("", labels={"a": "b"})],
        [Place("nothing")],
        [Place("many", peers=("a",) * 65)],
        [Place("long", labels={"a": "b" * 257})],
        [Place("large", peers=tuple(f"{number:064}" for number in range(64)))],
    ],
    ids=["too many", "no name", "nothing", "peers", "a label", "size"],
)
def test_places_that_nobody_would_take_in_are_not_told(places: list[Place]) -> None:
    with pytest.raises(BadMessage, match=PLACES_EXTENSION):
        told(places)


def test_as_many_places_as_there_may_be_go_into_an_extension() -> None:
    data = told([Place("n" * NAME_LENGTH_MAX * 2, roles=("member",))] + [NORTH] * (PLACES_MAX - 1))
    assert len(data) <= EXTENSION_SIZE_BYTES_MAX


def test_members_are_told_the_places_and_controllers_and_workers_are_not() -> None:
    node = core("me", NORTH)
    actions = node.handle(JobSubmitted(JOB, spec(), NONCE), 1)
    members = dict(sent(actions, Replicate))
    assert members.keys() == {"a", "b"}
    assert all(heard_untrusted(one) == (NORTH,) for one in members.values())
    record = node.jobs[JOB].record
    record.mandate = a_mandate("me", "a", controllers=("ops",))
    assert heard_untrusted(whole(record, "a")) == (NORTH,)
    assert heard_untrusted(whole(record, "ops")) is None
    looked = node.handle(Received("ops", WhoOwns(job=JOB, owner="me", whole=True)), 2)
    assert [heard_untrusted(one) for peer, one in sent(looked, Replicate) if peer == "ops"] == [None]
    assert heard_untrusted(sync.header(record, 2)) is None
    said = [
        one.message for one in actions if isinstance(one, Send) and not isinstance(one.message, Replicate)
    ]
    assert said and all(b"north" not in codec.encode(one) for one in said)
    assert not any(isinstance(one, Award) for one in said)


@pytest.mark.parametrize(("places", "asked"), [((), {"a", "b", "c"}), ((NORTH,), {"a", "b"})])
def test_a_deputy_that_takes_over_asks_only_where_the_places_say(
    places: tuple[Place, ...], asked: set[str]
) -> None:
    node, _ = copy_of(*places)
    node.handle(PeerLost("me", "is silent"), 10)
    assert {one.peer for one in node.jobs[JOB].record.executions.values()} == asked - {node.me}


def test_a_deputy_that_takes_over_tells_the_places_on_and_names_deputies_by_them() -> None:
    node, _ = copy_of(NORTH)
    node.handle(PeerLost("me", "is silent"), 10)
    (other,) = {"a", "b"} - {node.me}
    actions = node.handle(PeerLost(other, "is silent"), 11)
    assert "c" not in node.jobs[JOB].record.authority.members
    one = advert("d", labels={"zone": "north"})
    actions = node.handle(AdvertHeard(signed(one), one, 90_000, "d"), 12)
    (named,) = [message for peer, message in sent(actions, Replicate) if peer == "d"]
    assert heard_untrusted(named) == (NORTH,)


def test_a_deputy_refuses_a_bid_that_costs_more_than_the_places_allow() -> None:
    record = new_record(JOB, "me", spec(), 0, deputies=("d",))
    record.places, record.owner = (Place("cheap", price_micros_max=5),), "d"
    job = Job(record, "d", FakeKeys("d"), known(advert("a")))
    ((_, asked),) = sent(job.take_over("me", 1), Ask)
    job.handle(Received("a", bid(asked.execution, price=6)), 1)
    assert record.refusals["a"].reason.startswith("bid for 0.000006: is not where the requester's policy")


def test_a_whole_record_of_who_does_not_know_places_leaves_those_that_are_known() -> None:
    node, message = copy_of(NORTH)
    later = codec.replace(message, revision=message.revision + 1)
    node.handle(Received("me", codec.replace(later, extensions={"example.org/mood": b"\xf5"})), 2)
    assert node.replication.copies[JOB].places == (NORTH,)
    anywhere = codec.replace(later, revision=later.revision + 1, extensions={PLACES_EXTENSION: told([])})
    node.handle(Received("me", anywhere), 3)
    assert node.replication.copies[JOB].places == ()


def test_the_requester_s_own_policy_counts_for_it_and_is_told_anew_where_it_is_another() -> None:
    record = new_record(JOB, "me", spec(), 0, deputies=("a",))
    assert trust_in(record, "me", ANYBODY) is ANYBODY and record.places is None
    record.synced = {"a": 1.0}
    trust_in(record, "me", Trust(places=(NORTH,)))
    assert (record.places, record.synced) == ((NORTH,), {})
    record.synced = {"a": 1.0}
    trust_in(record, "me", Trust(places=(NORTH,)))
    assert record.synced
    trust_in(record, "me", ANYBODY)
    assert (record.places, record.synced) == ((), {})
    record.places = (NORTH,)
    assert trust_in(record, "a", Trust(places=(CHEAP,))).places == (NORTH,)


@pytest.mark.parametrize("seed", range(8))
def test_after_its_requester_s_death_a_job_goes_only_where_the_requester_s_policy_says(seed: int) -> None:
    sim = PlacedSimulation(seed, 9)
    sim.run(10)
    (first,) = sim.live
    sim.crash(sim.requester)
    sim.run(25)
    assert sim.job.owner in sim.north
    sim.crash(sim.nodes[first.peer])
    sim.run(60)
    (second,) = sim.live
    assert second.peer in sim.north - {first.peer}
    assert set(sim.job.authority.members) <= {sim.requester.peer, *sim.north}
    assert len([one for one in sim.job.deputies if sim.nodes[one].alive]) == 2
