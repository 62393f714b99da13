"""A peer that lends, in the states that the tests of its machine begin with."""

from __future__ import annotations

from p2pnode.core.placement.standing import Standing
from p2pnode.core.records.events import Finished, Kill, Progressed, Received
from p2pnode.core.records.reservations import ReservationState
from p2pnode.core.wire.messages import Cancel, Refusal, Release
from p2pnode.core.wire.states import Stage
from p2pnode.core.worker.machine import Worker

from .core_support import ROOM, ask, award, capacity, receipt, sent, signed, spec

ASK = ask()
ID = ASK.execution
RELEASE = Release(execution=ID, round=1)
CANCEL = Cancel(execution=ID, round=1, reason="enough")


def new(wrong: str | None = None, proven: tuple[str, ...] = ("me",)) -> Worker:
    worker = Worker(lambda spec: wrong, capacity(), standing=Standing("node"))
    for peer in proven:
        worker.standing.ran(peer)
    return worker


def offered() -> Worker:
    worker = new()
    worker.handle(Received("me", ASK), 0)
    return worker


def running(**changes: object) -> Worker:
    worker, wanted = new(), spec(**changes)  # type: ignore[arg-type]
    worker.handle(Received("me", ask(wanted)), 0)
    worker.handle(Received("me", award(ASK, wanted)), 0)
    worker.handle(Progressed(ID, Stage.RUNNING, ""), 10)
    assert worker.reservations[ID].state is ReservationState.RUNNING
    return worker


def finished() -> Finished:
    found = receipt(ID)
    return Finished(ID, signed(found))


def held(worker: Worker) -> int:
    assert worker.available is not None
    return ROOM.cpu_millis - worker.available.free.cpu_millis


def refusal_of(worker: Worker, asked=ASK, peer="me") -> Refusal:
    ((_, message),) = sent(worker.handle(Received(peer, asked), 0), Refusal)
    assert isinstance(message, Refusal)
    return message


def full_lending(*proven: str) -> Worker:
    worker = new(proven=("me", *proven))
    for slot in range(4):
        worker.handle(Received("me", ask(slot=slot)), 0)
        worker.handle(Received("me", award(ask(slot=slot))), 0)
    return worker


def kill(actions: list) -> Kill:
    (found,) = (action for action in actions if isinstance(action, Kill))
    return found
