"""A round chooses among some of a large table: enough with room, and all who have what the job uses."""

from __future__ import annotations

from typing import Any

import pytest

from p2pnode.core.job.asking import CONSIDERED_MAX, CONSIDERED_PER_REPLICA, Asking
from p2pnode.core.placement.adverts import Known, KnownPeers
from p2pnode.core.placement.arrival import size_class
from p2pnode.core.wire import codec
from p2pnode.core.wire.spec import JobSpec, JobType

from .core_support import ROOM, advert, known, new_record, spec
from .test_arrival import with_data

MANY = 2_000
LARGE = size_class(10 * 10**9)
NO_ROOM = {"free": codec.replace(ROOM, cpu_millis=0)}


def table(**special: dict[str, Any]) -> KnownPeers:
    """Many peers alike, and some that differ."""
    peers = KnownPeers()
    for one in (*(f"peer{number:04}" for number in range(MANY)), *special):
        for peer, found in known(advert(one, **special.get(one, {}))).items():
            peers[peer] = found
    return peers


def asking(peers: KnownPeers, wanted: JobSpec | None = None, job: str = "j-1") -> Asking:
    return Asking(new_record(job, "peer0000", wanted or spec(), 0), peers, 0.0)


@pytest.mark.parametrize(("count", "enough"), [(1, CONSIDERED_MAX), (50, 50 * CONSIDERED_PER_REPLICA)])
def test_so_many_with_room_are_enough_and_others_do_not_count(count: int, enough: int) -> None:
    peers = table()
    for number in range(0, MANY, 2):
        (peers[f"peer{number:04}"],) = known(advert(f"peer{number:04}", **NO_ROOM)).values()
    found = asking(peers, spec(count=count)).considered
    roomy = [one for one in found.values() if one.advert.capacity.free.cpu_millis]
    assert enough <= len(roomy) <= enough + 1
    assert len(found) <= 2 * enough + 2


def test_jobs_look_at_others_each_and_so_do_rounds_of_one_job() -> None:
    peers = table()
    seen: set[str] = set()
    for number in range(100):
        seen |= asking(peers, job=f"j-{number}").considered.keys()
    assert len(seen) > MANY * 0.9
    one = asking(peers)
    again = asking(peers)
    again.record.round = 1
    assert one.considered.keys() != again.considered.keys()
    assert asking(peers).considered == one.considered


def test_who_has_what_a_job_uses_is_considered_wherever_it_stands() -> None:
    wanted = with_data()
    (key,) = Asking(new_record("j-1", "me", wanted, 0), {}, 0.0).need.cache_keys
    peers = table(holder={"cached": ((key, LARGE),)}, other={"cached": ((key + 1, LARGE),)})
    assert all("holder" in asking(peers, wanted, f"j-{number}").considered for number in range(50))
    assert asking(peers, wanted).whom_to_ask(1)[0].peer == "holder"


def test_the_only_peer_that_can_is_found_among_thousands() -> None:
    peers = table(able={"engines": ("other",)})
    for peer in list(peers):
        if peer != "able":
            (peers[peer],) = known(advert(peer, engines=("docker",))).values()
    (peers["able"],) = known(advert("able")).values()
    assert [one.peer for one in asking(peers).whom_to_ask(1)] == ["able"]


@pytest.mark.parametrize("kind", [JobType.OPS, JobType.DAEMON])
def test_a_job_that_runs_everywhere_considers_everybody(kind: JobType) -> None:
    assert len(asking(table(), spec(type=kind)).considered) == MANY


def test_holders_are_those_of_now() -> None:
    peers = KnownPeers()

    def put(peer: str, *cached: tuple[int, int]) -> None:
        (peers[peer],) = known(advert(peer, cached=cached)).values()

    def plain() -> dict[int, set[str]]:
        every: dict[str, Known] = dict(peers)
        return {
            key: {peer for peer, one in every.items() if (key, LARGE) in one.advert.capacity.cached}
            for key in range(4)
        }

    for step in (
        lambda: put("a", (1, LARGE), (2, LARGE), (3, 0)),
        lambda: put("b", (1, LARGE)),
        lambda: put("a", (2, LARGE)),
        lambda: put("a", (2, LARGE)),
        lambda: peers.pop("b"),
        lambda: peers.pop("c", None),
        lambda: put("a"),
    ):
        step()
        assert {key: peers.holders([key]) for key in range(4)} == plain()
