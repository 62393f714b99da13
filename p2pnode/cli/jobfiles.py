"""Job files as commands take them: read, templates filled in, checked; their problems shown."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from p2pnode.cli import standard
from p2pnode.cli.options import GivenFile
from p2pnode.cli.output import Styled, say
from p2pnode.cli.status import CommandError, Status
from p2pnode.client import jobfiles as client_jobfiles
from p2pnode.client.jobfiles import JobFile
from p2pnode.core.jobfile.problems import FileProblem, JobFileError, Severity
from p2pnode.core.jobfile.yamltree import TEXT_SIZE_BYTES_MAX


def read(given: GivenFile) -> JobFile:
    """The job file that a command line names.

    Raises `JobFileError`, and `CommandError` if it cannot be read.
    """
    text, name = _read(given.path)
    return client_jobfiles.read_text(text, name, given.variables)


def read_valid(given: GivenFile) -> JobFile:
    """`read` for a command that goes on with the file: shows its warnings, or ends with its problems."""
    try:
        job = read(given)
    except JobFileError as error:
        show(error.problems)
        raise CommandError(
            Status.USAGE, f"{error.problems[0].file} is no valid job file; nothing was sent"
        ) from error
    show(job.parsed.warnings)
    return job


def show(problems: Iterable[FileProblem]) -> None:
    """A line each, for the person at the terminal."""
    for one in problems:
        colour = "red" if one.severity is Severity.ERROR else "yellow"
        before, word, after = str(one).partition(f"{one.severity.value}:")
        say(before, Styled(word, colour), after)


def _read(path: str) -> tuple[bytes, str]:
    """The job file's bytes, up to one more than may be, and its name in messages."""
    try:
        if path == "-":
            if sys.stdin.isatty():
                say("reading the job file from the terminal; Ctrl-D ends it")
            return standard.read(TEXT_SIZE_BYTES_MAX + 1), "<stdin>"
        return client_jobfiles.read_file(Path(path)), path
    except OSError as error:
        raise CommandError(Status.USAGE, f"{path}: {error.strerror}") from error
