"""The outcome of a message: by what is in the core before and after it, and by what the core sends."""

from __future__ import annotations

from p2pnode.core.records.events import DropJob, Received, SaveJob, Tick
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.messages import (
    Ask,
    Award,
    Cancel,
    Ended,
    Message,
    Receipt,
    Refusal,
    Release,
    Replicate,
)

from .core_support import sent
from .who_support import JOB, NOW, OF_OTHER_JOB, Scene

# Orders that the receiver gives for a third peer, and so what the sender has got done.
_ORDERS = (Ask, Award, Cancel, Release)


def outcome(scene: Scene, sender: str, message: Message) -> str:
    """Give the message to the scene's core; the letter of what came of it."""
    core = scene.core
    # All that was to be done without the message is done.
    core.handle(Tick(), NOW)
    decisive, hints = _decisive(scene), _hints(scene)
    held_nothing = scene.job is None and scene.copy is None
    receipt = codec.decode(message.receipt.body, Receipt) if isinstance(message, Ended) else None
    try:
        actions = core.handle(Received(sender, message, receipt, scene.stored), NOW)
    except BadMessage:
        assert (_decisive(scene), _hints(scene)) == (decisive, hints), "refused, and yet taken in"
        return "R"
    sends = sent(actions)
    answers = [told for peer, told in sends if peer == sender]
    if DropJob(JOB) in actions:
        return "L"
    if held_nothing and any(isinstance(one, SaveJob) for one in actions):
        return "C"
    ordered = any(isinstance(told, _ORDERS) for peer, told in sends if peer != sender)
    if ordered or _decisive(scene) != decisive:
        return "O"
    if any(_tells_all(told) for told in answers):
        return "W"
    if _hints(scene) != hints:
        return "K"
    if any(isinstance(told, Refusal) for told in answers):
        return "R"
    if answers:
        return "A"
    return "P" if any(told == message for _, told in sends) else "-"


def _tells_all(told: Message) -> bool:
    """Does it say more of the job than how it stands, and who looks after it?"""
    match told:
        case Ended() | Award():
            return True
        case Replicate():
            return bool(told.spec or told.executions or told.history or told.commands or told.reason)
        case _:
            return False


def _decisive(scene: Scene) -> object:
    """All that decides how the jobs and executions here go on, and how they ended."""
    core = scene.core
    goes_on = {id: job.record for id, job in core.jobs.items() if not job.record.ended}
    whose = (core.jobs.of_execution(id) for id in (scene.execution, OF_OTHER_JOB))
    held = scene.job.record if scene.job else scene.copy
    return (
        {id: (_of_record(record), record.authority.members) for id, record in goes_on.items()},
        _of_record(held) if held else None,
        JOB in core.replication.due,
        [job.record.id if job and job.record.id in goes_on else None for job in whose],
        [
            (one.execution, one.owner, one.state, one.ending, one.award, one.ended)
            for one in core.worker.reservations.values()
            # Whoever asks gets a bid, which is for a job of its own.
            if one.created < NOW
        ],
    )


def _of_record(record: JobRecord) -> object:
    executions = [(one.id, one.peer, one.state, one.receipt) for one in record.executions.values()]
    return record.state, record.owner, record.commands, record.version, record.run, executions


def _hints(scene: Scene) -> object:
    """Hints: what is kept of what others say, should it be needed once the owner is silent."""
    held, copy = scene.core.worker.reservations.values(), scene.core.replication.copies.get(JOB)
    return (
        (copy.mandate, dict(copy.claims)) if copy else None,
        [*scene.core.replication.commands.get(JOB, ())],
        [(one.mandate, one.announced_to) for one in held if one.created < NOW],
    )
