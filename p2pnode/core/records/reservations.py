"""The record that a compute peer keeps of each thing that it has promised or runs for others.

    (nothing) --ask--> bid --award--> preparing --> running --> publishing --finished--> ended
               |        |                             (killed: ending) ----^             |
               |        +-- expired, released --> (nothing)             after a while --> (nothing)
               +-- no room --> waiting --room--> bid

A reservation holds its resources from the bid until its program is dead and its receipt sent. What
has ended is remembered for a while: its owner may have died before it told anybody.
"""

from __future__ import annotations

import enum

from p2pnode.core.wire.codec import Record, State
from p2pnode.core.wire.mandates import Mandate
from p2pnode.core.wire.messages import Award, Ended, Requirements
from p2pnode.core.wire.states import Fault, Stage


class ReservationState(enum.StrEnum):
    WAITING = "waiting"
    BID = "bid"
    # The stages, as its owner is told of them.
    PREPARING = Stage.PREPARING.value
    RUNNING = Stage.RUNNING.value
    PUBLISHING = Stage.PUBLISHING.value
    # The execution was told to end; its end, and what it leaves, are awaited.
    ENDING = "ending"
    # Its end was sent to its owner; it holds nothing.
    ENDED = "ended"


# In these an execution is under way, and `Stage(state)` is what its owner is told.
STAGES = frozenset(map(ReservationState, Stage))


class Ending(Record, frozen=True):
    """Why an execution is being ended, and what becomes of its output so far."""

    reason: str
    fault: Fault
    # Kept, the output goes into this node's store; without, all is over at once.
    keep: bool
    # Published, it also goes where the job wants its results.
    publish: bool


class Reservation(State, kw_only=True):
    execution: str
    # The requester that asked, and to which everything about it goes.
    owner: str
    # The members that may look after it, from the award on.
    mandate: Mandate | None = None
    job: str
    # The job's own requester and namespace, from the award on; "": not known yet.
    requester: str = ""
    namespace: str = ""
    round: int
    spec_hash: str
    priority: int
    requirements: Requirements
    # The sizes of what its cache keys name, by its owner's word.
    sizes: tuple[int, ...] = ()
    state: ReservationState = ReservationState.BID
    award: Award | None = None
    # When the bid expires, or the present stage has taken too long; None: it may take any time.
    deadline: float | None = None
    sequence: int = 0
    # The members that were told, since its owner fell silent, that this runs here.
    announced_to: tuple[str, ...] = ()
    # Since when its owner has been silent; None: it is not.
    orphaned: float | None = None
    # None: nobody has told it to end.
    ending: Ending | None = None
    ended: Ended | None = None
    # Its program has begun, so its image and inputs were here.
    ran: bool = False
    created: float
