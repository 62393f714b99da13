"""The doorkeeper between real hosts: who proves nothing is served nothing, asked nothing, and left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from p2pnode.core.records import keyring, membership, roster
from p2pnode.core.records.keyring import Keyring
from p2pnode.core.records.roster import Roster
from p2pnode.core.wire import codec
from p2pnode.core.wire.membership import ExpulsionBody, Membership, Role
from p2pnode.core.wire.signing import Signed
from p2pnode.identity import Identity
from p2pnode.network.doorkeeper import Doorkeeper
from p2pnode.network.host import Host, Unreachable, open_host
from p2pnode.network.relay_service import RelayService
from p2pnode.network.relay_upkeep import RelayUpkeep
from p2pnode.network.streams import NetworkError

from .network_support import LOOPBACK, WAIT_S, new_identity, until
from .test_network_host import ECHO, connect, echo, echoes
from .test_roster import END_MS, NOW_MS, OPERATOR, joined

OLD_KEY, NEW_KEY = bytes(range(32)), bytes(range(1, 33))
GRACE_MS = 60_000


class Machine:
    """A host with its doorkeeper, what lies on its disk, and the peers that it was told are gone."""

    def __init__(self, me: Identity, own: Membership) -> None:
        self.me = me
        self.lies_here: Signed | None = None
        self.keys_here: Signed | None = None
        self.gone: list[str] = []
        self.now_ms = NOW_MS
        self.roster = Roster(me.peer_id, own, me, Keyring(OLD_KEY))
        self.door = Doorkeeper(self.roster, lambda: self.now_ms, self)
        self.host: Host

    def expulsion(self) -> Signed | None:
        return self.lies_here

    def keyring(self) -> Signed | None:
        return self.keys_here

    def keep_expulsion(self, signed: Signed) -> None:
        self.lies_here = signed

    def keep_keyring(self, signed: Signed) -> None:
        self.keys_here = signed

    async def echoes_with(self, other: Machine) -> bool:
        await connect(self.host, other.host)
        return await echoes(self.host, other.host, b"hello")


@asynccontextmanager
async def machine(me: Identity, own: Membership) -> AsyncIterator[Machine]:
    made = Machine(me, own)
    async with (
        open_host(me, [LOOPBACK], door=made.door, network_keys=made.door.network_keys) as made.host,
        trio.open_nursery() as nursery,
    ):
        made.host.handle(ECHO, echo)
        await nursery.start(made.door.run, made.host, made.gone.extend)
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


def rotated(grace_ms: int, expulsion: Signed | None = None, at_ms: int = NOW_MS) -> Signed:
    own = membership.read(joined(OPERATOR, Role.OPERATOR))
    serial = codec.decode(expulsion.body, ExpulsionBody).serial if expulsion else 0
    return keyring.rotate(OPERATOR, own, keyring.first(own, OLD_KEY), NEW_KEY, serial, grace_ms, at_ms)


async def test_a_new_key_reaches_members_alone_and_the_expelled_are_refused_at_the_handshake() -> None:
    ada, bob, gus = new_identity(), new_identity(), new_identity()
    async with (
        machine(ada, joined(ada, Role.OPERATOR)) as a,
        machine(bob, joined(bob, Role.MEMBER)) as b,
        machine(gus, joined(gus, Role.MEMBER)) as c,
    ):
        for one, other in ((a, b), (b, c), (a, c)):
            assert await one.echoes_with(other)
        own = membership.read(joined(OPERATOR, Role.OPERATOR))
        expelled = roster.expel(OPERATOR, own, None, [gus.peer_id], (), NOW_MS)
        # The keys bring the record of those expelled with them.
        a.keys_here, a.lies_here = rotated(0, expelled), expelled
        await until(lambda: b.keys_here == a.keys_here and b.lies_here == expelled)
        await until(lambda: c.host.connected() == [])
        assert c.keys_here is None
        for door in (a.host, b.host):
            with pytest.raises(Unreachable, match="another network key"):
                await c.host.connect(door.peer_id, door.addresses()[:1], 5)
        await a.host.disconnect(bob.peer_id)
        await until(lambda: b.host.connected() == [])
        assert await b.echoes_with(a)


async def test_who_was_away_is_let_in_with_the_old_key_until_the_grace_ends_and_learns_the_new_one() -> None:
    ada, bob, cyd = new_identity(), new_identity(), new_identity()
    async with machine(ada, joined(ada, Role.OPERATOR)) as a:
        a.keys_here = rotated(GRACE_MS)
        await until(lambda: a.door.network_keys() == (NEW_KEY, OLD_KEY))
        async with machine(bob, joined(bob, Role.MEMBER)) as b:
            # Dialled with the newest key, then with the one that it knows.
            assert await a.echoes_with(b)
            await until(lambda: b.door.network_keys() == (NEW_KEY, OLD_KEY))
        a.now_ms = NOW_MS + GRACE_MS
        assert a.door.network_keys() == (NEW_KEY,)
        async with machine(cyd, joined(cyd, Role.MEMBER)) as c:
            for one, other in ((c, a), (a, c)):
                with pytest.raises(Unreachable, match="asks the operator for a new token"):
                    await one.host.connect(other.host.peer_id, other.host.addresses()[:1], 5)


async def test_a_neighbour_whose_membership_ends_is_left_by_the_clock_and_not_let_in_again() -> None:
    ada, bob = new_identity(), new_identity()
    async with (
        machine(ada, joined(ada, Role.OPERATOR)) as a,
        machine(bob, joined(bob, Role.MEMBER)) as b,
    ):
        assert await a.echoes_with(b)
        a.now_ms = END_MS
        await until(lambda: a.host.connected() == [] and a.gone == [bob.peer_id])
        await until(lambda: b.host.connected() == [])
        # The clock of the one that was left goes another way: it asks, and is refused.
        await b.host.connect(ada.peer_id, a.host.addresses(), 5)
        with pytest.raises(NetworkError):
            await echoes(b.host, a.host, b"hello")
        await until(lambda: a.host.connected() == [])


async def test_a_relay_of_a_private_network_serves_members_alone_who_prove_themselves_by_it_too() -> None:
    ada, bob, cyd = new_identity(), new_identity(), new_identity()
    async with (
        machine(ada, joined(ada, Role.MEMBER)) as relay,
        machine(bob, joined(bob, Role.MEMBER)) as behind,
        machine(cyd, joined(cyd, Role.MEMBER)) as visitor,
        open_host(new_identity(), [LOOPBACK], network_keys=visitor.door.network_keys) as stranger,
        trio.open_nursery() as nursery,
    ):
        RelayService(relay.host, lambda: True)
        upkeep = RelayUpkeep(behind.host, lambda: None)
        upkeep.need(True)
        nursery.start_soon(upkeep.run)
        await behind.host.connect(ada.peer_id, relay.host.addresses(), 5)
        await until(lambda: behind.host.relayed_addresses)
        addresses = list(behind.host.relayed_addresses)
        await visitor.host.connect(bob.peer_id, addresses, WAIT_S)
        assert await echoes(visitor.host, behind.host, b"hello")
        assert visitor.host.remote_host(bob.peer_id) == ""
        # A host with the key and no membership is carried nowhere.
        with pytest.raises(Unreachable):
            await stranger.connect(bob.peer_id, addresses, 2)
        assert stranger.peer_id not in behind.host.connected()
        nursery.cancel_scope.cancel()
