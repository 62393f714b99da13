"""Controllers of jobs that go on, as the operators of their requester's private network come and go."""

from __future__ import annotations

import pytest

from p2pnode.core.controlling import GATHER_S, MEMBERS_MAX, Controlling
from p2pnode.core.job.machine import HOLD_S
from p2pnode.core.node import Core
from p2pnode.core.records import mandate, membership
from p2pnode.core.records.events import (
    Action,
    AdvertHeard,
    JobRerun,
    JobStopped,
    JobSubmitted,
    MembersLeft,
    Received,
    SaveJob,
    Tick,
)
from p2pnode.core.values.trust import ANYBODY, Trust
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.fields import CONTROLLERS_MAX
from p2pnode.core.wire.membership import InvitationBody, Role
from p2pnode.core.wire.messages import Adopt, Advert, Replicate
from p2pnode.core.wire.spec import Timeouts
from p2pnode.core.wire.states import JobState

from .core_support import JOB, NONCE, a_command, advert, sent, signed, spec
from .fake_keys import FakeKeys

OPERATOR, INVITED = FakeKeys("operator"), FakeKeys("invited")
WAITS = spec(timeouts=Timeouts(queue_s=3600), deputies=1)


def shown(peer: str, role: Role, number: int = 1, *, leaving: bool = False) -> Advert:
    """The advert of a member with this role."""
    body = InvitationBody(
        network="acme",
        operator="operator",
        number=1,
        role=role,
        key="invited",
        expires_ms=10**12,
        member_for_ms=None,
    )
    entered = membership.enter(INVITED, membership.invite(OPERATOR, body), peer, 1)
    plain = advert(peer, number=number, leaving=leaving)
    return codec.replace(plain, extensions=membership.in_advert(entered))


def core(trust: Trust = ANYBODY) -> Core:
    return Core("me", lambda spec: None, FakeKeys("me"), trust=trust)


def hear(node: Core, peer: str, role: Role, now: float, number: int = 1, *, leaving: bool = False) -> None:
    one = shown(peer, role, number, leaving=leaving)
    node.handle(AdvertHeard(signed(one), one, 90_000, peer), now)


def with_job(trust: Trust = ANYBODY) -> Core:
    """A core whose job waits, with a deputy."""
    node = core(trust)
    hear(node, "a", Role.MEMBER, 0)
    node.handle(JobSubmitted(JOB, WAITS, NONCE), 1)
    tick(node, GATHER_S)
    return node


def controllers(node: Core) -> tuple[str, ...]:
    return node.jobs[JOB].record.authority.charter.controllers


def serial(node: Core) -> int:
    return node.jobs[JOB].record.authority.charter.serial


def tick(node: Core, now: float) -> list[Action]:
    return node.handle(Tick(), now)


MANY = tuple(f"op{number:02}" for number in range(CONTROLLERS_MAX))


@pytest.mark.parametrize(
    ("before", "configured", "operates", "after"),
    [
        ((), (), {}, ()),
        (("old",), (), {}, ("old",)),
        (("old",), (), {"new": True}, ("old", "new")),
        (("old",), (), {"old": True, "plain": False}, ("old",)),
        (("old", "other"), (), {"old": False}, ("other",)),
        (("old",), ("old",), {"old": False}, ("old",)),
        (("old",), (), {"old": False, "b": True, "a": True}, ("a", "b")),
        (MANY, (), {"new": True}, MANY),
        (MANY, (), {"new": True, MANY[0]: False}, (*MANY[1:], "new")),
    ],
)
def test_operators_that_come_are_named_and_those_that_are_it_no_more_left_out(
    before: tuple[str, ...], configured: tuple[str, ...], operates: dict[str, bool], after: tuple[str, ...]
) -> None:
    assert mandate.controllers_after(before, Trust(operators=configured), operates) == after


def test_an_operator_that_comes_later_commands_a_job_of_before_and_one_expelled_does_no_more() -> None:
    node = with_job()
    assert controllers(node) == ()
    command = Received("late", a_command("stop", by="late"))
    with pytest.raises(BadMessage, match="may not command"):
        node.handle(command, 2)
    before = serial(node)
    hear(node, "late", Role.OPERATOR, 3)
    hear(node, "later", Role.OPERATOR, 4)
    tick(node, 3 + GATHER_S - 0.1)
    assert controllers(node) == ()
    actions = tick(node, 3 + GATHER_S)
    assert controllers(node) == ("late", "later") and serial(node) == before + 1
    told = {peer for peer, one in sent(actions, Replicate) if mandate.read(one.mandate).may_command("late")}
    assert told == set(node.jobs[JOB].record.deputies) and told
    assert any(isinstance(one, SaveJob) for one in actions)
    # The same again is no change.
    hear(node, "late", Role.OPERATOR, 10, number=2)
    node.handle(JobStopped("j-" + "0" * 32, ""), 11)
    tick(node, 20)
    assert serial(node) == before + 1

    node.handle(MembersLeft(("late", "nobody")), 30)
    tick(node, 30 + GATHER_S)
    assert controllers(node) == ("later",) and serial(node) == before + 2
    with pytest.raises(BadMessage, match="may not command"):
        node.handle(command, 40)
    node.handle(Received("later", a_command("stop", by="later")), 41)
    assert node.jobs.get(JOB) is None or node.jobs[JOB].record.state is JobState.STOPPED


def test_an_operator_that_comes_back_as_a_member_controls_no_more_and_one_that_is_only_away_does() -> None:
    node = core()
    hear(node, "ops", Role.OPERATOR, 0)
    node.handle(JobSubmitted(JOB, WAITS, NONCE), 1)
    assert controllers(node) == ("ops",)
    hear(node, "ops", Role.OPERATOR, 2, number=2, leaving=True)
    # Its advert has expired, too.
    tick(node, 500)
    assert controllers(node) == ("ops",)
    hear(node, "ops", Role.MEMBER, 501, number=3)
    tick(node, 510)
    assert controllers(node) == ()


def test_whom_the_settings_name_stays_a_controller() -> None:
    node = with_job(Trust(operators=("friend",)))
    node.handle(MembersLeft(("friend",)), 2)
    tick(node, 10)
    assert controllers(node) == ("friend",)


def test_a_requester_that_was_away_first_asks_whose_the_job_is_and_then_names_its_new_operators() -> None:
    node = with_job()
    record = codec.decode(codec.encode(node.jobs[JOB].record), type(node.jobs[JOB].record))
    again = core()
    again.resume([record], [], 100)
    assert record.deputies
    hear(again, "late", Role.OPERATOR, 100)
    tick(again, 100 + GATHER_S)
    assert controllers(again) == ()
    tick(again, 100 + HOLD_S + GATHER_S)
    assert controllers(again) == ("late",)


def test_a_deputy_that_acts_signs_no_charter_for_operators() -> None:
    node = with_job()
    record = node.jobs[JOB].record
    deputy = Core("a", lambda spec: None, FakeKeys("a"))
    record.owner = "a"
    deputy.resume([record], [], 100)
    hear(deputy, "late", Role.OPERATOR, 101)
    tick(deputy, 200)
    assert deputy.jobs[JOB].record.authority.charter.controllers == ()


def test_who_runs_something_is_shown_the_new_charter() -> None:
    node = with_job()
    hear(node, "late", Role.OPERATOR, 3)
    job = node.jobs[JOB]
    one = next(iter(job.record.executions.values()))
    one.move(type(one.state).BID, 4)
    one.move(type(one.state).AWARDED, 4)
    one.replica = 0
    (adopt,) = [one for peer, one in sent(tick(node, 3 + GATHER_S), Adopt)]
    assert mandate.read(adopt.mandate).may_command("late")


def test_a_job_that_goes_on_again_gets_the_operators_of_now() -> None:
    node = with_job()
    record = node.jobs[JOB].record
    node.handle(JobStopped(JOB, "enough"), 2)
    hear(node, "late", Role.OPERATOR, 3)
    tick(node, 10)
    assert record.ended and record.authority.charter.controllers == ()
    node.handle(JobRerun(JOB, "", record), 20)
    tick(node, 20 + GATHER_S)
    assert controllers(node) == ("late",)


def test_a_network_of_many_members_is_not_remembered_for_ever() -> None:
    controlling = Controlling("me", FakeKeys("me"), ANYBODY)
    controlling.left([f"peer{number}" for number in range(MEMBERS_MAX + 5)], 0)
    assert len(controlling._operates) == MEMBERS_MAX and controlling.due == GATHER_S
