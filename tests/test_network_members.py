"""The doorkeeper between real hosts: who proves nothing is served nothing, asked nothing, and left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from p2pnode.core.records import membership, roster
from p2pnode.core.records.roster import Roster
from p2pnode.core.wire.membership import Membership, Role
from p2pnode.core.wire.signing import Signed
from p2pnode.identity import Identity
from p2pnode.network.doorkeeper import Doorkeeper
from p2pnode.network.host import Host, Unreachable, open_host

from .network_support import LOOPBACK, new_identity, until
from .test_network_host import ECHO, connect, echo, echoes
from .test_roster import NOW_MS, OPERATOR, joined


class Machine:
    """A host with its doorkeeper, what lies on its disk, and the peers that it was told are gone."""

    def __init__(self, me: Identity, own: Membership) -> None:
        self.me = me
        self.lies_here: Signed | None = None
        self.gone: list[str] = []
        self.roster = Roster(me.peer_id, own, me)
        self.door = Doorkeeper(self.roster, lambda: NOW_MS, lambda: self.lies_here, lambda signed: None)
        self.host: Host


@asynccontextmanager
async def machine(me: Identity, own: Membership) -> AsyncIterator[Machine]:
    made = Machine(me, own)
    async with open_host(me, [LOOPBACK], door=made.door) as made.host, trio.open_nursery() as nursery:
        made.host.handle(ECHO, echo)
        await nursery.start(made.door.run, made.host, made.gone.append)
        yield made
        nursery.cancel_scope.cancel()


async def test_members_are_served_at_once_and_an_expulsion_reaches_all_and_holds() -> None:
    ada, bob, gus = new_identity(), new_identity(), new_identity()
    async with (
        machine(ada, joined(ada, Role.OPERATOR)) as a,
        machine(bob, joined(bob, Role.MEMBER)) as b,
        machine(gus, joined(gus, Role.GUEST)) as c,
    ):
        for one, other in ((a, b), (b, c)):
            await connect(one.host, other.host)
            assert await echoes(one.host, other.host, b"hello")
        own = membership.read(joined(OPERATOR, Role.OPERATOR))
        a.lies_here = roster.expel(OPERATOR, own, None, [gus.peer_id], (), NOW_MS)
        await until(lambda: c.host.connected() == [] and b.gone == [gus.peer_id])
        assert b.roster.expulsion == a.lies_here
        with pytest.raises(Unreachable, match="was expelled"):
            await b.host.connect(gus.peer_id, c.host.addresses(), 5)


async def test_who_shows_another_s_membership_is_left_at_once_and_not_dialled() -> None:
    ada, thief = new_identity(), new_identity()
    async with (
        machine(ada, joined(ada, Role.MEMBER)) as a,
        machine(thief, joined(ada, Role.MEMBER)) as b,
    ):
        await connect(b.host, a.host)
        # Its own time limit would be ten seconds.
        with trio.fail_after(5):
            await until(lambda: a.door.why_not_dialled(thief.peer_id) is not None)
        await until(lambda: a.host.connected() == [])
        with pytest.raises(Unreachable, match="the membership of another peer"):
            await a.host.connect(thief.peer_id, b.host.addresses(), 5)
