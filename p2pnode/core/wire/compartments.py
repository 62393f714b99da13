"""Failures kept apart: an exception in the core is told of the one job or execution that raised it.

`compartment` marks the work for one of them. Whoever gave the core the event undoes what it did and
decides what is to blame (`core.recovery`): the event, which is then refused, or what was being
worked on, which is set aside, and the event is given again.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager

from .codec import BadMessage


class Compartment(enum.StrEnum):
    """The kinds of what fails alone."""

    JOB = "job"
    EXECUTION = "execution"
    MESSAGE = "message"
    LINK = "link"
    TASK = "task"


class Broken(Exception):
    """Something failed, with `__cause__`, while `subject` was worked on."""

    def __init__(self, compartment: Compartment, subject: str) -> None:
        super().__init__(f"{compartment} {subject}")
        self.compartment = compartment
        self.subject = subject


@contextmanager
def compartment(kind: Compartment, subject: str) -> Iterator[None]:
    """Tells what is raised in the block, but for a refused message, to be of `subject`."""
    try:
        yield
    except (BadMessage, Broken):
        raise
    except Exception as exc:
        raise Broken(kind, subject) from exc
