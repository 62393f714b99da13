"""The doorkeeper of a private network: has each new neighbour show its membership, and leaves who shows none.

One stream between two neighbours, a frame each way (protocols/network.md); `core.records.roster` decides. A
newer record of those expelled goes on to all neighbours in the same frame, newer keys of the network to
members in a frame of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

import trio

from p2pnode.core.records.membership import ends_soon
from p2pnode.core.records.roster import Roster
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.membership import (
    KEYRING_FRAME_SIZE_BYTES_MAX,
    MEMBER_FRAME_SIZE_BYTES_MAX,
    KeyringGiven,
    MemberShown,
)
from p2pnode.core.wire.messages import Advert
from p2pnode.core.wire.protocols import KEYRING, MEMBER
from p2pnode.core.wire.signing import Signed
from p2pnode.system.log_lines import concerning

from .host import Connected, Disconnected, Host
from .protocols.frames import read_frame_untrusted, write_frame
from .protocols.rates import rate_per_peer
from .streams import NetworkError, Stream

log = logging.getLogger(__name__)

# An honest neighbour shows its membership in one round trip; a busy machine takes seconds.
ADMISSION_S_MAX = 10.0
# A stream may break as one of two connections with a peer is closed.
SHOW_AGAIN_S = 0.5
# A peer that was refused is dialled again after this: it may have joined anew.
REST_S = 60.0
# Peer ids cost nothing: refusals are remembered of the last so many.
REFUSED_MAX = 1_000
# A neighbour shows its frame at each connection, and when somebody is expelled.
SHOWN_RATE_PER_S = 1.0
SHOWN_BURST = 10.0
# How soon an expulsion by the command line, and the end of a membership, are noticed.
LOOK_S = 1.0


Tell = Callable[[Host, trio.Nursery, str], Awaitable[object]]


class KeptRecords(Protocol):
    """The operator's records as they lie on this machine, where its command line may write newer ones."""

    def expulsion(self) -> Signed | None:
        """The record of those expelled; None: nothing newer can lie here."""

    def keyring(self) -> Signed | None:
        """The network's keys; None: nothing newer can lie here."""

    def keep_expulsion(self, signed: Signed) -> None: ...

    def keep_keyring(self, signed: Signed) -> None: ...


class Doorkeeper:
    """Implements `MemberGate` by a roster. `run` serves it; before, nobody is admitted but who was proven."""

    def __init__(self, roster: Roster, now_ms: Callable[[], int], kept: KeptRecords) -> None:
        self.roster = roster
        self._now_ms = now_ms
        self._kept = kept
        # Neighbours that have not been admitted.
        self._waiting: dict[str, trio.Event] = {}
        # The time until which each peer that was refused is not dialled, and why it was.
        self._refused: dict[str, tuple[float, str]] = {}
        # Show the newest record, and give the newest keys, to all neighbours but one.
        self._spread: Callable[[str], None] = lambda but: None
        self._spread_keys: Callable[[str], None] = lambda but: None

    def now_ms(self) -> int:
        """The Unix time by which memberships are judged."""
        return self._now_ms()

    def lifetime_ms_untrusted(self, advert: Advert) -> int:
        """For how long a signed advert may count; raises `BadMessage` where its peer is no member."""
        return self.roster.lifetime_ms_untrusted(advert, self._now_ms())

    def network_keys(self) -> tuple[bytes, ...]:
        """The network's keys that count now, the newest first."""
        return self.roster.keyring.counting(self._now_ms())

    def why_out(self, peer: str) -> str | None:
        """Why a peer is no member as far as is known; None where it is one."""
        return self.roster.why_out(peer, self._now_ms())

    async def admitted(self, peer: str) -> None:
        """Wait until the peer is admitted; raises `NetworkError` where it is not, in time."""
        if (why := self.why_out(peer)) is not None and not self.roster.is_expelled(peer):
            with trio.move_on_after(ADMISSION_S_MAX):
                await self._waiting.setdefault(peer, trio.Event()).wait()
            why = self.why_out(peer)
        if why is not None:
            raise NetworkError(f"{peer} is not admitted: it {why}")

    def why_not_dialled(self, peer: str) -> str | None:
        """Why no connection with a peer is made now; None where one is."""
        until, why = self._refused.get(peer, (0.0, ""))
        if self.roster.is_expelled(peer):
            why, until = f"it {self.why_out(peer)}", trio.current_time() + REST_S
        return f"it was refused: {why}" if trio.current_time() < until else None

    async def run(
        self,
        host: Host,
        gone: Callable[[Sequence[str]], None],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Works until cancelled; `gone` is told the peers that are members no more."""
        may_show = rate_per_peer(host, SHOWN_RATE_PER_S, SHOWN_BURST)
        async with trio.open_nursery() as nursery:

            async def serve(stream: Stream) -> None:
                if not may_show(stream.peer):
                    raise BadMessage(f"{stream.peer} shows its membership too often")
                if await self._take_in(host, nursery, stream):
                    await write_frame(stream, self.roster.shown, ADMISSION_S_MAX)

            def on_connection(event: Connected | Disconnected) -> None:
                if isinstance(event, Connected):
                    nursery.start_soon(self._meet, host, nursery, event.peer)
                elif (waiting := self._waiting.pop(event.peer, None)) is not None:
                    waiting.set()

            self._spread = partial(self._tell_all, host, nursery, self._show)
            self._spread_keys = partial(self._tell_all, host, nursery, self._give_keys)
            host.watch(on_connection)
            host.handle(MEMBER, serve, time_limit_s=2 * ADMISSION_S_MAX, streams_per_peer_max=2)
            host.handle(KEYRING, self._take_keys, time_limit_s=2 * ADMISSION_S_MAX, streams_per_peer_max=2)
            for peer in host.connected():
                nursery.start_soon(self._meet, host, nursery, peer)
            task_status.started()
            told = False
            while True:
                if not told and (ends := ends_soon(self.roster.member, self._now_ms() / 1000)) is not None:
                    told = True
                    log.warning("%s", ends)
                if (expulsion := self._kept.expulsion()) is not None:
                    self._hear(expulsion, "")
                if (keyring := self._kept.keyring()) is not None and self.roster.take_own_keyring(keyring):
                    self._tell_of_keys("")
                if ended := self.roster.drop_ended(self._now_ms()):
                    gone(ended)
                for peer in host.connected():
                    if peer not in self._waiting and (why := self.why_out(peer)) is not None:
                        nursery.start_soon(self._refuse, host, peer, f"it {why}")
                await trio.sleep(LOOK_S)

    async def _meet(self, host: Host, nursery: trio.Nursery, peer: str) -> None:
        """Have a new neighbour show its membership; of the two the one with the lower id begins."""
        with concerning(anew=True, peer=peer):
            shown = self._waiting.setdefault(peer, trio.Event())
            with trio.move_on_after(ADMISSION_S_MAX):
                if host.peer_id < peer:
                    await self._show_until_judged(host, nursery, peer)
                else:
                    await shown.wait()
            if (waiting := self._waiting.pop(peer, None)) is not None:
                waiting.set()
            if peer in host.connected() and (why := self.why_out(peer)) is not None:
                await self._refuse(host, peer, f"it {why}")

    async def _show_until_judged(self, host: Host, nursery: trio.Nursery, peer: str) -> None:
        while not await self._show(host, nursery, peer):
            await trio.sleep(SHOW_AGAIN_S)
            if peer not in host.connected():
                return

    async def _show(self, host: Host, nursery: trio.Nursery, peer: str) -> bool:
        """Show a neighbour this node's membership, and see its own; whether it was seen, and judged."""
        try:
            async with await host.open_stream(peer, [MEMBER], ADMISSION_S_MAX) as stream:
                await write_frame(stream, self.roster.shown, ADMISSION_S_MAX)
                await self._take_in(host, nursery, stream)
        except (NetworkError, BadMessage) as exc:
            log.debug("%s showed no membership: %s", peer, exc)
            return False
        return True

    async def _take_in(self, host: Host, nursery: trio.Nursery, stream: Stream) -> bool:
        """Judge what a neighbour shows; whether it is admitted. Raises `NetworkError` where nothing comes."""
        peer = stream.peer
        try:
            shown = await read_frame_untrusted(
                stream, MemberShown, MEMBER_FRAME_SIZE_BYTES_MAX, ADMISSION_S_MAX
            )
            if shown is None:
                raise NetworkError(f"{peer} showed nothing")
            if shown.expulsion is not None:
                self._hear(shown.expulsion, peer)
            self.roster.prove_untrusted(peer, shown.membership, self._now_ms())
        except BadMessage as exc:
            nursery.start_soon(self._refuse, host, peer, str(exc))
            return False
        self._refused.pop(peer, None)
        if (waiting := self._waiting.pop(peer, None)) is not None:
            waiting.set()
        if shown.keyring_serial < self.roster.keyring.serial:
            nursery.start_soon(self._give_keys, host, nursery, peer)
        return True

    async def _give_keys(self, host: Host, nursery: trio.Nursery, peer: str) -> None:
        """Give a member the network's keys; the host opens the stream once the peer is admitted, or never."""
        given = self.roster.keyring_given
        if given is None:
            return
        try:
            async with await host.open_stream(peer, [KEYRING], ADMISSION_S_MAX) as stream:
                await write_frame(stream, given, ADMISSION_S_MAX)
        except NetworkError as exc:
            log.debug("%s was not given the network's keys: %s", peer, exc)

    async def _take_keys(self, stream: Stream) -> None:
        """Take the network's keys of a member; raises `BadMessage`."""
        given = await read_frame_untrusted(
            stream, KeyringGiven, KEYRING_FRAME_SIZE_BYTES_MAX, ADMISSION_S_MAX
        )
        if given is None:
            return
        if given.expulsion is not None:
            self._hear(given.expulsion, stream.peer)
        self._hear_keys(given.keyring, stream.peer)

    def _hear_keys(self, signed: Signed, from_: str) -> None:
        """Take in the network's keys, and give them on if they are newer; raises `BadMessage`."""
        if self.roster.hear_keyring_untrusted(signed):
            self._kept.keep_keyring(signed)
            self._tell_of_keys(from_)

    def _tell_of_keys(self, from_: str) -> None:
        log.info("the network has a new key%s", f", by {from_}" if from_ else "")
        self._spread_keys(from_)

    def _hear(self, signed: Signed, from_: str) -> None:
        """Take in a record of those expelled, and pass it on if it is newer; raises `BadMessage`."""
        if self.roster.hear_untrusted(signed):
            self._kept.keep_expulsion(signed)
            log.info("heard of a new record of those expelled%s", f" from {from_}" if from_ else "")
            self._spread(from_)

    def _tell_all(self, host: Host, nursery: trio.Nursery, tell: Tell, but: str) -> None:
        for peer in host.connected():
            if peer != but and self.why_out(peer) is None:
                nursery.start_soon(tell, host, nursery, peer)

    async def _refuse(self, host: Host, peer: str, reason: str) -> None:
        until, before = self._refused.pop(peer, (0.0, ""))
        if not until:
            log.warning("%s is not let into the network: %s", peer, reason)
        # Why it was refused tells more than that it was.
        reason = before if trio.current_time() < until else reason
        self._refused[peer] = trio.current_time() + REST_S, reason
        while len(self._refused) > REFUSED_MAX:
            del self._refused[next(iter(self._refused))]
        await host.disconnect(peer)
