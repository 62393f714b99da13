"""Undoes in the core what an event did that failed, sets aside what is to blame, and takes it back.

The journal is as it was before the event, since nothing of it was committed; so what the event
touched is taken from there again. What is set aside takes part in nothing until a person has it
tried again or dropped: messages about it are left without an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from p2pnode.core.records.events import (
    Action,
    Event,
    JobRerun,
    JobStopped,
    JobSubmitted,
    JobUpdated,
    Received,
    SaveReservation,
)
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.records.reservations import Reservation, ReservationState
from p2pnode.core.wire.compartments import Broken, Compartment
from p2pnode.core.wire.states import Fault

from .node import Core
from .records import ending
from .worker import executions
from .worker.reservations import Reservations

# Reads a job of the journal; None: there is none, or it is set aside.
ReadJob = Callable[[str], JobRecord | None]


def restore(core: Core, read_job: ReadJob, reservations: Iterable[Reservation], now: float) -> None:
    """Take from the journal again what the last event touched."""
    for id in core.jobs.touched:
        _forget(core, id)
        record = read_job(id)
        if record is None or record.ended:
            continue
        if record.owner == core.me:
            core.jobs.look_at(record, now)
        elif not core.readings.is_read(record):
            core.replication.hold(record, now)
            if record.owner in core.lost:
                core.replication.peer_lost(record.owner, now, forgot=False)
    core.worker.reservations = Reservations(reservations)
    core.jobs.touched = set()


def is_cause(core: Core, event: Event, broken: Broken) -> bool:
    """Is the event to blame for what broke? Else it is what broke, by whatever it came to be so."""
    match event:
        case Received(message=message):
            execution = getattr(message, "execution", "")
            job = core.jobs.of_execution(execution)
            named = {getattr(message, "job", ""), execution, job.record.id if job else ""}
            return broken.subject in named
        case JobSubmitted(job=id) | JobStopped(job=id) | JobUpdated(job=id) | JobRerun(job=id):
            return broken.subject == id
        case _:
            return False


def set_aside(core: Core, kind: Compartment, subject: str, record: JobRecord | None) -> list[Action]:
    """Let a job or an execution take part in nothing; `record` is the journal's of the job.

    The job's executions are left alone: whoever has the job tried again finds their results.
    """
    if kind is Compartment.JOB:
        _forget(core, subject)
        core.aside[subject] = frozenset(record.executions) if record else frozenset()
        return []
    reservation = core.worker.reservations.get(subject)
    core.worker.reservations.drop(subject)
    if reservation is None or reservation.award is None or reservation.state is ReservationState.ENDING:
        return []
    ending.begin(reservation, "set aside on its node", Fault.PEER, keep=False, publish=False)
    kill = ending.kill(reservation, 0.0, 0.0)
    return [SaveReservation(reservation), kill]


def take_back_job(core: Core, record: JobRecord, now: float) -> list[Action]:
    """Go on with a job that was set aside."""
    core.aside.pop(record.id, None)
    return core.resume_job(record, now)


def take_back_execution(core: Core, reservation: Reservation, now: float) -> list[Action]:
    """Go on with an execution that was set aside, as after a restart."""
    if reservation.award is None:
        return []
    core.worker.reservations.save(reservation)
    return executions.resume(core.worker, reservation, reservation.award, now)


def _forget(core: Core, id: str) -> None:
    core.jobs.forget(id)
    core.replication.forget(id)
