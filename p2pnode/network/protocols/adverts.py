"""Handing over the whole advert table: what a joiner asks its first peers for.

Gossip would bring a joiner the adverts one by one, within their interval. Here it opens
a stream and gets them all. `protocols/peers.md` says what goes over the wire.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Annotated

import msgspec
import trio

from p2pnode.core.wire import protocols
from p2pnode.core.wire.codec import BadMessage, Record
from p2pnode.core.wire.fields import Natural
from p2pnode.core.wire.signing import Signed
from p2pnode.network.host import Host
from p2pnode.network.streams import NetworkError, Stream

from .frames import read_frame_untrusted, write_frame
from .rates import rate_per_peer

log = logging.getLogger(__name__)

PROTOCOL = protocols.ADVERTS
# A frame of 25 adverts is a few tens of KiB: large enough to be quick, and small to decode at once.
PAGE_ENTRIES_MAX = 25
PAGE_SIZE_BYTES_MAX = 64 * 1024
# More than a topic carries (some thousand nodes); at 2 KiB each that is 20 MiB.
ENTRIES_MAX = 10_000
TABLE_S_MAX = 30.0
OPEN_S_MAX = 5.0
# A joiner asks once or twice; a node that is alone again asks again.
ASKED_RATE_PER_S = 0.1
ASKED_BURST = 5.0


class TableEntry(Record, frozen=True):
    """A signed advert, and how much longer the sender will keep it."""

    signed: Signed
    remaining_ms: Natural


class Page(Record, frozen=True):
    """A part of the table; the last one has `more` false."""

    entries: Annotated[tuple[TableEntry, ...], msgspec.Meta(max_length=PAGE_ENTRIES_MAX)]
    more: bool


Take = Callable[[Sequence[TableEntry]], Awaitable[None]]


def serve_table(host: Host, table: Callable[[str], Iterable[tuple[Signed, int]]]) -> None:
    """Has the host answer those who ask for the table: signed adverts, each with its remaining ms.

    `table` is given who asks.
    """
    may_ask = rate_per_peer(host, ASKED_RATE_PER_S, ASKED_BURST)

    async def serve(stream: Stream) -> None:
        if not may_ask(stream.peer):
            raise BadMessage(f"{stream.peer} asks for the adverts too often")
        entries = [TableEntry(signed=signed, remaining_ms=ms) for signed, ms in table(stream.peer)][
            :ENTRIES_MAX
        ]
        starts = range(0, max(len(entries), 1), PAGE_ENTRIES_MAX)
        for start in starts:
            page = Page(
                entries=tuple(entries[start : start + PAGE_ENTRIES_MAX]),
                more=start + PAGE_ENTRIES_MAX < len(entries),
            )
            await write_frame(stream, page, TABLE_S_MAX)

    host.handle(PROTOCOL, serve, time_limit_s=TABLE_S_MAX, streams_per_peer_max=1)


async def pull_table(host: Host, peer: str, take: Take, process: bytes | None = None) -> None:
    """Gives `take` the table of a connected peer, page by page; nothing in it has been checked yet.

    Of several processes that are connected as that peer, `process` is the key of the one to ask.
    Raises `NetworkError` if the peer does not hand it over, or sends something else.
    """
    entries = 0
    try:
        with trio.fail_after(TABLE_S_MAX):
            async with await host.open_stream(peer, [PROTOCOL], OPEN_S_MAX, process) as stream:
                more = True
                while more:
                    page = await read_frame_untrusted(stream, Page, PAGE_SIZE_BYTES_MAX, TABLE_S_MAX)
                    if page is None:
                        raise BadMessage("the stream ended before the last page")
                    entries += len(page.entries)
                    more = page.more
                    if entries > ENTRIES_MAX or (more and not page.entries):
                        raise BadMessage(f"more than {ENTRIES_MAX} adverts, or an empty page among them")
                    await take(page.entries)
    except BadMessage as exc:
        raise NetworkError(f"{peer} did not send its adverts: {exc}") from exc
    except trio.TooSlowError as exc:
        raise NetworkError(f"{peer} did not send its adverts within {TABLE_S_MAX:.0f} s") from exc
