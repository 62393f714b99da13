"""A job that is waited for, as a block of lines: itself, and the executions that are under way. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from p2pnode.api.shapes import EventJson, ExecutionJson, JobJson
from p2pnode.cli.bars import bar
from p2pnode.cli.transfers import Transfer, transfer_of
from p2pnode.client.shortening import short_id, short_peer
from p2pnode.core.records.lifecycle import LIVE, OPEN
from p2pnode.core.values.text import cut, ljust, visible, width
from p2pnode.core.values.units import about_bytes
from p2pnode.core.wire.states import ExecutionState

# Lines of executions: with the job's own they fit into the smallest windows that people have.
EXECUTIONS_SHOWN_MAX = 8
BAR_COLUMNS = 16
PEER_COLUMNS_MAX = 20
_STATE_COLUMNS = max(len(state) for state in LIVE)
# A rate of less time than this is that of a buffer.
RATE_S_MIN = 0.5


@dataclass(slots=True)
class _Shown:
    """An execution that is under way."""

    id: str
    state: str
    # The last that its peer told of it.
    message: str
    peer: str = ""
    # Behind each message: its peer's name, or else its id.
    by: str = ""
    transfer: Transfer | None = None
    # The first that was told of this transfer, and when; `transfer` has the newest.
    began_bytes: int = 0
    began_at: float = 0.0
    told_at: float = 0.0

    def note(self, event: EventJson) -> None:
        self.state, self.message = event["state"], event["message"]
        transfer = transfer_of(event["message"])
        here = transfer.here_bytes if transfer else None
        before = self.transfer
        goes_on = before is not None and transfer is not None and before.what == transfer.what
        if not goes_on or here is None or here < self.began_bytes:
            self.began_bytes, self.began_at = here or 0, event["at"]
        self.transfer, self.told_at = transfer, event["at"]

    def line(self, peer_columns: int) -> str:
        peer = ljust(cut(self.peer or short_id(self.id), peer_columns), peer_columns)
        message = self.message.removesuffix(f" ({self.by})")
        told = _told(self.transfer, self._rate()) if self.transfer else visible(message)
        if message == self.state:
            told = ""
        return f"  {peer}  {self.state:<{_STATE_COLUMNS}}  {told}".rstrip()

    def _rate(self) -> str:
        since_s = self.told_at - self.began_at
        here_bytes = self.transfer.here_bytes if self.transfer else None
        if here_bytes is None or since_s < RATE_S_MIN:
            return ""
        return f"{about_bytes(int((here_bytes - self.began_bytes) / since_s))}/s"


class JobBlock:
    """Holds what a job's history has told, and makes lines of it."""

    def __init__(self, record: JobJson) -> None:
        self._id = record["id"]
        self._state: str = record["state"]
        self._message = ""
        self._under_way: dict[str, _Shown] = {}
        self._ended: Counter[str] = Counter()
        self.learn(record["executions"])

    @property
    def lacks_a_peer(self) -> bool:
        """Whether an execution is shown whose peer only the job's record tells."""
        return any(not one.peer for one in self._shown())

    def learn(self, executions: Iterable[ExecutionJson]) -> None:
        """Take note of peers, and of executions that were under way before the history that is followed."""
        for one in executions:
            if one["state"] in LIVE:
                shown = self._under_way.setdefault(one["id"], _Shown(one["id"], one["state"], one["state"]))
                shown.by = one["peer_name"] or one["peer"]
                shown.peer = visible(one["peer_name"]) or short_peer(one["peer"])

    def note(self, event: EventJson) -> None:
        """Take in a line of the history."""
        id, state = event["execution"], event["state"]
        if not id:
            self._state, self._message = state, event["message"]
        elif state in LIVE:
            self._under_way.setdefault(id, _Shown(id, state, "")).note(event)
        elif state in OPEN:
            self._message = event["message"]
        elif self._under_way.pop(id, None):
            self._ended[state] += 1
        if id and state == ExecutionState.RUNNING:
            # Lines about the job itself come seldom.
            self._state, self._message = state, ""

    def lines(self, elapsed_s: float, frame: str) -> list[str]:
        """The lines of now; the first begins with `frame`, which shows that we are there."""
        about = f"  {visible(self._message)}" if self._message else ""
        lines = [f"{frame} {elapsed_s:5.1f} s  {short_id(self._id)}  {self._state}{about}"]
        shown = self._shown()
        peers = [width(one.peer or short_id(one.id)) for one in shown]
        columns = min(PEER_COLUMNS_MAX, max(peers, default=0))
        lines += [one.line(columns) for one in shown]
        if more := len(self._under_way) - len(shown):
            lines.append(f"  and {more} more under way")
        if self._ended:
            counts = ", ".join(f"{count} {state.lower()}" for state, count in sorted(self._ended.items()))
            lines.append(f"  +{counts}")
        return lines

    def _shown(self) -> list[_Shown]:
        return list(self._under_way.values())[:EXECUTIONS_SHOWN_MAX]


def _told(one: Transfer, rate: str) -> str:
    parts = []
    if one.share is not None:
        parts.append(f"{bar(one.share, BAR_COLUMNS)} {one.share:4.0%}")
    if one.here_bytes is not None:
        whole = f" of {about_bytes(one.whole_bytes)}" if one.whole_bytes is not None else ""
        parts.append(about_bytes(one.here_bytes) + whole)
    return "  ".join(filter(None, [*parts, rate, visible(one.what)]))
