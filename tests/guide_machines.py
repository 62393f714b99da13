"""The machines of a guide: each a shell in a network namespace and a home of its own, all on one switch."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from p2pnode.identity import load_or_create

from .cut_network import CannotMake, inside
from .guides import GuideCommand, GuideFile, first_missing
from .nodes import LOOK_INTERVAL_S

ROOT = Path(__file__).parent.parent
# As the guides have them: the addresses of documentation (RFC 5737).
SUBNET = "192.0.2."
NAMES = ("ada", "bob", "cyd")
COMMAND_TIMEOUT_S = 90.0
# A network's news travel meanwhile; a reader looks again, too.
LOOK_AGAIN_S = 20.0
END_TIMEOUT_S = 15.0
# Commands that change nothing, so that they may be given again until they print what the guide shows.
_LOOKS = re.compile(
    r"p2pnode (network show|node (list|problems)|"
    r"job (list|describe|history|executions|logs|versions)|id|doctor|plan|top)"
    r"|curl|cat"
)
# As guides write a token, and as a machine prints one.
_TOKEN = "p2pnet1-..."
_TOKENS = re.compile(r"p2pnet1-[\w-]+")
_STATUS = re.compile(r"# exit status (\d+)(?: or (\d+))?$")
_PEER = re.compile(r"12D3KooW(Ada|Bob|Cyd)\.\.\.")


class Machine:
    """A shell that commands are given to one by one, as a person would."""

    def __init__(self, name: str, netns: str, home: Path) -> None:
        self.name = name
        self.home = home
        self._log = home.with_suffix(".log")
        home.mkdir()
        for name in ("devnet", "protocols"):
            (home / name).symlink_to(ROOT / name)
        status, told = os.pipe()
        self._statuses: IO[str] = os.fdopen(status)
        with self._log.open("wb") as log, inside(netns):
            self._shell = subprocess.Popen(
                # Commands come on a descriptor that the programs do not inherit as their stdin.
                ["/bin/bash", "--norc", "--noprofile"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(told,),
                cwd=home,
                env=self._environment(),
                text=True,
                start_new_session=True,
            )
        os.close(told)
        self._told = told

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {key: os.environ[key] for key in ("DOCKER_HOST", "LANG") if key in os.environ}
        return {**kept, "HOME": str(self.home), "PATH": path, "TERM": "dumb", "COLUMNS": "200"}

    @property
    def peer(self) -> str:
        """The peer id of its node, which need not have been started yet."""
        return load_or_create(self.home / ".local/share/p2pnode").peer_id

    def printed(self) -> str:
        return self._log.read_text(errors="replace")

    def run(self, command: str) -> tuple[int, str]:
        """The exit status of a command, and what the shell's programs printed meanwhile."""
        before = len(self.printed())
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{command}\necho $? >&{self._told}\n")
        self._shell.stdin.flush()
        ready, _, _ = select.select([self._statuses], [], [], COMMAND_TIMEOUT_S)
        assert ready, (
            f"{self.name}$ {command}: no end after {COMMAND_TIMEOUT_S:.0f} s:\n{self.printed()[before:]}"
        )
        return int(self._statuses.readline()), self.printed()[before:]

    def end(self) -> None:
        """End the shell and all that it started."""
        assert self._shell.stdin is not None
        with suppress(BrokenPipeError):
            self._shell.stdin.write("kill $(jobs -p) 2>/dev/null; wait\n")
            self._shell.stdin.close()
        try:
            self._shell.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._shell.pid, 9)
            self._shell.wait(END_TIMEOUT_S)
        self._statuses.close()


class Machines:
    """The machines of one guide, made as it names them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._prefix = f"guide-{os.getpid()}-"
        self._made: list[str] = []
        self._machines: dict[str, Machine] = {}

    def make(self) -> None:
        """The switch that all are at; raises `CannotMake`."""
        self._hub = self._namespace("hub")
        self._ip("-n", self._hub, "link", "add", "switch", "type", "bridge")
        self._ip("-n", self._hub, "link", "set", "switch", "up")

    def machine(self, name: str) -> Machine:
        if name not in self._machines:
            number = NAMES.index(name) + 1 if name in NAMES else 9
            netns, plug = self._namespace(name or "here"), f"to{number}"
            self._ip(
                "-n", self._hub, "link", "add", plug, "type", "veth", "peer", "name", "eth0", "netns", netns
            )
            self._ip("-n", self._hub, "link", "set", plug, "master", "switch", "up")
            self._ip("-n", netns, "address", "add", f"{SUBNET}{number}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                self._ip("-n", netns, "link", "set", device, "up")
            self._machines[name] = Machine(name, netns, self._directory / (name or "here"))
        return self._machines[name]

    def write(self, machine: str, file: GuideFile) -> None:
        (self.machine(machine).home / file.name).write_text(self._filled(file.text))

    def follow(self, command: GuideCommand) -> None:
        """Give one command, and see that it succeeds and prints what the guide shows."""
        machine = self.machine(command.machine)
        before = len(machine.printed())
        deadline = time.monotonic() + LOOK_AGAIN_S
        in_background = command.text.endswith("&")
        while True:
            status, printed = machine.run(self._filled(command.text))
            while in_background and first_missing(command.shown, printed) and time.monotonic() < deadline:
                time.sleep(LOOK_INTERVAL_S)
                printed = machine.printed()[before:]
            missing = first_missing(command.shown, printed)
            expected = status in _statuses(command.text)
            if expected and missing is None:
                return
            if not _LOOKS.match(command.text) or time.monotonic() > deadline:
                break
            time.sleep(10 * LOOK_INTERVAL_S)
        lines = f"line {command.line}: {command.machine}$ {command.text}: exit status {status}"
        raise AssertionError(f"{lines}; not printed: {missing!r}; printed:\n{printed}")

    def remove(self) -> None:
        for machine in self._machines.values():
            machine.end()
        for netns in self._made:
            self._ip("netns", "delete", netns)

    def _filled(self, text: str) -> str:
        """A guide's text with the peer ids of its machines."""
        if _TOKEN in text:
            text = text.replace(_TOKEN, self._newest_token())
        return _PEER.sub(lambda found: self.machine(found[1].lower()).peer, text)

    def _newest_token(self) -> str:
        """The token of a private network that a machine printed last."""
        found = [one for machine in self._machines.values() for one in _TOKENS.findall(machine.printed())]
        assert found, "no machine has printed a token"
        return str(found[-1])

    def _namespace(self, name: str) -> str:
        netns = self._prefix + name
        self._ip("netns", "add", netns)
        self._made.append(netns)
        return netns

    def _ip(self, *arguments: str) -> None:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=10)
        if done.returncode:
            raise CannotMake(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _statuses(command: str) -> set[int]:
    """The exit statuses that a guide says a command has."""
    said = _STATUS.search(command)
    return {int(one) for one in said.groups() if one} if said else {0}
