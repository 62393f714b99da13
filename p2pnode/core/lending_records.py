"""What a compute peer keeps of each thing that it has promised or runs for others.

    (nothing) --ask--> Offered --award--> Preparing --> Running --> Publishing --finished--> (nothing)
                          |                                 (killed: Ending) ----^
                          +-- expired, released --> (nothing)

A loan holds its resources from the bid until its program is dead and its receipt sent.
"""

from __future__ import annotations

import enum

from .messages import Award, Fault, Requirements
from .wire import State


class LoanState(enum.StrEnum):
    OFFERED = "Offered"
    PREPARING = "Preparing"
    RUNNING = "Running"
    PUBLISHING = "Publishing"
    # It was told to end, and its end is awaited.
    ENDING = "Ending"


class Loan(State, kw_only=True):
    execution: str
    # The requester that asked, and to which everything about it goes.
    owner: str
    job: str
    round: int
    spec_hash: str
    priority: int
    requirements: Requirements
    state: LoanState = LoanState.OFFERED
    award: Award | None = None
    # When the bid expires, or the present stage has taken too long; None: it may take any time.
    deadline: float | None = None
    sequence: int = 0
    # Why it is being ended, whose fault that is, and whether its output so far is wanted.
    end_reason: str = ""
    end_fault: Fault | None = None
    end_publish: bool = False
    created: float
