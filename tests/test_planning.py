"""The answer of `plan`, on a small table of peers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2pnode.core.job.deputies import name_deputies
from p2pnode.core.job.plan import plan
from p2pnode.core.job.transitions import JobTransitions
from p2pnode.core.placement.adverts import Known
from p2pnode.core.values.trust import ANYBODY
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Advert, Capacity
from p2pnode.core.wire.protocols import DEPUTY
from p2pnode.core.wire.signing import Signed
from p2pnode.core.wire.spec import (
    InputSource,
    JobSpec,
    JobType,
    Network,
    NetworkType,
    Resources,
    Source,
    Task,
    WasmTask,
)

from .core_support import new_record
from .fake_keys import FakeKeys

BIG = Resources(cpu_millis=4000, memory_bytes=8_000_000_000, disk_bytes=10_000_000_000)
NONE_FREE = Resources(cpu_millis=0, memory_bytes=0)


def known(peer, engines=("wasm",), free=BIG, sources=("ipfs",)):
    capacity = Capacity(
        engines=engines,
        publishers=("ipfs",),
        sources=sources,
        networks=(NetworkType.NONE,),
        labels={},
        total=BIG,
        free=free,
    )
    advert = Advert(
        peer=peer,
        number=1,
        issued_ms=0,
        ttl_ms=90_000,
        name=peer,
        version="0",
        capacity=capacity,
        addresses=(),
    )
    return Known(advert, Signed(body=b"", signature=bytes(64)), 1e9)


PEERS = {
    "a": known("a"),
    "b": known("b", free=NONE_FREE),
    "c": known("c", engines=("docker",)),
    "d": known("d", engines=("docker",)),
}


def spec(**task):
    return JobSpec(type=JobType.BATCH, task=Task(engine=WasmTask(entry_module="/m"), **task))


def test_a_plan_names_who_is_asked_and_counts_why_not_the_others():
    made = plan(spec(), "me", PEERS, now=0.0)
    assert [advert.peer for advert in made.asked] == ["a"]
    assert (made.needed, made.would_bid, made.known) == (1, 1, 4)
    assert made.unsuitable == (("no wasm engine", 2),)
    ((reason, count),) = made.busy
    assert reason.startswith("busy: CPU 500m asked")
    assert count == 1


@pytest.mark.parametrize(
    ("spoken", "reason"),
    [
        (("link/9", "adverts/2"), "speaks link/9 only; this node speaks link/4"),
        (("link/1", "link/9"), "speaks link/1, link/9 only; this node speaks link/4"),
        (("adverts/2",), "speaks no link/4"),
        ((), "speaks no link/4"),
        (("link/9", "link/4"), None),
    ],
)
def test_a_peer_is_asked_only_if_it_speaks_a_link_of_ours(
    spoken: tuple[str, ...], reason: str | None
) -> None:
    other = known("a")
    other = replace(other, advert=codec.replace(other.advert, protocols=spoken))
    made = plan(spec(), "me", {"a": other, "c": PEERS["c"]}, now=0.0)
    assert [advert.peer for advert in made.asked] == ([] if reason else ["a"])
    assert made.would_bid == (0 if reason else 1)
    assert ((reason, 1) in made.unsuitable) == (reason is not None)
    steps = JobTransitions(new_record("j", "me", spec(), 0.0), "me", {}, FakeKeys("me"))
    willing = replace(other, advert=codec.replace(other.advert, protocols=(*spoken, DEPUTY)))
    name_deputies(steps, {"a": willing}, (), ANYBODY, 0.0)
    assert steps.record.deputies == (() if reason else ("a",))


def test_a_wasm_job_with_a_network_suits_nobody():
    made = plan(spec(network=Network(type=NetworkType.HTTP, domains=("example.com",))), "me", PEERS, now=0.0)
    assert not made.asked
    assert ("no network of type http for WASM programs", 2) in made.unsuitable


LOCAL = InputSource(target="/in", source=Source(type="local", params={"SourcePath": "/data"}))


def test_what_is_looked_up_at_an_ask_is_told_and_known_of_this_node():
    peers = {peer: known(peer, sources=("env", "local")) for peer in "ab"}
    job = spec(inputs=(LOCAL,), environment={"A": "env:TOKEN"})
    made = plan(job, "a", peers, now=0.0, lacks="/data is not among the paths that this node allows")
    assert [advert.peer for advert in made.asked] == ["b"]
    assert (made.would_bid, made.known) == (1, 2)
    assert made.unsuitable == (("/data is not among the paths that this node allows", 1),)
    assert made.looked_up == ("path /data", "variable TOKEN")
    alone = plan(job, "a", {"a": peers["a"]}, now=0.0, lacks="no")
    assert (alone.would_bid, alone.asked, alone.unsuitable) == (0, (), (("no", 1),))
    assert plan(job, "a", peers, now=0.0).would_bid == 2
    assert plan(spec(), "a", peers, now=0.0).looked_up == ()


def test_without_peers_nobody_is_asked():
    made = plan(spec(), "me", {}, now=0.0)
    assert (made.asked, made.would_bid, made.known) == ((), 0, 0)
