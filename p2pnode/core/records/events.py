"""Events that the core is told, and actions that it asks the shell to do.

The shell performs actions in order, and commits those that name the journal (`Save...`,
`Drop...`, `Send`) in one transaction with the receipt of the message that caused them:
after a crash, a message was handled with all its effects or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2pnode.core.link.failure_detector import PeerBack as PeerBack
from p2pnode.core.link.failure_detector import PeerLost as PeerLost
from p2pnode.core.wire.messages import Advert, Award, Capacity, Line, Message, Receipt
from p2pnode.core.wire.signing import Signed
from p2pnode.core.wire.spec import JobSpec
from p2pnode.core.wire.states import Scheduling, Stage

from .lifecycle import JobRecord
from .reservations import Ending, Reservation

# Events


@dataclass(frozen=True, slots=True)
class Tick:
    """`deadline` has passed."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message over the link. For `Ended`, the shell has checked the signature; its receipt is beside it.

    `record` is what the journal has of a job that a receipt or a message about ownership names, if the core
    does not hold it: one that has ended. `lacks` is what an ask needs of this node's disk and may not
    have, or has not, or why the operator's probe refuses an award.
    """

    peer: str
    message: Message
    receipt: Receipt | None = None
    record: JobRecord | None = None
    lacks: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A peer has discarded a message of this node, or it could not be sent; it will not come again."""

    peer: str
    message: Message
    reason: str


@dataclass(frozen=True, slots=True)
class ReceiptRefused:
    """A peer has ended an execution with a receipt that is not its own, or contradicts itself."""

    peer: str
    execution: str
    reason: str


@dataclass(frozen=True, slots=True)
class AdvertHeard:
    """An advert whose signature holds."""

    signed: Signed
    advert: Advert
    remaining_ms: int
    # The neighbour that brought it, be it the peer itself; "" where that is this node.
    forwarder: str = ""
    # How far the machine's clock has been set since this node's began.
    clock_set_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CapacityChanged:
    """The whole capacity of this node has changed, or is known at last; `free` is not looked at."""

    capacity: Capacity


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """A job of a user of this node; its id is made of this node's peer id and the nonce."""

    job: str
    spec: JobSpec
    nonce: bytes


@dataclass(frozen=True, slots=True)
class JobStopped:
    """End the job. `record` is the journal's, for a job that the core does not hold."""

    job: str
    reason: str
    record: JobRecord | None = None


@dataclass(frozen=True, slots=True)
class JobUpdated:
    """A changed file for a job. `record` is the journal's, for a job that has ended."""

    job: str
    spec: JobSpec
    record: JobRecord | None = None


@dataclass(frozen=True, slots=True)
class JobRerun:
    """Begin the job again. `record` is the journal's, for a job that has ended."""

    job: str
    reason: str
    record: JobRecord | None = None


@dataclass(frozen=True, slots=True)
class JobSought:
    """A user looks at a job that this node does not hold. `record` is the journal's, of an earlier look.

    With `wide` not only the nodes of its own operator are asked.
    """

    job: str
    record: JobRecord | None = None
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Progressed:
    """An execution here has come to a stage, or has something to say about it."""

    execution: str
    stage: Stage
    detail: str


@dataclass(frozen=True, slots=True)
class Finished:
    """An execution here is over, its program dead, and its receipt signed."""

    execution: str
    signed: Signed


@dataclass(frozen=True, slots=True)
class SchedulingChanged:
    """The operator says what this node takes on. `deadline`: when draining ends what still runs."""

    scheduling: Scheduling
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class NeighbourJoined:
    """A connection with a peer has begun: it, and those behind it, may not have heard of this node."""


@dataclass(frozen=True, slots=True)
class ConnectionChanged:
    """A peer has a connection with this node now, or has none any more."""

    peer: str
    connected: bool
    # From which IP address, or at which.
    host: str = ""


@dataclass(frozen=True, slots=True)
class MembersLeft:
    """These are in the private network no more: expelled, or their membership has ended."""

    peers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leaving:
    """This node is shutting down: tell the others not to ask it."""


Event = (
    Tick
    | Received
    | Rejected
    | ReceiptRefused
    | AdvertHeard
    | CapacityChanged
    | JobSubmitted
    | JobStopped
    | JobUpdated
    | JobRerun
    | JobSought
    | Progressed
    | Finished
    | PeerLost
    | PeerBack
    | SchedulingChanged
    | NeighbourJoined
    | ConnectionChanged
    | MembersLeft
    | Leaving
)


# Actions


@dataclass(frozen=True, slots=True)
class Send:
    """Put a message into the link's outbox to a peer."""

    peer: str
    message: Message


@dataclass(frozen=True, slots=True)
class Advertise:
    """Sign an advert of this capacity and gossip it."""

    capacity: Capacity
    ttl_ms: int
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Begin, or after a restart go on with, an execution that was awarded to this node."""

    reservation: Reservation
    award: Award


@dataclass(frozen=True, slots=True)
class Kill:
    """End an execution here: its program is told to stop, and killed after `grace_s`.

    A second one that keeps nothing ends a first that takes too long.
    """

    execution: str
    ending: Ending
    grace_s: float


@dataclass(frozen=True, slots=True)
class SaveJob:
    record: JobRecord


@dataclass(frozen=True, slots=True)
class DropJob:
    """Another's job, of which no copy is to be kept here any more."""

    job: str


@dataclass(frozen=True, slots=True)
class SaveLines:
    """Lines of a job's history, for people; `anew`: in place of those that are here."""

    job: str
    lines: tuple[Line, ...]
    anew: bool = False


@dataclass(frozen=True, slots=True)
class SaveReservation:
    reservation: Reservation


@dataclass(frozen=True, slots=True)
class DropReservation:
    execution: str


Action = Send | Advertise | Start | Kill | SaveJob | DropJob | SaveLines | SaveReservation | DropReservation
