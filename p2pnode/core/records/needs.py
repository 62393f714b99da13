"""The needs of messages: what the core cannot look up, and has to be given along with one."""

from __future__ import annotations

import enum

from p2pnode.core.wire.messages import Ask, Command, Ended, Message, Orphan, Owned, Replicate, WhoOwns


class Need(enum.Enum):
    # The journal's record of the job, where the core holds none.
    RECORD = enum.auto()
    # The journal's record, and the receipt, whose signature holds.
    RECEIPT = enum.auto()
    # A look at the disk: the directories that the job takes as its inputs may be missing here.
    INPUTS = enum.auto()


def need_of(message: Message) -> Need | None:
    """Return the need of a message, if it has any."""
    match message:
        case Replicate() | Owned() | WhoOwns() | Orphan() | Command():
            return Need.RECORD
        case Ended():
            return Need.RECEIPT
        case Ask() if message.requirements.directories:
            return Need.INPUTS
        case _:
            return None
