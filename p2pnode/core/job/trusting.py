"""The peers and places that a job is entrusted to, by its requester, on whatever node looks after it."""

from __future__ import annotations

from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.values.trust import Trust


def trust_in(record: JobRecord, me: str, own: Trust) -> Trust:
    """The requester's trust, as far as it is known here; `own` is this node's.

    On the requester's node its policy of today counts, and the members are told it, if it is another.
    """
    if record.requester != me:
        return Trust(peers=record.authority.charter.trusted, places=record.places or ())
    if own.places or record.places is not None:
        if record.places != own.places:
            record.synced = {}
        record.places = own.places
    return own
