"""A member that was away, or knows less of a job than others: when it acts, what it is told, what it asks."""

from __future__ import annotations

import pytest

from p2pnode.core.link.detection_times import STAGGER_S
from p2pnode.core.records import mandate
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.replication import sync
from p2pnode.core.replication.replicas import Replication
from p2pnode.core.wire import codec
from p2pnode.core.wire.mandates import Mandate
from p2pnode.core.wire.messages import Command, Owned, WhoOwns

from .core_support import JOB, a_command, sent, spec
from .fake_keys import FakeKeys
from .replication_support import keeping, lose, of_owner, told

CHANGED = spec(cpu_millis=500)


def changed_charter(record: JobRecord) -> Mandate:
    """The requester's next charter, which names a file that the record does not have."""
    members = record.authority.members
    return mandate.recharter(FakeKeys("owner"), record.mandate, members, 2, codec.digest(CHANGED))


def resumed(me: str) -> Replication:
    replication = Replication(me, set())
    replication.resume(of_owner(), 0)
    return replication


def told_anew(replication: Replication) -> None:
    replication.replicate("owner", told(of_owner(), since_ms=5), None, 5)


def confirmed(replication: Replication) -> None:
    record = replication.copies[JOB]
    replication.owned("owner", Owned(job=JOB, owner="owner", mandate=record.mandate), record, 5)


def chartered(replication: Replication) -> None:
    record = replication.copies[JOB]
    owned = Owned(job=JOB, owner="owner", mandate=changed_charter(record))
    replication.owned("second", owned, record, 5)


@pytest.mark.parametrize(
    ("begin", "then", "waits_s"),
    [
        (keeping, None, 0.0),
        (resumed, None, 2 * STAGGER_S),
        (resumed, told_anew, 0.0),
        (resumed, confirmed, 0.0),
        (keeping, chartered, 2 * STAGGER_S),
        (resumed, chartered, 2 * STAGGER_S),
    ],
    ids=[
        "one that was there takes over at once",
        "one that was away lets the other begin",
        "one that was away and was told all since takes over at once",
        "one that was away and missed nothing takes over at once",
        "one that knows of a file that it has not lets the other begin",
        "one that was away and knows of such a file does",
    ],
)
def test_a_member_that_may_have_missed_something_lets_others_take_over(begin, then, waits_s) -> None:
    replication = begin("first")
    if then is not None:
        then(replication)
    lose(replication, "owner", now=10)
    assert replication.take_over_due == 10 + waits_s


def test_a_charter_counts_as_soon_as_the_file_that_it_names_is_here() -> None:
    replication = keeping("first")
    chartered(replication)
    before = replication.copies[JOB].mandate
    assert before == of_owner().mandate
    after = changed_charter(replication.copies[JOB])
    record = codec.replace(of_owner(), mandate=after, spec=CHANGED, version=2)
    record.versions = {2: codec.replace(record.versions[1], spec=CHANGED, spec_hash=codec.digest(CHANGED))}
    replication.replicate("owner", told(record, since_ms=9), None, 9)
    assert replication.copies[JOB].mandate == after
    later = mandate.extended(FakeKeys("owner"), after, "owner", ["third"])
    replication.owned("owner", Owned(job=JOB, owner="owner", mandate=later), replication.copies[JOB], 10)
    assert replication.copies[JOB].mandate == later


@pytest.mark.parametrize("missed", [True, False])
def test_an_owner_that_was_away_is_told_what_controllers_wanted_meanwhile(missed: bool) -> None:
    replication = keeping("second")
    done = a_command("update", wanted=CHANGED).signed, a_command("rerun").signed
    record = of_owner()
    record.version, record.spec, record.spec_hash = 2, CHANGED, codec.digest(CHANGED)
    record.versions[2] = codec.replace(record.versions[1], spec=CHANGED, spec_hash=record.spec_hash)
    record.commands = done
    replication.replicate("owner", told(record, since_ms=5), None, 5)
    lose(replication, "owner", now=10)
    word = told(of_owner(), "first", 12)
    actions = replication.replicate("first", word if missed else codec.replace(word, commands=done), None, 12)
    brought = [(peer, one.signed, one.spec) for peer, one in sent(actions, Command)]
    assert brought == ([("first", done[0], CHANGED), ("first", done[1], None)] if missed else [])


def test_a_member_that_is_told_the_end_of_what_it_never_had_asks_for_the_whole() -> None:
    replication = Replication("first", set())
    addition = sync.header(of_owner(), 6)
    actions = replication.replicate("owner", addition, None, 6)
    assert [(peer, one.whole) for peer, one in sent(actions, WhoOwns)] == [("owner", True)]
    assert not replication.copies
