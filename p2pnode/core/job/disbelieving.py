"""Words that a job does not take: bids of the doubted, and what strangers say to fail wherever it runs.

A peer that has kept its word, and is free, is asked instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from p2pnode.core.placement.adverts import KnownPeers
from p2pnode.core.records.lifecycle import OPEN, Execution
from p2pnode.core.wire.spec import RETRIES_META_KEY, JobType

from .asking import Asking


def late(asking: Asking, bids: Iterable[Execution]) -> list[Execution]:
    """The bids of those that are doubted, if a peer that nothing speaks against can be asked still."""
    doubted = [one for one in bids if asking.doubts.lateness(one.peer)]
    instead = asking.whom_to_ask(1)[:1] if doubted else []
    return doubted if any(one.peer in asking.free for one in instead) else []


def disbelieved(asking: Asking) -> Collection[str]:
    """The strangers that failed the job while another is free whose word alone ends it.

    That is a proven peer; and this node itself, where many strangers say that jobs fail. A job that says how
    often it is tried again is tried no more often.
    """
    record, known = asking.record, asking.known
    says_itself = RETRIES_META_KEY in record.spec.meta
    if says_itself or record.spec.type is not JobType.BATCH or not isinstance(known, KnownPeers):
        return ()
    believed = set(known.reliance.proven)
    if known.reliance.are_excuses_many(asking.now):
        believed.add(record.owner)
    able = asking.free | {one.peer for one in record.of(*OPEN)}
    return asking.failures.keys() - believed if able & believed - asking.failures.keys() else ()
