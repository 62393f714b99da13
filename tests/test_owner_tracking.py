"""A compute peer's news of what it runs while owners die and come back, and for how long it goes on."""

from __future__ import annotations

import pytest

from p2pnode.core.placement.standing import Standing
from p2pnode.core.records.events import Kill, PeerLost, Progressed, Received, Tick
from p2pnode.core.records.reservations import ReservationState
from p2pnode.core.wire.messages import Adopt, Orphan, Owned, Update
from p2pnode.core.wire.spec import JobType
from p2pnode.core.wire.states import Fault, Stage
from p2pnode.core.worker.machine import Worker
from p2pnode.core.worker.owner_tracking import ORPHAN_TIMEOUT_S

from .core_support import JOB, ask, award, capacity, sent, spec

EXECUTION = ask().execution


def running(kind: JobType = JobType.BATCH) -> Worker:
    """A worker with one execution for `owner`, whose deputy is `deputy`."""
    worker, wanted = Worker(lambda spec: None, capacity(), standing=Standing("node")), spec(type=kind)
    worker.handle(Received("owner", ask(wanted)), 0)
    worker.handle(Received("owner", award(ask(wanted), wanted)), 0)
    worker.handle(Progressed(EXECUTION, Stage.RUNNING, ""), 1)
    return worker


def test_an_owner_that_is_silent_and_its_deputies_are_told_what_runs_for_it() -> None:
    worker = running()
    actions = worker.handle(PeerLost("owner", "is silent"), 10)
    assert [peer for peer, _ in sent(actions, Orphan)] == ["owner", "deputy"]
    assert worker.handle(PeerLost("owner", "is silent"), 11) == [], "it was told"


@pytest.mark.parametrize("kind", list(JobType))
def test_what_nobody_looks_after_runs_to_its_end_unless_that_would_be_never(kind: JobType) -> None:
    worker = running(kind)
    worker.handle(PeerLost("owner", "is silent"), 10)
    before = worker.handle(Tick(), 10 + ORPHAN_TIMEOUT_S - 1)
    actions = worker.handle(Tick(), 10 + ORPHAN_TIMEOUT_S)
    kills = [one.ending.fault for one in [*before, *actions] if isinstance(one, Kill)]
    assert kills == [Fault.NETWORK] * (kind in (JobType.SERVICE, JobType.DAEMON))


def test_a_service_that_is_adopted_in_time_runs_on() -> None:
    worker = running(JobType.SERVICE)
    worker.handle(PeerLost("owner", "is silent"), 10)
    adopt = Adopt(execution=EXECUTION, round=1, job=JOB, epoch=2, deputies=("owner",))
    assert sent(worker.handle(Received("deputy", adopt), 20), Update)
    worker.handle(Tick(), 20 + ORPHAN_TIMEOUT_S)
    assert worker.reservations[EXECUTION].state is ReservationState.RUNNING


@pytest.mark.parametrize(
    ("peer", "epoch", "told"),
    [("deputy", 2, ["new"]), ("owner", 2, ["new"]), ("stranger", 2, []), ("deputy", 0, [])],
)
def test_who_may_know_of_a_later_owner_has_it_told_what_runs(peer: str, epoch: int, told: list[str]) -> None:
    worker, owned = running(), Owned(job=JOB, epoch=epoch, owner="new")
    assert [to for to, _ in sent(worker.handle(Received(peer, owned), 5), Orphan)] == told
    assert not sent(worker.handle(Received(peer, owned), 6)), "once"
