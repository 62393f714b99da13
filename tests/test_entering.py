"""Rules of who may enter an execution, and how many programs are in them at once."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from p2pnode.core.placement.standing import Standing
from p2pnode.core.records import mandate
from p2pnode.core.records.events import PeerLost, Progressed, Received
from p2pnode.core.records.reservations import Reservation, ReservationState
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.exec import COMMAND_SIZE_BYTES_MAX, ExecBody
from p2pnode.core.wire.signing import COMMAND_DOMAIN, EXEC_DOMAIN
from p2pnode.core.wire.states import Stage
from p2pnode.core.worker import entering
from p2pnode.core.worker.entering import ENTERED_MAX, ENTERED_PER_EXECUTION_MAX, CannotEnter, Places
from p2pnode.core.worker.machine import Worker

from .core_support import JOB, a_mandate, ask, award, capacity, spec
from .fake_keys import FakeKeys

EXECUTION = ask().execution
NOT_HERE = f"this peer has no execution {EXECUTION}"
BODY = ExecBody(
    job=JOB, execution=EXECUTION, peer="node", controller="me", command=("sh",), terminal=None, stdin=True
)


def running() -> Reservation:
    """An execution on `node` of a job of `me`, with the deputy `deputy` and the controller `friend`."""
    worker = Worker(lambda spec: None, capacity(), standing=Standing("node"))
    wanted = spec()
    given = a_mandate("me", "deputy", wanted=wanted, controllers=("friend",))
    worker.handle(Received("me", ask(wanted)), 0)
    worker.handle(Received("me", award(ask(wanted), wanted, mandate=given)), 0)
    worker.handle(Progressed(EXECUTION, Stage.RUNNING, ""), 1)
    return worker.reservations[EXECUTION]


def why_not(reservation: Reservation | None, allow_exec: bool = True, me: str = "node", **body: Any) -> str:
    """The refusal, "" where there is none."""
    try:
        wanted = codec.replace(BODY, **body)
        assert entering.check_may_enter(reservation, wanted, me, allow_exec=allow_exec) is reservation
    except CannotEnter as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize(
    ("controller", "allow_exec", "reason"),
    [
        ("me", True, ""),
        ("friend", True, ""),
        ("me", False, entering.NOT_ALLOWED),
        ("friend", False, entering.NOT_ALLOWED),
        *((other, allows, NOT_HERE) for other in ("deputy", "stranger", "node") for allows in (True, False)),
    ],
)
def test_the_requester_and_its_controllers_enter_where_the_operator_lets_them(
    controller: str, allow_exec: bool, reason: str
) -> None:
    assert why_not(running(), allow_exec, controller=controller) == reason


def test_a_deputy_that_acts_for_the_job_may_not_enter_either() -> None:
    reservation = running()
    reservation.owner = "deputy"
    assert why_not(reservation, controller="deputy") == NOT_HERE


@pytest.mark.parametrize(("controller", "reason"), [("me", ""), ("friend", entering.NOT_ALLOWED)])
def test_a_nodes_own_users_always_enter_their_own_jobs_on_it(controller: str, reason: str) -> None:
    assert why_not(running(), allow_exec=False, me="me", controller=controller) == reason


def test_a_controller_of_anothers_job_needs_the_operators_word_on_its_own_node_too() -> None:
    assert why_not(running(), allow_exec=False, me="friend", controller="friend") == entering.NOT_ALLOWED


def test_what_is_not_here_and_what_is_of_another_job_look_as_what_is_not_allowed() -> None:
    assert why_not(None) == NOT_HERE
    assert why_not(running(), job="j-" + "0" * 32) == NOT_HERE


@pytest.mark.parametrize("state", list(ReservationState))
def test_only_what_is_running_is_entered(state: ReservationState) -> None:
    reservation = running()
    reservation.state = state
    if state is ReservationState.RUNNING:
        assert why_not(reservation) == ""
    else:
        assert f"the execution is {state}" in why_not(reservation)


def test_an_execution_whose_owner_is_silent_is_entered_as_before() -> None:
    reservation = running()
    worker = Worker(lambda spec: None, capacity(), standing=Standing("node"))
    worker.reservations.save(reservation)
    worker.handle(PeerLost("me", "is silent"), 10)
    assert why_not(reservation, controller="friend") == ""


def test_a_request_is_of_the_peer_that_sends_it_for_the_peer_that_reads_it_and_signed_as_one() -> None:
    keys = FakeKeys("me")
    signed = mandate.sign(keys, EXEC_DOMAIN, BODY)
    assert entering.vet_untrusted(signed, "me", "node", keys) == BODY
    for sender, me, wanted in (
        ("friend", "node", signed),
        ("me", "other", signed),
        ("me", "node", mandate.sign(keys, COMMAND_DOMAIN, BODY)),
        ("me", "node", mandate.sign(FakeKeys("friend"), EXEC_DOMAIN, BODY)),
        ("me", "node", mandate.sign(keys, EXEC_DOMAIN, codec.replace(BODY, extensions={"must-x": b""}))),
    ):
        with pytest.raises(BadMessage):
            entering.vet_untrusted(wanted, sender, me, keys)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (("sh", "-c", "x" * (COMMAND_SIZE_BYTES_MAX - 4)), ""),
        (("sh", "-c", "x" * (COMMAND_SIZE_BYTES_MAX - 3)), "by stdin"),
        (("\u00fc" * (COMMAND_SIZE_BYTES_MAX // 2 + 1),), "by stdin"),
        (("",), "names no program"),
        ((), "names no program"),
        (("a", "b\0c"), "NUL"),
    ],
)
def test_a_command_that_nothing_could_run_is_told_from_one_that_something_could(
    command: tuple[str, ...], problem: str
) -> None:
    assert (
        (problem in entering.command_problem(command)) if problem else not entering.command_problem(command)
    )


def test_places_are_few_for_an_execution_and_for_a_node_and_come_back() -> None:
    places = Places()
    with ExitStack() as stack:
        for _ in range(ENTERED_PER_EXECUTION_MAX):
            stack.enter_context(places.place("e-0"))
        with pytest.raises(CannotEnter, match="in this execution"), places.place("e-0"):
            pass
        for number in range(ENTERED_PER_EXECUTION_MAX, ENTERED_MAX):
            stack.enter_context(places.place(f"e-{number}"))
        with pytest.raises(CannotEnter, match="try again later"), places.place("e-99"):
            pass
    with places.place("e-0"), places.place("e-99"):
        pass
