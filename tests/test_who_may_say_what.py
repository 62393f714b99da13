"""The table of who may say what to whom: every kind of message, of every sender, to a node in every state.

What was obeyed is decided by what the real core did (`who_outcome`). Columns are senders: the
members by rank and a friend whom the last of them has named by itself; then a past member, a controller
that is no member, the worker of the execution, that of another, a stranger. Rows hold for the states
named at their end, `else` for all that the section does not name.

  O obeyed: jobs, executions or orders to others are not as they were    C keeps a copy, having had none
  L leaves: drops its copy, as the requester's newer charter says        K kept, for when the owner is silent
  W answered with the whole: the record, or the receipt                  A answered, with who owns the job, or
  P passed on to the owner                                                 that the sender may forget it
  R refused, with a reason                                               - ignored         . is the sender
"""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from p2pnode.core.link.frames import Frame
from p2pnode.core.records import vetting
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Message

from .who_outcome import outcome
from .who_support import SAYS, SENDERS, STATES

TABLE = """
                      0123f pcwos

ask
                      A---- --.--   bidder
                      ----- --.--   worker orphaned adopted ended
                      AAAAA AAAAA   else
bid
                      .AAAA AAOAA   asking
                      AAAAA AA-AA   owner back acting
                      AAAAA AAAAA   else
refusal
                      .---- --O--   asking
                      ----- -----   else
award
                      ORRRR RR.RR   bidder
                      -RRRR RR.RR   worker orphaned ended
                      RR-RR RR.RR   adopted
                      RRRRR RRRRR   else
release
                      O---- --.--   bidder
                      ----- -----   else
update
                      ----- --O--   owner back acting
                      .---- -----   asking
                      AAAAA AAAAA   else
cancel
                      O---- --.--   bidder worker ended
                      OOOO- --.--   orphaned
                      OOO-- --.--   adopted
                      ----- -----   else
ended
                      ----- --O--   owner back over acting
                      ----- -----   else
adopt
                      AKKKK AA.AA   worker
                      AOOOO AA.AA   orphaned
                      OOKKK AA.AA   adopted
                      WWWWW AA.AA   ended
                      RRRRR RRRRR   else
orphan
                      AAAAA AAAAA   owner asking back over acting
                      KKKKK KKKKK   standby deserted past
                      ----- -----   else
who-owns
                      WWWWA AWAAA   owner asking back over acting
                      AAAAA AWAAA   standby deserted past
                      ----- -----   else
owned, by its sender
                      .WWW- -----   owner asking
                      -OOO- -----   back acting
                      -KKKK -----   standby deserted worker adopted
                      KKKKK --.--   orphaned
                      LKKKK .LLLL   past
                      ----- -----   else
owned, by its receiver
                      .WWW- -----   owner asking
                      -OOO- -----   back acting
                      OK.KK -----   standby deserted
                      -KKKK --.--   worker orphaned
                      -KOKK --.--   adopted
                      LKKKK .LLLL   past
                      ----- -----   else
replicate, the whole
                      .WWWA AAAAA   owner asking over
                      .OOOO AAAAA   back
                      OA.AA AAAAA   standby
                      OO.OO AAAAA   deserted acting
                      LAAAA .AAAA   past
                      -CCCC C----   else
replicate, some more
                      .WWWA AAAAA   owner asking over
                      .OOOO AAAAA   back
                      OA.AA AAAAA   standby
                      OO.OO AAAAA   deserted acting
                      LAAAA .AAAA   past
                      -AAAA A----   else
replicate, with what another job runs
                      .RRRR RRRRR   owner asking back over
                      OA.AA AAAAA   standby
                      OO.OO AAAAA   deserted acting
                      LAAAA .AAAA   past
                      -CCCC C----   else
command, its sender's
                      ORRRR RORRR   owner asking back over acting
                      -RRRR RPRRR   standby past
                      -RRRR RKRRR   deserted
                      ----- -----   else
command, of a controller
                      OOOOO OOOOO   owner asking back over acting
                      -PPPP PPPPP   standby past
                      -KKKK KKKKK   deserted
                      ----- -----   else
"""

# Frames that a link carries beside these messages; each is of the link as a whole, and names no job.
LEFT_OUT = {
    "hello": "says which store its sender has, before any message",
    "data": "is the envelope of each message of the table",
    "ack": "says that messages are on its sender's disk",
    "reject": "answers one message, which its receiver has sent to its sender and to nobody else",
    "beat": "is a sign of life",
}


def _read(table: str) -> dict[tuple[str, str, str], str]:
    """The outcome of each (what is said, state, sender)."""
    cells: dict[tuple[str, str, str], str] = {}
    said, named = "", set[str]()
    for line in table.strip().splitlines()[1:]:
        if line and not line.startswith(" "):
            said, named = line, set()
            continue
        row, _, states = line.strip().partition("   ")
        for state in set(states.split()) if states != "else" else STATES.keys() - named:
            named.add(state)
            letters = row.replace(" ", "")
            cells |= {(said, state, sender): one for sender, one in zip(SENDERS, letters, strict=bool(row))}
    return cells


CELLS = _read(TABLE)
# States in which the requester lives, and is heard by the node and by whom it is concerned with.
HEARD = ("owner", "asking", "over", "standby", "past", "bidder", "worker", "ended")
# States of these in which the node has a record of the job.
HOLDS = ("owner", "asking", "over", "standby", "past")
OTHERS = [sender for sender in SENDERS if sender != "rank0"]
# Words of the requester or of a controller, whoever brings it.
OF_OTHERS = {
    "command, of a controller": {"O"},
    "owned, by its sender": {"L"},
    "owned, by its receiver": {"L"},
}
# Words of a worker about its own execution; and what a controller has its users say.
ITS_OWN = {
    *(("worker", said) for said in ("bid", "refusal", "update", "ended")),
    ("controller", "command, its sender's"),
}


RECEIVERS = {state: begin().core.me for state, begin in STATES.items()}


def _is_itself(said: str, state: str, sender: str) -> bool:
    return RECEIVERS[state] == sender


def _tags(union: object) -> set[str]:
    return {kind.__struct_config__.tag for kind in get_args(union)}


def test_every_kind_of_message_has_its_rows_in_the_table() -> None:
    assert {said.partition(",")[0] for said, _, _ in CELLS} == _tags(Message)
    assert LEFT_OUT.keys() | _tags(Message) == _tags(Frame) | _tags(Message)


def test_the_table_is_the_full_product() -> None:
    assert CELLS.keys() == set(product(SAYS, STATES, SENDERS))
    assert all(_is_itself(*cell) for cell, what in CELLS.items() if what == ".")


@pytest.mark.parametrize(
    ("said", "state", "sender"), [cell for cell in product(SAYS, STATES, SENDERS) if not _is_itself(*cell)]
)
def test_who_may_say_what_to_whom(said: str, state: str, sender: str) -> None:
    scene = STATES[state]()
    message = SAYS[said](sender, scene.core.me, scene)
    assert outcome(scene, sender, message) == CELLS[said, state, sender]


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("said", SAYS)
def test_what_is_said_is_well_formed(said: str, sender: str) -> None:
    scene = STATES["nobody"]()
    message = SAYS[said](sender, "nobody", scene)
    assert vetting.message_untrusted(codec.encode(message), lambda peer: None) == message


@pytest.mark.parametrize("sender", OTHERS)
@pytest.mark.parametrize("state", HEARD)
def test_while_the_requester_is_heard_nobody_else_changes_stops_takes_or_ends_its_job(
    state: str, sender: str
) -> None:
    for said in SAYS:
        effect = {CELLS[said, state, sender]} & {"O", "L"} - OF_OTHERS.get(said, set())
        assert not effect or (sender, said) in ITS_OWN, said


@pytest.mark.parametrize("sender", ["friend", "past", "controller", "worker", "other", "stranger"])
@pytest.mark.parametrize("state", HEARD)
def test_while_the_requester_is_heard_only_its_members_and_controllers_read_its_job(
    state: str, sender: str
) -> None:
    told = [said for said in SAYS if CELLS[said, state, sender] == "W"]
    if sender == "controller" and state in HOLDS:
        assert told == ["who-owns"]
    else:
        # A receipt is its peer's word, for whoever a member calls one.
        assert told == ["adopt"] * ((state, sender) == ("ended", "friend"))
