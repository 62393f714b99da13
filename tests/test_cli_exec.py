"""`job exec` at a terminal and in pipes, against a fake node: what goes through, and what is left behind."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from p2pnode.api.shapes import Code, ServiceError
from p2pnode.cli.main import main
from p2pnode.core.wire.exec import Terminal
from tests.fake_exec import FLOOD
from tests.fake_node import Served

from .nodes import until
from .test_cli import Output, job_file

TIMEOUT_S = 20.0


@pytest.fixture
def job(served: Served, capfd: Output) -> str:
    assert main(["submit", "--no-wait", job_file("works")]) == 0
    return capfd.readouterr().out.strip()


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "p2pnode", "job", "exec", *words]


def piped(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(*words), input=given, capture_output=True, timeout=TIMEOUT_S, check=False)


class AtTerminal:
    """A command on a terminal of its own, of which the test holds the other side."""

    def __init__(self, ours: int, its: int, words: tuple[str, ...], environ: Mapping[str, str]) -> None:
        self._ours, self.its = ours, its
        self.before = termios.tcgetattr(its)
        self.seen = b""
        self.process = subprocess.Popen(
            command(*words), stdin=its, stdout=its, stderr=its, env={**environ, "TERM": "vt100"}
        )

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def see(self, words: bytes) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while words not in self.seen:
            assert time.monotonic() < deadline, self.seen
            self.seen += os.read(self._ours, 65_536)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def ended(self) -> int:
        return self.process.wait(TIMEOUT_S)

    @property
    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.its)[3] & termios.ECHO

    @property
    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.its) == self.before


@contextmanager
def at_terminal(*words: str, environ: Mapping[str, str] = os.environ) -> Iterator[AtTerminal]:
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
    one = AtTerminal(ours, its, words, environ)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        os.close(ours)
        os.close(its)


def test_streams_and_the_exit_status_are_the_program_s(job: str) -> None:
    done = piped(job, "--", "hello")
    assert (done.stdout, done.stderr, done.returncode) == (b"out \xff\x1b[2J\n", b"err\n", 7)


def test_stdin_goes_to_the_program_with_i_alone(served: Served, job: str) -> None:
    given = bytes(range(256)) * 1024
    done = piped("-i", job, "cat", given=given)
    assert (done.stdout, done.returncode) == (given, 0)
    assert piped(job, "cat", given=b"not wanted").stdout == b""
    assert [one.stdin for one in served.node.exec.begun] == [True, False]


def test_a_large_output_arrives_whole(job: str) -> None:
    done = piped(job, "flood")
    assert done.stdout == FLOOD and done.returncode == 0


def test_words_behind_the_job_are_the_program_s_with_and_without_dashes(served: Served, job: str) -> None:
    for words in (["ls", "-l", "--", "-e"], ["--", "ls", "-l", "--", "-e"]):
        piped("-e", "e-1", job, *words)
        begun = served.node.exec.begun.pop()
        assert (begun.command, begun.execution) == (("ls", "-l", "--", "-e"), "e-1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["JOB"], "COMMAND is missing"),
        (["JOB", "-it"], "options come before JOB"),
        (["-it", "JOB"], "leave out -t"),
    ],
)
def test_wrong_usage_is_told(served: Served, job: str, words: list[str], said: str) -> None:
    done = piped(*(job if one == "JOB" else one for one in words))
    assert done.returncode == 2 and said.encode() in done.stderr
    assert served.node.exec.begun == []


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        (Code.AMBIGUOUS, 2, b"give the execution with -e"),
        (Code.CONFLICT, 5, b"error: because"),
        (Code.FORBIDDEN, 5, b"error: because"),
        (Code.UNAVAILABLE, 6, b"error: because"),
    ],
)
def test_a_refusal_is_a_status_of_p2pnode_s_own(
    served: Served, job: str, code: Code, status: int, said: bytes
) -> None:
    served.node.exec.refusal = ServiceError(code, "because")
    done = piped(job, "hello")
    assert done.returncode == status and said in done.stderr and done.stdout == b""


def test_a_program_that_is_lost_is_told_with_the_reason(job: str) -> None:
    done = piped(job, "lost")
    assert (done.stdout, done.returncode) == (b"the last\n", 5)
    assert b"error: the peer was lost" in done.stderr


def test_ctrl_c_ends_the_program(served: Served, job: str) -> None:
    process = subprocess.Popen(command("-i", job, "cat"), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    until("it has begun", lambda: served.node.exec.begun)
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT_S) == 130
    process.communicate()
    until("the program has ended", lambda: served.node.exec.begun[0].has_ended)


def test_a_reader_that_has_seen_enough_ends_the_program(served: Served, job: str) -> None:
    process = subprocess.Popen(command(job, "flood"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.read(3) == FLOOD[:3]
    process.stdout.close()
    assert process.wait(TIMEOUT_S) == 141
    assert process.stderr.read() == b""
    process.stderr.close()
    until("the program has ended", lambda: served.node.exec.begun[0].has_ended)


def test_without_a_terminal_of_its_own_what_a_program_writes_is_made_visible(job: str) -> None:
    with at_terminal(job, "hello") as shown:
        shown.see(b"err")
        assert shown.ended() == 7
        assert b"out \\xff\\x1b[2J\r\n" in shown.seen


def test_a_shell_has_the_terminal_and_gives_it_back(served: Served, job: str) -> None:
    with at_terminal("-it", job) as shown:
        until("it has begun", lambda: served.node.exec.begun)
        until("keys go through", lambda: shown.is_raw)
        [begun] = served.node.exec.begun
        assert begun.command == ("/bin/sh",)
        assert begun.terminal == Terminal(columns=90, rows=30, type="vt100")
        # Control characters go there and come back as they are; so does Ctrl-C.
        shown.type(b"\x1b[A\x03\x04\r")
        shown.see(b"\x1b[A\x03\x04\r")
        shown.resize(120, 40)
        until("the size is told", lambda: begun.program.sizes == [(120, 40)])
        shown.resize(60, 20)
        until("the size is told", lambda: begun.program.sizes[1:] == [(60, 20)])
        served.do(begun.program.end_input)
        assert shown.ended() == 0
        assert shown.is_as_before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_program_and_leaves_the_terminal_as_it_was(
    served: Served, job: str, number: signal.Signals
) -> None:
    with at_terminal("-it", job, "cat") as shown:
        until("keys go through", lambda: shown.is_raw)
        shown.process.send_signal(number)
        assert shown.ended() == 128 + number
        assert shown.is_as_before
        until("the program has ended", lambda: served.node.exec.begun[0].has_ended)


def test_a_session_that_is_refused_in_the_middle_gives_the_terminal_back(
    served: Served, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P2PNODE_API", served.url)
    monkeypatch.setenv("P2PNODE_TOKEN", (served.node.data_dir / "api.token").read_text())
    with at_terminal("-it", job, "cat") as shown:
        until("keys go through", lambda: shown.is_raw)
        served.end()
        assert shown.ended() == 6
        assert shown.is_as_before
        shown.see(b"ended the stream")
