"""Jobs of others that users look at here: who is asked, whose word is taken, and what comes to an end."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from p2pnode.core.node import Core
from p2pnode.core.records.events import (
    Action,
    AdvertHeard,
    DropJob,
    JobSought,
    JobStopped,
    PeerLost,
    Received,
    SaveJob,
    SaveLines,
    Send,
    Tick,
)
from p2pnode.core.records.lifecycle import JobRecord, JobState, Outcome
from p2pnode.core.replication import sync
from p2pnode.core.replication.readings import (
    ASK_AGAIN_S,
    ASK_GAP_S,
    PEERS_ASKED_MAX,
    READING_S,
    RENEW_S,
)
from p2pnode.core.values.trust import Trust
from p2pnode.core.wire import codec, protocols
from p2pnode.core.wire.messages import Command, Message, Owned, Replicate, WhoOwns

from . import core_support as make
from .core_support import sent
from .fake_keys import FakeKeys
from .who_support import JOB, MEMBERS, NEWEST, STATES, a_record

SEEKS = JobSought(JOB)
ALL = JobSought(JOB, wide=True)
OTHERS = ("worker", "past", "stranger")


@dataclass
class Node:
    """A node's core with the journal that the shell would keep for it."""

    core: Core
    journal: JobRecord | None = None
    asked: list[str] = field(default_factory=list)

    def handle(self, actions: list[Action]) -> list[tuple[str, Message]]:
        for action in actions:
            match action:
                case SaveJob(record):
                    self.journal = codec.replace(record)
                case DropJob():
                    self.journal = None
                case _:
                    pass
        sends = sent(actions)
        self.asked = [peer for peer, told in sends if isinstance(told, WhoOwns)]
        return sends

    def seek(self, event: JobSought = SEEKS, now: float = 0) -> list[str]:
        self.handle(self.core.handle(with_record(event, self.journal), now))
        return self.asked

    def hear(self, peer: str, message: Message, now: float = 0) -> list[tuple[str, Message]]:
        return self.handle(self.core.handle(Received(peer, message, record=self.journal), now))

    def tick(self, now: float) -> list[tuple[str, Message]]:
        return self.handle(self.core.handle(Tick(), now))


def with_record(event: JobSought, record: JobRecord | None) -> JobSought:
    return JobSought(event.job, record, event.wide)


def node(me: str = "controller", operators: tuple[str, ...] = ("rank0",)) -> Node:
    core = Core(me, lambda spec: None, FakeKeys(me), trust=Trust(operators))
    for peer in (*MEMBERS, *OTHERS):
        told = make.advert(peer)
        core.handle(AdvertHeard(make.signed(told), told, 90_000, peer), 0)
    return Node(core)


def whole(record: JobRecord | None = None) -> Replicate:
    (told,) = sync.replicates(record or a_record(), (), None, 0)
    return told


def over() -> JobRecord:
    record = a_record()
    record.executions = {}
    record.state, record.outcome = JobState.STOPPED, Outcome.STOPPED
    return record


# Questions


def test_its_own_operators_nodes_are_asked_first_and_then_others() -> None:
    asks = node()
    assert asks.seek() == ["rank0"]
    assert set(asks.seek(ALL)) == {*MEMBERS, *OTHERS} - {"rank0"}
    # A person who asks again has it asked again.
    assert asks.seek(now=5) == ["rank0"]


def test_no_more_peers_are_asked_than_a_workgroup_has_and_first_those_that_look_after_jobs() -> None:
    asks = node(operators=())
    for number in range(2 * PEERS_ASKED_MAX):
        told = codec.replace(make.advert(f"p{number}"), protocols=protocols.spoken(deputy=False))
        asks.core.handle(AdvertHeard(make.signed(told), told, 90_000, f"p{number}"), 0)
    assert asks.seek() == []
    asked = asks.seek(ALL)
    assert len(asked) == PEERS_ASKED_MAX and {*MEMBERS, *OTHERS} <= set(asked)


@pytest.mark.parametrize("state", ["owner", "standby", "over"])
def test_a_job_that_a_node_holds_is_asked_of_nobody(state: str) -> None:
    scene = STATES[state]()
    stored = scene.stored
    assert sent(scene.core.handle(JobSought(JOB, stored, wide=True), 2)) == []


# Answers


@pytest.mark.parametrize(
    ("me", "asks", "sender", "taken"),
    [
        ("controller", True, "rank0", True),
        ("controller", True, "rank2", True),
        ("controller", True, "past", False),
        ("controller", True, "worker", False),
        ("controller", True, "stranger", False),
        ("controller", False, "rank0", False),
        ("stranger", True, "rank0", False),
        ("stranger", False, "rank0", False),
        ("worker", True, "rank0", False),
    ],
)
def test_a_record_is_taken_of_a_member_by_a_controller_that_has_asked(
    me: str, asks: bool, sender: str, taken: bool
) -> None:
    here = node(me)
    if asks:
        here.seek()
    assert here.hear(sender, whole()) == []
    assert (here.journal is not None) == taken
    reading = here.core.readings.by_job.get(JOB)
    # A node that is no controller knows at least whose job it is.
    assert (reading.requester if reading else "") == ("rank0" if asks and me != "controller" else "")


def test_what_a_copy_says_gives_way_to_the_owner_and_not_the_other_way_round() -> None:
    here = node()
    here.seek(ALL)
    here.hear("rank2", whole())
    assert here.hear("rank2", Owned(job=JOB, owner="rank0", mandate=NEWEST)) == [
        ("rank0", WhoOwns(job=JOB, owner="rank0", whole=True))
    ]
    assert here.journal is not None and here.journal.owner == "rank0"
    here.hear("rank0", whole(over()))
    here.hear("rank2", whole())
    assert here.journal.state is JobState.STOPPED


def test_an_owner_tells_a_reader_what_changes_until_it_does_not_ask_any_more() -> None:
    owner, here = Node(STATES["owner"]().core), node()
    here.seek(now=2)
    ask = WhoOwns(job=JOB, owner="rank0", whole=True)
    (told,) = [one for peer, one in owner.hear("controller", ask, 2) if peer == "controller"]
    here.hear("rank0", told, 2)
    assert here.core.readings.by_job[JOB].live and here.seek(now=3) == []
    # A user of the owner stops it.
    said = owner.handle(owner.core.handle(JobStopped(JOB, "enough"), 4))
    news = [one for peer, one in said if peer == "controller"]
    assert [one.full for one in news if isinstance(one, Replicate)] == [False]
    for one in news:
        here.hear("rank0", one, 4)
    assert here.journal is not None and (here.journal.state, here.journal.reason) == (
        JobState.STOPPED,
        "enough",
    )


def test_a_reader_asks_the_owner_to_go_on_and_all_members_once_it_is_silent() -> None:
    here = node()
    here.seek()
    here.hear("rank0", whole())
    assert here.core.partners >= set(MEMBERS)
    here.seek(now=RENEW_S - 1)
    assert here.tick(RENEW_S) == [("rank0", WhoOwns(job=JOB, owner="rank0", whole=False))]
    here.core.handle(PeerLost("rank0", "is silent"), RENEW_S)
    here.tick(RENEW_S)
    assert here.asked == [*MEMBERS[1:]]
    here.tick(RENEW_S + ASK_AGAIN_S)
    assert here.asked == [*MEMBERS[1:]]
    # The deputy that acts is believed now.
    here.hear("rank1", whole(), RENEW_S + ASK_AGAIN_S)
    assert here.journal is not None and here.journal.owner == "rank1"


def test_who_looks_many_times_a_second_does_not_ask_as_often() -> None:
    here = node()
    here.seek()
    here.hear("rank0", whole(over()))
    assert here.seek(now=1) == [*MEMBERS]
    assert here.seek(now=1 + ASK_GAP_S / 2) == []
    assert here.seek(now=1 + ASK_GAP_S) == [*MEMBERS]


def test_what_nobody_looks_at_is_forgotten_but_for_the_end_of_a_job() -> None:
    here, ended = node(), node()
    for one, record in ((here, a_record()), (ended, over())):
        one.seek()
        one.hear("rank0", whole(record))
        one.tick(READING_S)
        assert one.core.readings.by_job == {} and one.core.partners == frozenset()
    assert here.journal is None and ended.journal is not None
    # After a restart nobody looks.
    record = a_record()
    assert DropJob(JOB) in node().core.resume([record], [], 0)


def test_a_reader_that_becomes_a_member_keeps_a_copy_as_others_do() -> None:
    here = node()
    here.seek()
    here.hear("rank0", whole())
    mandate = make.a_mandate(
        "rank0",
        "controller",
        job=JOB,
        wanted=a_record().spec,
        serial=3,
        controllers=("controller",),
    )
    here.hear("rank0", codec.replace(whole(), mandate=mandate, acts_since_ms=1, revision=9))
    assert here.core.readings.by_job == {} and JOB in here.core.replication.copies


# Commands


@pytest.mark.parametrize("record", [a_record(), over()], ids=["runs", "over"])
def test_a_readers_command_goes_to_all_members_that_are_heard(record: JobRecord) -> None:
    here = node()
    here.seek()
    here.hear("rank0", whole(record))
    here.core.handle(PeerLost("rank0", "is silent"), 1)
    said = here.handle(here.core.handle(JobStopped(JOB, "enough", here.journal), 1))
    assert [peer for peer, told in said if isinstance(told, Command)] == [*MEMBERS[1:]]


def test_a_history_that_comes_whole_replaces_what_was_here() -> None:
    here = node()
    here.seek()
    actions = here.core.handle(Received("rank0", whole()), 0)
    assert SaveLines(JOB, (), anew=True) in actions
    assert not any(isinstance(one, Send) for one in actions)
