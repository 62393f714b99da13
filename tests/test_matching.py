"""Whether a peer can run a job, in which order peers are asked, and whose bid is best."""

from __future__ import annotations

from typing import Any

import pytest

from p2pnode.core.placement.matching import (
    favours,
    grouped,
    minus,
    requirements_of,
    why_not,
)
from p2pnode.core.placement.ranking import (
    asks_for,
    best_bid,
    rank_candidates,
    rendezvous_hash,
)
from p2pnode.core.records.lifecycle import Execution, ExecutionState
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Requirements
from p2pnode.core.wire.spec import (
    Constraint,
    DockerTask,
    InputSource,
    NetworkType,
    Operator,
    Resources,
    Source,
    Task,
)
from p2pnode.core.wire.states import RefusalKind

from .core_support import JOB, ROOM, advert, bid, capacity, known, spec


def need(**changes: Any) -> Requirements:
    return codec.replace(requirements_of(spec()), **changes)


def constraint(key: str, operator: Operator, *values: str) -> Constraint:
    return Constraint(key=key, operator=operator, values=values)


def test_an_ask_says_what_decides_and_nothing_else_of_the_job() -> None:
    inputs = tuple(
        InputSource(source=Source(type=type, params={"CID": "secret"}), target=f"/{index}")
        for index, type in enumerate(["s3", "ipfs", "s3"])
    )
    task = Task(engine=DockerTask(image="secret"), publisher=Source(type="ipfs"), inputs=inputs)
    found = requirements_of(spec(task=task))
    assert (found.engine, found.publisher, found.sources) == ("docker", "ipfs", ("ipfs", "s3"))
    assert b"secret" not in codec.encode(found)


@pytest.mark.parametrize(
    ("needed", "offered", "refusal_kind", "reason"),
    [
        ({"engine": "docker"}, {}, RefusalKind.UNSUITABLE, "no docker engine"),
        ({"publisher": "s3"}, {}, RefusalKind.UNSUITABLE, "no s3 publisher"),
        ({"sources": ("ipfs", "s3")}, {}, RefusalKind.UNSUITABLE, "no input source of type s3"),
        (
            {"constraints": (constraint("os", Operator.EQUALS, "plan9"),)},
            {},
            RefusalKind.UNSUITABLE,
            "label os is 'linux'; wanted: os = plan9",
        ),
        (
            {"resources": Resources(cpu_millis=1, memory_bytes=1, gpus=1)},
            {},
            RefusalKind.UNSUITABLE,
            "too small: GPU 1 asked, 0 in all",
        ),
        (
            {"resources": Resources(cpu_millis=2000, memory_bytes=10**9)},
            {"free": Resources(cpu_millis=1000, memory_bytes=10**8)},
            RefusalKind.BUSY,
            "busy: CPU 2 asked, 1 free, memory 1 GB asked, 100 MB free",
        ),
    ],
)
def test_a_reason_says_what_is_missing_and_whether_it_may_pass(
    needed: dict[str, Any], offered: dict[str, Any], refusal_kind: RefusalKind, reason: str
) -> None:
    infeasible = why_not(need(**needed), capacity(**offered))
    assert infeasible is not None
    assert (infeasible.refusal_kind, infeasible.reason) == (refusal_kind, reason)


def test_a_docker_job_needs_its_network() -> None:
    wanted = need(engine="docker", network=NetworkType.BRIDGE)
    peer = capacity(engines=("docker",))
    infeasible = why_not(wanted, peer)
    assert infeasible is not None and "bridge" in infeasible.reason
    assert why_not(wanted, capacity(engines=("docker",), networks=(NetworkType.BRIDGE,))) is None


@pytest.mark.parametrize(
    ("kind", "where"), [(NetworkType.HOST, ""), (NetworkType.BRIDGE, ", with Docker as its engine")]
)
def test_a_network_that_is_not_offered_names_the_operators_flag(kind: NetworkType, where: str) -> None:
    infeasible = why_not(need(engine="docker", network=kind), capacity(engines=("docker",)))
    assert infeasible is not None and infeasible.refusal_kind is RefusalKind.UNSUITABLE
    assert infeasible.reason == (
        f"network {kind} is not offered (its operator can allow it with serve --allow-network {kind}{where})"
    )


def test_what_fits_to_the_last_bit_fits() -> None:
    assert why_not(need(resources=ROOM), capacity()) is None


def test_a_preference_excludes_nobody_and_counts() -> None:
    wanted = need(constraints=(constraint("favour_zone", Operator.EQUALS, "a"),))
    near, far = capacity(labels={"zone": "a"}), capacity(labels={"zone": "b"})
    assert why_not(wanted, near) is why_not(wanted, far) is None
    assert (favours(wanted, near), favours(wanted, far)) == (1, 0)


def test_a_reservation_that_outgrew_its_machine_leaves_nothing_and_not_less() -> None:
    assert minus(ROOM, [codec.replace(ROOM, cpu_millis=9000)]).cpu_millis == 0


def test_reasons_are_grouped_with_the_most_frequent_first() -> None:
    assert grouped(["b", "a", "a"], 9) == "2 of 9: a; 1 of 9: b"


def ranked(candidates: list[Any], **changes: Any) -> list[str]:
    wanted = need(constraints=(constraint("favour_zone", Operator.EQUALS, "a"),), cache_keys=(7, 8))
    used, failures = changes.get("used", {}), changes.get("failures", {})
    sizes = {7: 10, 8: 20}
    peers = known(*candidates).values()
    return [one.peer for one in rank_candidates(JOB, 1, wanted, peers, used, failures, (), sizes)]


@pytest.mark.parametrize(
    "candidates_and_history",
    [
        ([advert("worse"), advert("better")], {"failures": {"worse": 1}}),
        ([advert("worse"), advert("better")], {"used": {"worse": 1}}),
        ([advert("worse"), advert("better", labels={"zone": "a"})], {}),
        ([advert("worse", price_micros=5), advert("better")], {}),
        ([advert("worse"), advert("better", cached=((8, 20), (9, 1)))], {}),
        ([advert("worse", free=codec.replace(ROOM, cpu_millis=1000)), advert("better")], {}),
    ],
    ids=["failed", "runs a replica", "not preferred", "dearer", "far from the data", "fuller"],
)
def test_of_two_peers_the_better_is_asked_first(candidates_and_history: Any) -> None:
    candidates, history = candidates_and_history
    assert ranked(candidates, **history) == ranked(candidates[::-1], **history) == ["better", "worse"]


def test_equal_peers_are_ranked_by_lot_and_each_job_draws_its_own() -> None:
    peers = known(*(advert(f"peer{index}") for index in range(20))).values()
    orders = {
        tuple(one.peer for one in rank_candidates(job, 1, need(), peers, {}, {})) for job in ("x", "y", "z")
    }
    assert len(orders) == 3
    assert rendezvous_hash("x", 1, "a") == rendezvous_hash("x", 1, "a") != rendezvous_hash("x", 2, "a")


@pytest.mark.parametrize(("needed", "asks"), [(1, 3), (2, 5), (10, 17)])
def test_some_more_peers_are_asked_than_are_needed(needed: int, asks: int) -> None:
    assert asks_for(needed) == asks


def best(bids: dict[str, int], adverts: list[Any], **history: Any) -> str:
    executions = [
        Execution(
            id=peer,
            peer=peer,
            round=1,
            state=ExecutionState.BID,
            bid=bid("e-" + "0" * 32, price),
            created=0,
            modified=0,
        )
        for peer, price in bids.items()
    ]
    used, failures = history.get("used", {}), history.get("failures", {})
    return best_bid(JOB, need(), executions, known(*adverts), used, failures).peer


def test_the_cheaper_bid_is_better() -> None:
    assert best({"a": 5, "b": 4}, [advert("a"), advert("b")]) == "b"


def test_a_peer_without_a_replica_of_the_job_goes_before_a_cheaper_one_with_one() -> None:
    assert best({"a": 0, "b": 9}, [advert("a"), advert("b")], used={"a": 1}) == "b"


def test_replicas_are_spread_over_zones_before_price_counts() -> None:
    peers = [advert(peer, labels={"zone": zone}) for peer, zone in (("x", "1"), ("a", "1"), ("b", "2"))]
    assert best({"a": 0, "b": 9}, peers, used={"x": 1}) == "b"


def test_a_bidder_whose_advert_is_gone_can_still_win() -> None:
    assert best({"gone": 0}, []) == "gone"
