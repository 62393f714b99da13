"""The screen of `top` and the block of a job go from a real terminal again, and leave it as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from p2pnode.cli.main import main
from tests.fake_node import Served
from tests.top_samples import an_event, an_execution

from .test_cli import Output, job_file

WAIT_S_MAX = 30.0
ALTERNATE, ORIGINAL = "\x1b[?1049h", "\x1b[?1049l"
SHOW_CURSOR = "\x1b[?25h"
MODULE = (sys.executable, "-m", "p2pnode")


class Terminal:
    """A window of 100 columns with a program in it."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._ours, self._its = self._open = list(pty.openpty())
        self.resize(100, 24)
        self._before = termios.tcgetattr(self._its)
        self.process = subprocess.Popen(command, stdin=self._its, stdout=self._its, stderr=self._its)
        self.text = ""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, pattern: str) -> str:
        """Read on until it is there; gives all that came since the last time."""
        deadline = time.monotonic() + WAIT_S_MAX
        while not (found := re.search(pattern, self.text, re.DOTALL)):
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"{pattern!r} is not in {self.text!r}"
            if select.select([self._ours], [], [], left_s)[0]:
                self.text += os.read(self._ours, 65536).decode(errors="replace")
        read, self.text = self.text[: found.end()], self.text[found.end() :]
        return read

    def end(self) -> int:
        """The status of the program, whose last words are in `text` then."""
        status = self.process.wait(WAIT_S_MAX)
        while select.select([self._ours], [], [], 0)[0]:
            self.text += os.read(self._ours, 65536).decode(errors="replace")
        return status

    @property
    def is_as_before(self) -> bool:
        return termios.tcgetattr(self._its) == self._before

    def hang_up(self) -> None:
        """Close the window."""
        while self._open:
            os.close(self._open.pop())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()


@contextmanager
def terminal(*command: str) -> Iterator[Terminal]:
    made = Terminal(command)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("end", "status"),
    [("q", 0), (signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)],
)
def test_top_shows_a_job_and_leaves_the_terminal_as_it_was(
    served: Served, end: str | int, status: int
) -> None:
    main(["submit", "--no-wait", job_file("endless")])
    with terminal(*MODULE, "top") as window:
        window.until(re.escape(ALTERNATE) + ".*fake.*1.*Running.*endless.*batch.*q quit")
        assert not window.is_as_before
        if isinstance(end, str):
            window.press(end)
        else:
            window.process.send_signal(end)
        assert window.end() == status
        assert SHOW_CURSOR in window.text and window.text.endswith(ORIGINAL)
        assert window.is_as_before


def test_top_ends_with_its_window(served: Served) -> None:
    with terminal(*MODULE, "top") as window:
        window.until("q quit")
        window.hang_up()
        assert window.process.wait(WAIT_S_MAX) == 0


def test_keys_and_a_new_size_change_what_top_shows(served: Served) -> None:
    for name in ("endless", "works"):
        main(["submit", "--no-wait", job_file(name)])
    with terminal(*MODULE, "top", "--interval", "3600") as window:
        window.until("REASON.*q quit")
        window.press("/ork")
        window.until("1 of 2 with 'ork'")
        window.press("\r?")
        window.until("sort by something else")
        window.press("?")
        window.until("ENGINES.*q quit")
        window.resize(50, 24)
        window.process.send_signal(signal.SIGWINCH)
        window.until("EXECS(?:(?!ENGINES).)*JOBS.*q quit")
        window.press("\x1b[A\x1bq")
        assert window.end() == 0 and window.is_as_before


def test_a_fault_of_ours_is_told_on_the_terminal_as_it_was(served: Served) -> None:
    fault = "from p2pnode.cli.top import command; command.view = lambda *_: 1 / 0"
    program = f"{fault}; from p2pnode.cli.main import main; main(['top'])"
    with terminal(sys.executable, "-c", program) as window:
        assert window.end() != 0
        assert re.search(re.escape(ORIGINAL) + ".*ZeroDivisionError", window.text, re.DOTALL)
        assert window.is_as_before


def test_top_waits_for_a_node_that_went_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("P2PNODE_API", raising=False)
    monkeypatch.setenv("P2PNODE_DATA_DIR", str(tmp_path))
    with Served(tmp_path).running():
        window = Terminal((*MODULE, "top", "--interval", "0.2"))
        window.until("no problems on this node")
    try:
        window.until("no answer, trying again: ")
        with Served(tmp_path).running():
            window.until("no problems on this node")
            window.press("q")
            assert window.end() == 0
    finally:
        window.close()


def test_without_a_node_top_says_so_and_draws_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("P2PNODE_API", raising=False)
    monkeypatch.setenv("P2PNODE_DATA_DIR", str(tmp_path))
    with terminal(*MODULE, "top") as window:
        assert window.end() == 6
        assert "no node runs on" in window.text and ALTERNATE not in window.text


@pytest.mark.parametrize("variable", ["NO_COLOR", ""])
def test_top_is_without_colours_where_they_are_not_wanted(
    served: Served, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    served.node.troubles.append(PROBLEM)
    with terminal(*MODULE, "top") as window:
        drawn = window.until("q quit")
        assert ("\x1b[31m" in drawn) == (not variable)
        window.press("q")
        assert window.end() == 0


PROBLEM = {
    "number": 1,
    "kind": "job",
    "subject": "j-1",
    "reason": "broken",
    "detail": "",
    "aside": True,
    "count": 1,
    "first_at": 0.0,
    "last_at": 0.0,
}


@pytest.mark.parametrize("arguments", [["--once"], []])
def test_a_pipe_gets_one_plain_snapshot(served: Served, capfd: Output, arguments: list[str]) -> None:
    main(["submit", "--no-wait", job_file("endless")])
    capfd.readouterr()
    assert main(["top", *arguments]) == 0
    out, err = capfd.readouterr()
    assert "fake" in out and "endless" in out and "\x1b" not in out
    assert err == ""


@pytest.fixture
def fetching(served: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A job whose two executions fetch for ever."""
    node = served.node

    async def job_events(job: str, since: int, follow: bool) -> AsyncGenerator[Any, None]:
        peers = {"e-1": "alpha\x1b[31m", "e-2": "beta"}
        node.records[job]["executions"] = [
            {**node._execution(job, 0, None), **an_execution(id, "Preparing", peer_name=name)}
            for id, name in peers.items()
        ]
        yield an_event("Asked 2 peers", state="Pending")
        for at in (1.0, 3.0):
            for id, name in peers.items():
                yield an_event(f"fetching /data: {at:g} MB of 6 MB ({name})", id, at=at)
        await trio.sleep_forever()

    monkeypatch.setattr(node, "job_events", job_events)
    return served


@pytest.mark.parametrize("flags", [[], ["--follow"]])
def test_submit_shows_a_line_for_each_execution_and_leaves_none_of_them(
    fetching: Served, flags: list[str]
) -> None:
    with terminal(*MODULE, "submit", *flags, job_file("endless")) as window:
        if flags:
            # Lines to keep are above.
            window.until(r"e-0 \| out [^\n]*\r\n")
        told = window.until(
            r"Pending  Asked 2 peers\r\n  alpha\\x1b\[31m  Prep[^\n]*1 MB/s[^\n]*\n  beta [^\n]*1 MB/s"
        )
        assert told.count("████████░░░░░░░░  50%  3 MB of 6 MB  1 MB/s  fetching /data") >= 1
        window.process.send_signal(signal.SIGINT)
        assert window.end() == 130
        # Up to the block's first line, and all from there is erased.
        assert re.search(r"\r\x1b\[2A\x1b\[J[^\x1b]*goes on", window.text)
        assert window.is_as_before


def test_submit_elsewhere_has_a_plain_line_for_each_event(fetching: Served) -> None:
    process = subprocess.Popen(
        [*MODULE, "submit", job_file("endless")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        lines = [process.stderr.readline() for _ in range(6)]
    finally:
        process.kill()
        process.communicate()
    assert [line.split("  ", 1)[-1] for line in lines[1:4]] == [
        f"{line}\n"
        for line in (
            f"{lines[0].split()[1][:10]}  Asked 2 peers",
            r"e-1  fetching /data: 1 MB of 6 MB (alpha\x1b[31m)",
            "e-2  fetching /data: 1 MB of 6 MB (beta)",
        )
    ]
    assert not any("\x1b" in line for line in lines)
