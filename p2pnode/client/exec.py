"""A program begun in a running execution, as its caller holds it: output here, input from any thread."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from p2pnode.api.shapes import Code

from .errors import ClientError, Refused
from .interrupts import current_interrupt

if TYPE_CHECKING:
    from .calls import Client

# The node takes no more at once.
PIECE_SIZE_BYTES_MAX = 64 * 1024
# The program has ended, or has closed its stdin: its reader learns that.
_TOO_LATE = (Code.NOT_FOUND, Code.CONFLICT)


class EnteredProgram:
    """A program in an execution, which ends when this is closed: use it in a `with` block.

    For a loop it is its output, once: pairs of "stdout" or "stderr" and bytes. Then `exit_code` tells how it
    ended, or is None, and `reason` why. Another thread may give it input meanwhile.
    """

    def __init__(self, client: Client, events: Generator[Any, None, None]) -> None:
        """`events` is the stream that begins it; raises `Refused` where it does not begin."""
        self._client = client
        self._events = events
        # The stream's own, whoever begins it.
        self._interrupt = current_interrupt()
        begun = self._interrupt.within(lambda: next(events))
        self._session: str = begun["session"]
        self.execution: str = begun["execution"]
        self.exit_code: int | None = None
        self.reason = ""

    def output(self) -> Generator[tuple[str, bytes], None, None]:
        """The output until the program has ended.

        Raises `NodeUnreachable` where the node is lost, and `Interrupted` where another thread closes it.
        """
        try:
            for one in self._events:
                if "stream" in one:
                    yield one["stream"], one["data"].encode("latin-1")
                else:
                    self.exit_code, self.reason = one["exit_code"], one["reason"]
        except ClientError:
            self._interrupt.check()
            raise

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return self.output()

    def send(self, data: bytes) -> None:
        """Give it input; returns when that is on its way, which takes as long as the program reads nothing.

        Input that comes too late is dropped.
        """
        for at in range(0, len(data), PIECE_SIZE_BYTES_MAX):
            self._give(data[at : at + PIECE_SIZE_BYTES_MAX], end=False)

    def end_input(self) -> None:
        """Close its stdin."""
        self._give(b"", end=True)

    def resize(self, columns: int, rows: int) -> None:
        """Tell it the size of its terminal."""
        try:
            self._client.exec_size(self._session, columns, rows)
        except Refused as error:
            if error.code not in _TOO_LATE:
                raise

    def close(self) -> None:
        """End it, if it has not ended, from any thread."""
        self._interrupt.set()
        # In another thread that reads, the stream ends now by itself.
        with suppress(ValueError, ClientError):
            self._events.close()

    def __enter__(self) -> EnteredProgram:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _give(self, data: bytes, *, end: bool) -> None:
        while True:
            try:
                return self._client.exec_input(self._session, data, end=end)
            except Refused as error:
                if error.code in _TOO_LATE:
                    return None
                # Nothing was taken: the program is busy.
                if error.code is not Code.TIMEOUT:
                    raise
