"""How what runs for others is ended: rules about a reservation whose program is to stop, in good order.

A program is told to stop, has a grace period, and is killed; what it wrote until then is kept as its
result, for which there is a time, too. The reservation holds its room until all that is over.
"""

from __future__ import annotations

from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import REASON_LENGTH_MAX
from p2pnode.core.wire.spec import STOP_GRACE_S, JobSpec
from p2pnode.core.wire.states import Fault

from .events import Kill
from .lifecycle import LONG_RUNNING
from .reservations import Ending, Reservation, ReservationState

# When the node itself ends: service managers kill it after 90 s, and results are stored after the grace.
LEAVING_GRACE_S_MAX = 60
# Pulling a large image over a slow line; without a limit a stuck pull would hold its resources for ever.
PREPARE_TIMEOUT_S = 30 * 60.0
# Hashing and storing some 100 GB.
PUBLISH_TIMEOUT_S = 10 * 60.0
# A program that was ended: killing it takes an engine 20 s at most, and some 10 GB are stored in the rest.
# Nobody waits for that result as for a whole one, but others wait for the room.
KEEP_TIMEOUT_S = 90.0


def begin(reservation: Reservation, reason: str, fault: Fault, *, keep: bool, publish: bool) -> None:
    """From now on it is being ended. `publish`: what is kept goes where the job wants its results."""
    reservation.state = ReservationState.ENDING
    reservation.ending = Ending(reason=reason[:REASON_LENGTH_MAX], fault=fault, keep=keep, publish=publish)


def keep_nothing(reservation: Reservation) -> None:
    """Note that keeping its output has taken too long."""
    assert reservation.ending is not None
    reservation.ending = codec.replace(reservation.ending, keep=False)


def kill(reservation: Reservation, grace_s_max: float, now: float) -> Kill:
    """Ends it as was said when that began, and sets by when it has to be over, else nothing is kept."""
    ending = reservation.ending
    assert reservation.award is not None and ending is not None
    grace_s = min(stop_grace_s(reservation.award.spec), grace_s_max) if ending.keep else 0.0
    keep_s = PUBLISH_TIMEOUT_S if ending.publish else KEEP_TIMEOUT_S
    reservation.deadline = now + grace_s + keep_s if ending.keep else None
    return Kill(reservation.execution, ending, grace_s)


def stop_grace_s(spec: JobSpec) -> int:
    """How long a program asks to have from its stop signal to its kill."""
    asked_s = spec.task.timeouts.stop_grace_s
    return STOP_GRACE_S if asked_s is None else asked_s


def run_limit_s(spec: JobSpec) -> int | None:
    """For how long a program may run: the ExecutionTimeout, else the TotalTimeout, else without limit.

    Of daemons and services, which run until they are stopped, both are ignored.
    """
    if spec.type in LONG_RUNNING:
        return None
    timeouts = spec.task.timeouts
    return timeouts.execution_s if timeouts.execution_s is not None else timeouts.total_s
