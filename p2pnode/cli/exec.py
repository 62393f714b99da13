"""`job exec`: a program begun in a running execution, with this terminal's or pipe's input and output."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack

import click

from p2pnode.api.shapes import Code, Json
from p2pnode.cli import options, terminal
from p2pnode.cli.output import ProgramOutput
from p2pnode.cli.requester import running
from p2pnode.cli.standard import STDIN
from p2pnode.cli.status import CommandError, Status
from p2pnode.client.errors import ClientError, Refused
from p2pnode.client.exec import PIECE_SIZE_BYTES_MAX, EnteredProgram

SHELL = "/bin/sh"


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("-i", "--interactive", is_flag=True, help="Give it this command's stdin.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal; with -i this one.")
@click.option("-e", "--execution", metavar="ID", help="In this execution, where several run.")
@options.job_id
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def exec(interactive: bool, tty: bool, execution: str | None, job_id: str, command: tuple[str, ...]) -> int:
    """Run a program in a running execution of a job.

    COMMAND is run as it is, by no shell; options come before JOB. For a shell: -it JOB, as COMMAND is
    /bin/sh with -t. The peer's operator has to allow it (serve --allow-exec), except on this node for its
    own jobs.

    Its stdout and stderr go to ours: to a file or pipe as it wrote them, to a terminal with control
    characters spelt out (\\x1b); with -t as they are. The exit status is the program's; where p2pnode fails
    it is one of p2pnode's, which a program may give as well, and the reason is on stderr.
    """
    words = _words(command, tty)
    if interactive and tty and not sys.stdin.isatty():
        raise click.UsageError("with -t, -i takes a terminal, and stdin is none: leave out -t")
    client = running()
    columns, rows = terminal.size()
    shown: Json | None = {"columns": columns, "rows": rows, "type": terminal.kind()} if tty else None
    job = client.job(job_id)["id"]
    try:
        entered = client.exec(job, words, execution, shown, interactive)
    except Refused as error:
        if error.code is not Code.AMBIGUOUS:
            raise
        raise CommandError(Status.USAGE, error.message, "give the execution with -e") from error
    with entered as program, ExitStack() as stack:
        if interactive and tty:
            stack.enter_context(terminal.raw())
        _attend(program, reads_stdin=interactive, has_terminal=tty)
    if program.exit_code is None:
        raise CommandError(Status.FAILED, program.reason or "the program was ended")
    return program.exit_code


def _words(command: tuple[str, ...], tty: bool) -> tuple[str, ...]:
    """The program and its arguments."""
    words = command[1:] if command[:1] == ("--",) else command
    if words and words[0].startswith("-") and words == command:
        raise click.UsageError(f"options come before JOB, and {words[0]} does not: exec {words[0]} JOB ...")
    if not words and not tty:
        raise click.UsageError(f"COMMAND is missing; with -t it is {SHELL}")
    return words or (SHELL,)


def _attend(program: EnteredProgram, *, reads_stdin: bool, has_terminal: bool) -> None:
    """Pass on what the program writes and gets, to its end."""
    failures: list[ClientError] = []
    with ExitStack() as stack:
        if has_terminal:
            # May be put to by a signal handler.
            changes: queue.SimpleQueue[None] = queue.SimpleQueue()
            stack.enter_context(terminal.resized(lambda: changes.put(None)))
            _beside(program, lambda: _tell_sizes(program, changes), failures)
        if reads_stdin:
            _beside(program, lambda: _send_stdin(program), failures)
        targets = {name: ProgramOutput(name, raw=has_terminal) for name in ("stdout", "stderr")}
        try:
            for stream, data in program:
                targets[stream].write(data)
        except ClientError as error:
            # A session that was ended from here has that reason.
            raise (failures or [error])[0] from None


def _beside(program: EnteredProgram, work: Callable[[], None], failures: list[ClientError]) -> None:
    """Do what the program needs in a thread; where that fails the session ends."""

    def run() -> None:
        try:
            work()
        except ClientError as error:
            failures.append(error)
            program.close()

    # Waits for a key that nobody may press: it is not waited for.
    threading.Thread(target=run, daemon=True).start()


def _send_stdin(program: EnteredProgram) -> None:
    try:
        while data := os.read(STDIN, PIECE_SIZE_BYTES_MAX):
            program.send(data)
    except OSError as error:
        raise ClientError(f"stdin cannot be read: {error.strerror}") from error
    program.end_input()


def _tell_sizes(program: EnteredProgram, changes: queue.SimpleQueue[None]) -> None:
    while True:
        changes.get()
        program.resize(*terminal.size())
