"""The controllers of this node's own jobs as its private network changes: each change a charter.

A charter names as controllers the nodes of this node's settings and the network's operators. One that comes
later is named by the next charter of the jobs that go on, and one that is an operator no more is left out;
who is only silent stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from p2pnode.core.job.owned import OwnedJobs
from p2pnode.core.records import mandate
from p2pnode.core.records import membership as memberships
from p2pnode.core.records.events import Action
from p2pnode.core.values.trust import Trust
from p2pnode.core.wire.mandates import Mandate
from p2pnode.core.wire.membership import Role
from p2pnode.core.wire.messages import Advert
from p2pnode.core.wire.signing import Keys
from p2pnode.core.wire.spec import JobSpec

# A node that has just started hears of its operators one by one, within a second or two: one charter for all.
# A look at 10,000 jobs takes some 0.2 s.
GATHER_S = 2.0
# As many as a roster knows; of one that is forgotten the controllers stay as they are.
MEMBERS_MAX = 4_000


@dataclass(slots=True)
class Controlling:
    me: str
    keys: Keys
    trust: Trust
    # When the charters of jobs are looked at.
    due: float = inf
    # Members by what was heard of them last: whether they are operators.
    _operates: dict[str, bool] = field(default_factory=dict)

    def charter(self, id: str, spec: JobSpec, nonce: bytes) -> Mandate:
        """The first charter of a job that is submitted here."""
        charter = mandate.first_charter(id, nonce, self.me, spec, self.trust, self._operators)
        return mandate.chartered(self.keys, charter)

    @property
    def _operators(self) -> tuple[str, ...]:
        return tuple(sorted(peer for peer, operates in self._operates.items() if operates))

    def heard(self, advert: Advert, now: float) -> None:
        """Take in the role that a peer has proven by its advert; in the open network none has one."""
        role = memberships.role_of(advert)
        if role is not None and not advert.leaving and advert.peer != self.me:
            self._note(advert.peer, role is Role.OPERATOR, now)

    def left(self, peers: Iterable[str], now: float) -> None:
        """Take in who is no member any more: expelled, or its membership has ended."""
        for peer in peers:
            self._note(peer, False, now)

    def _note(self, peer: str, operates: bool, now: float) -> None:
        if self._operates.get(peer) is not operates:
            self._operates.pop(peer, None)
            self._operates[peer] = operates
            if len(self._operates) > MEMBERS_MAX:
                del self._operates[next(iter(self._operates))]
            self.due = min(self.due, now + GATHER_S)

    def look(self, now: float) -> None:
        """Look at the jobs' charters: one goes on that had ended, with the controllers of then."""
        if self._operates:
            self.due = min(self.due, now + GATHER_S)

    def recharter(self, jobs: OwnedJobs, now: float) -> list[Action]:
        """Sign the next charter of each job that goes on and has other controllers than it should."""
        actions: list[Action] = []
        held = False
        for job in list(jobs.values()):
            record = job.record
            if record.ended or record.requester != self.me:
                continue
            before = record.authority.charter.controllers
            after = mandate.controllers_after(before, self.trust, self._operates)
            if set(after) == set(before):
                continue
            if job.is_held(now):
                held = True
                continue
            with jobs.worked_on(job):
                actions += job.name_controllers(after, now)
        self.due = now + GATHER_S if held else inf
        return actions
