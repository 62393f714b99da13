"""Refuses what no honest node says, by what this node knows; before anything has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from p2pnode.core.job.owned import OwnedJobs
from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.replication.replicas import Replication
from p2pnode.core.wire.codec import BadMessage, Untimely
from p2pnode.core.wire.mandates import Mandate
from p2pnode.core.wire.messages import Adopt, Award, Command, Message, Owned, Replicate
from p2pnode.core.wire.signing import Keys
from p2pnode.core.wire.spec import JobSpec
from p2pnode.core.worker.machine import Worker

from .records import mandate, vetting
from .records.mandate import Authority
from .wire import extensions

# This node's record of a job, or the journal's if it looks after it no more.
FindRecord = Callable[[str, JobRecord | None], JobRecord | None]


@dataclass(frozen=True, slots=True)
class MessageVetting:
    """Looks at messages with what the parts of a core know, and changes none of them."""

    me: str
    keys: Keys
    check_spec: Callable[[JobSpec], str | None]
    # Whether this node looks after others' jobs.
    deputy: bool
    worker: Worker
    jobs: OwnedJobs
    replication: Replication
    find_record: FindRecord

    def vet_untrusted(self, peer: str, message: Message, stored: JobRecord | None) -> None:
        """Raises `BadMessage` for what is refused; `stored` is the journal's record of its job."""
        known = self.find_record(getattr(message, "job", ""), stored)
        match message:
            case Award(execution=execution, mandate=given):
                reservation = self.worker.reservations.get(execution)
                if reservation is not None:
                    authority = mandate.vet(given, reservation.job, self.keys)
                    if message.changed_by is not None:
                        mandate.vet_command(message.changed_by, authority, self.keys)
            case Adopt(job=job, mandate=given) | Owned(job=job, mandate=given):
                self._authority(given, job, known)
            case Replicate(job=job, mandate=given):
                self._vet_replicate(peer, message, self._authority(given, job, known), known)
            case Command() if known is not None:
                mandate.vet_command(message.signed, known.authority, self.keys)
        if isinstance(message, Replicate | Command) and message.spec is not None:
            self._vet_file(message.spec, known)

    def _authority(self, given: Mandate, job: str, known: JobRecord | None) -> Authority:
        """Read a mandate; that of this node's own record, signatures and all, was vetted as it came."""
        if known is not None and known.id == job and known.mandate == given:
            return known.authority
        return mandate.vet(given, job, self.keys)

    def _vet_file(self, spec: JobSpec, known: JobRecord | None) -> None:
        # The extensions of its task are for the peers that run it.
        wrong = extensions.not_understood(extensions.musts(spec), "the job") or self.check_spec(spec)
        if wrong is not None:
            raise BadMessage(wrong)
        if known is not None:
            vetting.vet_type(spec, known.spec)

    def _vet_replicate(
        self, peer: str, message: Replicate, authority: Authority, known: JobRecord | None
    ) -> None:
        # A copy that this node holds already is its owner's to end.
        if self.me in authority.members[1:] and known is None:
            if not self.deputy:
                raise Untimely("this node looks after no jobs of others")
            if (full := self.replication.why_no_room(peer)) is not None:
                raise Untimely(full)
        for copied in message.executions:
            job = self.jobs.of_execution(copied.id)
            if job is not None and job.record.id != message.job:
                raise BadMessage(f"{copied.id} is of another job that this node looks after")
        vetting.vet_copies(message, known, self.keys)
        for one in message.commands:
            mandate.vet_command(one, authority, self.keys)
        # A member that missed a change tells the file of before it, by the charter of after.
        was_vetted = known is not None and any(one.spec == message.spec for one in known.versions.values())
        if message.spec is not None and not was_vetted:
            mandate.vet_spec(message.spec, authority, message.commands)
