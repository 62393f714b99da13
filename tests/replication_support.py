"""Copies of an owner's job at its deputies, for tests of how they go on."""

from __future__ import annotations

from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.replication import sync
from p2pnode.core.replication.replicas import Replication
from p2pnode.core.wire.messages import Replicate

from .core_support import JOB, a_mandate, new_record, spec

DEPUTIES = ("first", "second")


def of_owner(serial: int = 1, deputies: tuple[str, ...] = DEPUTIES, id: str = JOB) -> JobRecord:
    record = new_record(id, "owner", spec(), 0)
    record.mandate = a_mandate("owner", *deputies, job=id, serial=serial)
    return record


def told(record: JobRecord, owner: str = "owner", since_ms: int = 0) -> Replicate:
    """The whole of a record as this owner tells it."""
    record.owner, record.acts_since_ms = owner, since_ms
    (keep,) = sync.replicates(record, (), None, 0)
    return keep


def keeping(me: str, lost: tuple[str, ...] = ()) -> Replication:
    replication = Replication(me, set(lost))
    (keep,) = sync.replicates(of_owner(), (), None, 0)
    assert replication.replicate("owner", keep, None, 0)
    return replication


def lose(replication: Replication, *peers: str, now: float = 10) -> None:
    replication.lost = {*replication.lost, *peers}
    for peer in peers:
        replication.peer_lost(peer, now, forgot=False)
