"""Finds jobs by what people call them, and names of nodes for their ids."""

from __future__ import annotations

import re
from collections.abc import Callable

from p2pnode.api.shapes import Code, ServiceError
from p2pnode.core.placement.adverts import AdvertTable
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.node.journal import Journal

CANDIDATES_SHOWN_MAX = 5
# The most shown of a name in a message: a line of a terminal, about.
SHOWN_LENGTH_MAX = 80

# A word of its own: within an address (s3://bucket/12D3Koo.../x) it is a part of what works.
_PEER = re.compile(r"(?<![^\s(,;])12D3Koo[1-9A-HJ-NP-Za-km-z]{45}(?=[,:;)]*(?:\.?\s|\.?$))")


class Lookup:
    """Looks up jobs in the journal and peers in the table of adverts."""

    def __init__(self, journal: Journal, table: AdvertTable, me: str, own_name: str) -> None:
        """`me` is this node's peer id, `own_name` its name."""
        self._journal = journal
        self._table = table
        self._me = me
        self._own_name = own_name

    def record(self, text: str) -> JobRecord:
        """The job of an id, of a unique prefix of one, or the last job of a name.

        Raises `ServiceError`: NOT_FOUND, AMBIGUOUS.
        """
        journal = self._journal
        ids = journal.job_ids(text, CANDIDATES_SHOWN_MAX + 1) if text.startswith("j-") else []
        by_name = not ids and bool(text)
        if by_name:
            ids = journal.newest_named(text, CANDIDATES_SHOWN_MAX + 1)
        if not ids:
            raise ServiceError(Code.NOT_FOUND, f"no job {_shown(text)} on this node")
        if len(ids) > 1 and text not in ids:
            shown = ", ".join(id[:14] for id in ids[:CANDIDATES_SHOWN_MAX])
            more = "they are of several namespaces, so give an id" if by_name else "give more of the id"
            raise ServiceError(Code.AMBIGUOUS, f"{_shown(text)} could be {shown}: {more}")
        record = journal.job(text if text in ids else ids[0])
        assert record is not None
        return record

    def check_controls(self, record: JobRecord, lacks: str) -> None:
        """Raises `ServiceError` where the job's charter gives users of this node no say; `lacks` is what."""
        if record.authority.may_command(self._me):
            return
        requester = self.name_of(record.requester)
        raise ServiceError(
            Code.FORBIDDEN,
            f"the job is {requester}'s: this node keeps a copy to look after it, but its users {lacks}"
            f" (p2pnode serve --operator on {requester} would let them)",
        )

    def known_name(self, peer: str) -> str:
        """The name of a node, "" where it is not known."""
        known = self._table.known.get(peer)
        return self._own_name if peer == self._me else known.advert.name if known else ""

    def name_of(self, peer: str) -> str:
        """The name of a node, or else its id."""
        return self.known_name(peer) or peer

    def for_people(self, text: str) -> str:
        """A text with the names of nodes in place of their ids."""
        return name_peers(text, self.name_of)


def name_peers(text: str, name_of: Callable[[str], str]) -> str:
    """A text with the names of nodes in place of their ids, where these are words of their own."""
    return _PEER.sub(lambda match: name_of(match[0]), text)


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_LENGTH_MAX else f"{text[:SHOWN_LENGTH_MAX]}…"
