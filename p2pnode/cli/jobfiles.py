"""Job files as commands take them: read, templates filled in, checked; their problems shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from p2pnode.cli.options import GivenFile
from p2pnode.cli.output import Styled, say
from p2pnode.cli.status import CommandError, Status
from p2pnode.core import jobfile
from p2pnode.core.jobfile.problems import FileProblem, JobFileError, Severity
from p2pnode.core.jobfile.template.variables import spread
from p2pnode.core.jobfile.yamltree import TEXT_SIZE_BYTES_MAX
from p2pnode.core.wire.spec import JobSpec


@dataclass(frozen=True, slots=True)
class JobFile:
    """A job file that is valid."""

    # The name that its problems give it.
    name: str
    # As a node takes it: without templates.
    text: bytes
    parsed: jobfile.ParsedJob

    @property
    def spec(self) -> JobSpec:
        return self.parsed.spec


def read(given: GivenFile) -> JobFile:
    """The job file that a command line names.

    Raises `JobFileError`, and `CommandError` if it cannot be read.
    """
    text, name = _read(given.path)
    if given.variables is None:
        parsed = jobfile.parse(text, name, literal_braces=True)
    else:
        variables = spread(given.variables, text.decode(errors="replace"))
        parsed = jobfile.parse_template(text, variables, name)
    return JobFile(name, for_a_node(text, parsed.spec), parsed)


def for_a_node(text: bytes, spec: JobSpec) -> bytes:
    """A job file as a node takes it, which knows no templates: the file itself, unless it has braces."""
    if b"{{" not in text:
        return text
    # In JSON every text is quoted, so that braces which are meant are not taken for a template.
    return json.dumps(jobfile.render(spec), ensure_ascii=False).encode()


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
            return sys.stdin.buffer.read(TEXT_SIZE_BYTES_MAX + 1), "<stdin>"
        with Path(path).open("rb") as file:
            return file.read(TEXT_SIZE_BYTES_MAX + 1), path
    except OSError as error:
        raise CommandError(Status.USAGE, f"{path}: {error.strerror}") from error
