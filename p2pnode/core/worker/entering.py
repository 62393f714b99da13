"""Rules of who may enter an execution that runs here (protocols/exec.md), and with how many programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from p2pnode.core.records import mandate
from p2pnode.core.records.reservations import Reservation, ReservationState
from p2pnode.core.wire import codec, extensions
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.exec import COMMAND_SIZE_BYTES_MAX, ExecBody, ExecEnd, StreamName
from p2pnode.core.wire.fields import SIGNED_WILL_SIZE_BYTES_MAX
from p2pnode.core.wire.signing import EXEC_DOMAIN, Keys, Signed

# A person with a few windows. Each is a program beside the job's, in its memory and its share of the cores.
ENTERED_PER_EXECUTION_MAX = 4
# Each holds a connection to the engine and up to a window of output.
ENTERED_MAX = 16

NOT_ALLOWED = (
    "this peer lets nobody enter executions: its operator has to set allow_exec (serve --allow-exec)"
)


class CannotEnter(Exception):
    """The program was not begun, or is lost; the message says why, and what can be done."""


class Entered(Protocol):
    """A program that was begun in a running execution. One reader and one writer at a time.

    Each method raises `CannotEnter` once it is lost.
    """

    async def read(self) -> tuple[StreamName, bytes] | None:
        """The next that the program writes; None once it has ended."""

    async def write(self, data: bytes) -> None:
        """Give the program input; returns when it is taken, and drops what a program that ended leaves."""

    async def end_input(self) -> None:
        """Close the program's stdin."""

    async def resize(self, columns: int, rows: int) -> None:
        """Tell the size of the terminal; nothing where there is none."""

    async def ended(self) -> ExecEnd:
        """How it ended, once `read` has given None."""


def command_problem(command: tuple[str, ...]) -> str:
    """Why a command cannot be run by any program, or ""."""
    if not command or not command[0]:
        return "the command names no program"
    if any("\0" in one for one in command):
        return "a command has no NUL characters"
    size_bytes = sum(len(one.encode()) for one in command)
    if size_bytes > COMMAND_SIZE_BYTES_MAX:
        return (
            f"the command has {size_bytes:,} bytes, and {COMMAND_SIZE_BYTES_MAX:,} are the most:"
            " give the rest by stdin"
        )
    return ""


def vet_untrusted(signed: Signed, sender: str, me: str, keys: Keys) -> ExecBody:
    """Read what a peer wants to do here; raises `BadMessage` unless it is of `sender`, signed, and for us."""
    body = codec.decode_untrusted(signed.body, ExecBody, SIGNED_WILL_SIZE_BYTES_MAX)
    extensions.vet(body, "the exec")
    if body.controller != sender:
        raise BadMessage("an exec that another peer than its controller sends")
    if body.peer != me:
        raise BadMessage("an exec for another peer")
    if problem := command_problem(body.command):
        raise BadMessage(problem)
    keys.verify_untrusted(sender, EXEC_DOMAIN, signed)
    return body


def check_may_enter(
    reservation: Reservation | None, body: ExecBody, me: str, *, allow_exec: bool
) -> Reservation:
    """The execution, which the controller may enter now; raises `CannotEnter` where it may not.

    The node's own users need no `allow_exec`, where the job is theirs.
    """
    may_know = (
        reservation is not None
        and reservation.job == body.job
        and reservation.mandate is not None
        and mandate.read(reservation.mandate).may_command(body.controller)
    )
    if reservation is None or reservation.mandate is None or not may_know:
        # No stranger learns what is here.
        raise CannotEnter(f"this peer has no execution {body.execution}")
    is_own = body.controller == me == mandate.read(reservation.mandate).requester
    if not (allow_exec or is_own):
        raise CannotEnter(NOT_ALLOWED)
    if reservation.state is not ReservationState.RUNNING:
        raise CannotEnter(f"the execution is {reservation.state}, and can be entered while it is running")
    return reservation


class Places:
    """The programs that are entered now, by execution."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    @contextmanager
    def place(self, execution: str) -> Iterator[None]:
        """Hold a place; raises `CannotEnter` where there is none."""
        if self._taken[execution] >= ENTERED_PER_EXECUTION_MAX:
            raise CannotEnter(
                f"{ENTERED_PER_EXECUTION_MAX} programs are in this execution by exec: end one of them first"
            )
        if self._taken.total() >= ENTERED_MAX:
            raise CannotEnter(f"this peer has {ENTERED_MAX} programs begun by exec: try again later")
        self._taken[execution] += 1
        try:
            yield
        finally:
            self._taken[execution] -= 1
            if not self._taken[execution]:
                del self._taken[execution]
