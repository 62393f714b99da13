"""The errors of a client; each message is a sentence that says what to do.

    ClientError
      NodeUnreachable    no node answers
      Refused            the node says no; `code` is the kind of the refusal, for programs
      JobFailed          the job has ended without what was asked for; `outcome` and `reason` say why
      NotVerified        a receipt does not hold, or a block is not the one that was asked for
      ResultTooLarge     a result is larger than the caller allows
      NoSuchFile         a result has no such file
      CannotSave         the place of a result is taken
      WaitTimeout        the time that the caller gave is over; a TimeoutError as well
      Interrupted        another thread or task has given the call up

Disks fail with `OSError`, and wrong arguments are `ValueError`.
"""

from __future__ import annotations

from p2pnode.api.shapes import Code, ServiceError


class ClientError(Exception):
    """A call that a client could not do."""


class NodeUnreachable(ClientError):
    """No node answers where one should be; the message says where and what to do."""


class Refused(ClientError, ServiceError):
    """The node refuses, or a job file is bad: `code` is a `Code`, `message` the sentence."""


class JobFailed(ClientError):
    """A job has ended without the result that was asked for; `job` is its id."""

    def __init__(self, message: str, job: str, outcome: str | None, reason: str) -> None:
        super().__init__(message)
        self.job = job
        self.outcome = outcome
        self.reason = reason


class NotVerified(ClientError):
    """A result counts by its peer's signed receipt and by its blocks' hashes, and one of them is wrong."""


class ResultTooLarge(ClientError):
    """A result is larger than is allowed; what was written of it is gone."""


class NoSuchFile(ClientError):
    """A path leads to no file of a result; the message names what is there instead."""


class CannotSave(ClientError):
    """Something is there already where a result is to be saved."""


class WaitTimeout(ClientError, TimeoutError):
    """The job goes on, and the time to wait for it is over."""


class Interrupted(ClientError):
    """The call was given up by another thread or task while it went on."""


def bad_job(message: str) -> Refused:
    """The refusal of a job file that never leaves this machine."""
    return Refused(Code.BAD_JOB, message)
