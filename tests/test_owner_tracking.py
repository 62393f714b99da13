"""A compute peer's news of what it runs while owners die and come back, and for how long it goes on."""

from __future__ import annotations

from typing import Any

import pytest

from p2pnode.core.placement.standing import Standing
from p2pnode.core.records.events import Kill, PeerLost, Progressed, Received, Tick
from p2pnode.core.records.reservations import ReservationState
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Adopt, Cancel, Orphan, Owned, Refusal, Update
from p2pnode.core.wire.spec import JobType
from p2pnode.core.wire.states import Fault, Stage
from p2pnode.core.worker import owner_tracking
from p2pnode.core.worker.machine import Worker
from p2pnode.core.worker.owner_tracking import ORPHAN_TIMEOUT_S

from .core_support import JOB, a_command, a_mandate, ask, award, capacity, sent, spec

EXECUTION = ask().execution
MANDATE = a_mandate("me", "deputy", "other")


def running(kind: JobType = JobType.BATCH) -> Worker:
    """A worker with one execution for `me`, whose deputies are `deputy` and `other`."""
    worker, wanted = Worker(lambda spec: None, capacity(), standing=Standing("node")), spec(type=kind)
    worker.handle(Received("me", ask(wanted)), 0)
    worker.handle(Received("me", award(ask(wanted), wanted)), 0)
    worker.handle(Progressed(EXECUTION, Stage.RUNNING, ""), 1)
    return worker


def test_an_owner_that_is_silent_and_its_deputies_are_told_what_runs_for_it() -> None:
    worker = running()
    actions = worker.handle(PeerLost("me", "is silent"), 10)
    assert [peer for peer, _ in sent(actions, Orphan)] == ["me", "deputy", "other"]
    assert worker.handle(PeerLost("me", "is silent"), 11) == [], "it was told"


@pytest.mark.parametrize("kind", list(JobType))
def test_what_nobody_looks_after_runs_to_its_end_unless_that_would_be_never(kind: JobType) -> None:
    worker = running(kind)
    worker.handle(PeerLost("me", "is silent"), 10)
    before = worker.handle(Tick(), 10 + ORPHAN_TIMEOUT_S - 1)
    actions = worker.handle(Tick(), 10 + ORPHAN_TIMEOUT_S)
    kills = [one.ending.fault for one in [*before, *actions] if isinstance(one, Kill)]
    assert kills == [Fault.NETWORK] * (kind in (JobType.SERVICE, JobType.DAEMON))


def test_a_service_that_is_adopted_in_time_runs_on() -> None:
    worker = running(JobType.SERVICE)
    worker.handle(PeerLost("me", "is silent"), 10)
    adopt = Adopt(execution=EXECUTION, round=1, job=JOB, mandate=MANDATE)
    assert sent(worker.handle(Received("deputy", adopt), 20), Update)
    worker.handle(Tick(), 20 + ORPHAN_TIMEOUT_S)
    assert worker.reservations[EXECUTION].state is ReservationState.RUNNING


@pytest.mark.parametrize(
    ("peer", "silent", "told"),
    [
        ("deputy", True, ["other"]),
        ("me", False, ["other"]),
        ("stranger", True, []),
        ("deputy", False, []),
    ],
)
def test_who_may_know_of_another_owner_has_it_told_what_runs(
    peer: str, silent: bool, told: list[str]
) -> None:
    worker, owned = running(), Owned(job=JOB, owner="other", mandate=MANDATE)
    if silent:
        worker.handle(PeerLost("me", "is silent"), 4)
    assert [to for to, _ in sent(worker.handle(Received(peer, owned), 5), Orphan)] == told
    assert not sent(worker.handle(Received(peer, owned), 6)), "once"


def test_all_members_are_told_what_runs_for_an_owner_that_was_silent_before_it_was_named() -> None:
    worker = running()
    worker.lost = {"other"}
    owned = Owned(job=JOB, owner="other", mandate=MANDATE)
    told = [to for to, _ in sent(worker.handle(Received("me", owned), 5), Orphan)]
    assert told == ["other", "me", "deputy"]
    adopt = Adopt(execution=EXECUTION, round=1, job=JOB, mandate=MANDATE)
    assert sent(worker.handle(Received("deputy", adopt), 6), Update)


# A row: the owner, whether it is silent, who speaks, whether that is obeyed.
OBEYED = [
    ("me", False, "deputy", False),
    ("me", True, "deputy", True),
    ("me", True, "other", True),
    ("me", True, "stranger", False),
    ("me", False, "me", True),
    ("deputy", False, "me", True),
    ("deputy", False, "other", False),
    ("deputy", True, "other", True),
    ("deputy", False, "stranger", False),
    ("other", False, "deputy", True),
    ("other", False, "me", True),
]


@pytest.mark.parametrize(("owner", "silent", "peer", "obeyed"), OBEYED)
@pytest.mark.parametrize("what", ["adopt", "cancel", "logs"])
def test_a_member_is_obeyed_before_those_of_higher_rank_and_they_only_while_it_is_silent(
    owner: str, silent: bool, peer: str, obeyed: bool, what: str
) -> None:
    worker = running()
    reservation = worker.reservations[EXECUTION]
    reservation.owner = owner
    if silent:
        worker.handle(PeerLost(owner, "is silent"), 4)
    if what == "logs":
        # A controller may read, too.
        assert owner_tracking.may_read(reservation, peer) == (obeyed or peer == "me")
        return
    if what == "adopt":
        adopt = Adopt(execution=EXECUTION, round=1, job=JOB, mandate=MANDATE)
        actions = worker.handle(Received(peer, adopt), 5)
        assert bool(sent(actions, Update)) == obeyed
        assert reservation.owner == (peer if obeyed else owner)
        assert [message.owner for _, message in sent(actions, Owned)] == [owner] * (not obeyed)
    else:
        actions = worker.handle(Received(peer, Cancel(execution=EXECUTION, round=1, reason="")), 5)
        assert any(isinstance(one, Kill) for one in actions) == obeyed


AWARDS = [
    ("charter of another job", {"mandate": a_mandate("me", job="j-" + "7" * 32)}, "neither this job nor its"),
    ("charter without its owner", {"mandate": a_mandate("deputy", job=JOB)}, "neither this job nor its"),
    ("charter of another file", {"mandate": a_mandate("me", wanted=spec(500))}, "neither the job's charter"),
    ("command of another file", {"changed_by": a_command("update", "", spec(500)).signed}, ""),
]


@pytest.mark.parametrize(("changes", "reason"), [one[1:] for one in AWARDS], ids=[one[0] for one in AWARDS])
def test_an_award_starts_what_the_charter_names_and_nothing_else(
    changes: dict[str, Any], reason: str
) -> None:
    worker = Worker(lambda spec: None, capacity(), standing=Standing("node"))
    worker.handle(Received("me", ask()), 0)
    actions = worker.handle(Received("me", codec.replace(award(ask()), **changes)), 0)
    refused = [message.reason for _, message in sent(actions, Refusal)]
    assert (reason in refused[0]) if reason else (refused == [])
