"""The orders of the output of results that are kept here, and how others ask for them (`protocols/logs.md`).

A result has stdout and stderr in two files; the order of the two lies beside it, one small file a result:

    log-orders/bafy...    the lengths of runs, as `core.wire.log_order` has them

It is named by the result's CID: whoever may read the result may know it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from p2pnode.core.wire import codec, extensions, protocols
from p2pnode.core.wire.codec import BadMessage, Unreadable
from p2pnode.core.wire.inquiries import LogOrderAnswer, LogOrderRequest
from p2pnode.core.wire.log_order import RUNS_MAX, LogOrder
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs.cid import BadCid
from p2pnode.network.host import Host
from p2pnode.network.protocols.frames import read_frame_untrusted, write_frame
from p2pnode.network.protocols.rates import rate_per_peer
from p2pnode.network.streams import Stream

log = logging.getLogger(__name__)

PROTOCOL = protocols.LOG_ORDER
# A run takes 9 bytes at most.
FRAME_SIZE_BYTES_MAX = 9 * RUNS_MAX + 64
TIMEOUT_S = 5.0
# One for each result of a job that a person looks at; of a job of hundreds some come without their order.
ASKED_RATE_PER_S = 10.0
ASKED_BURST = 100.0
# Results end by the hour: those whose time is over are looked for now and then.
ADDED_BETWEEN_LOOKS = 100


class LogOrders:
    def __init__(self, directory: Path, is_kept: Callable[[str], bool]) -> None:
        """`is_kept` says whether a result is still here."""
        self._directory = directory
        self._is_kept = is_kept
        self._added = 0

    def add(self, result: str, order: LogOrder) -> None:
        """Keep the order of a result's output; without, it is read as stdout and then stderr."""
        if not order.tells:
            return
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._added % ADDED_BETWEEN_LOOKS == 0:
                self._remove_ended()
            self._added += 1
            path = self._directory / cids.canonical(result)
            part = path.with_suffix(".part")
            part.write_bytes(codec.encode(LogOrderAnswer(runs=tuple(order.runs))))
            part.replace(path)
        except OSError as exc:
            log.warning("the order of the output of %s is not kept: %s", result, exc.strerror)

    def of(self, result: str) -> Sequence[int]:
        """The order of a result's output, or nothing where it is not known. Raises `BadCid`."""
        path = self._directory / cids.canonical(result)
        try:
            return codec.decode(path.read_bytes(), LogOrderAnswer).runs
        except (OSError, Unreadable):
            return ()

    def _remove_ended(self) -> None:
        for name in os.listdir(self._directory):
            if name.endswith(".part") or not self._is_kept(name):
                (self._directory / name).unlink(missing_ok=True)

    def serve(self, host: Host) -> None:
        """Has the host answer those who ask."""
        may_ask = rate_per_peer(host, ASKED_RATE_PER_S, ASKED_BURST)

        async def answer(stream: Stream) -> None:
            if not may_ask(stream.peer):
                raise BadMessage(f"{stream.peer} asks for orders of output too often")
            request = await read_frame_untrusted(stream, LogOrderRequest, FRAME_SIZE_BYTES_MAX, TIMEOUT_S)
            if request is None:
                raise BadMessage("the stream ended before a request")
            extensions.vet(request, "this request")
            try:
                runs = self.of(request.result)
            except BadCid as exc:
                raise BadMessage(str(exc)) from exc
            await write_frame(stream, LogOrderAnswer(runs=tuple(runs)), TIMEOUT_S)
            await stream.close()

        host.handle(PROTOCOL, answer, time_limit_s=3 * TIMEOUT_S)


async def ask(host: Host, peer: str, result: str) -> Sequence[int]:
    """Ask a peer for the order of a result's output; raises `NetworkError` and `BadMessage`."""
    async with await host.open_stream(peer, [PROTOCOL], TIMEOUT_S) as stream:
        await write_frame(stream, LogOrderRequest(result=result), TIMEOUT_S)
        answer = await read_frame_untrusted(stream, LogOrderAnswer, FRAME_SIZE_BYTES_MAX, TIMEOUT_S)
        return answer.runs if answer else ()
