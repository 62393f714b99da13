"""The same noop jobs on Nomad and on Bacalhau, each where a variable names its program: NOMAD, BACALHAU.

It is started with three compute nodes on loopback, asked through its HTTP API, and ended. Neither program was
at hand: this was tried only against a stand-in that answers as their documents say (tests/stand_in.py).
"""

from __future__ import annotations

import functools
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pnode.client.finding import find

from .figures import ROOT, devnet, options, percentile, show
from .jobs import add_to

NODES = 3
JOBS = 30
IN_FLIGHT, JOBS_IN_FLIGHT = 16, 150
# Each may compile the module, or open its log, at its first job.
WARM_UP = 3
READY_S_MAX = 60.0
JOB_S_MAX = 30.0
# As often as costs the asked next to nothing.
POLL_S = 0.005
END_S = 10.0
ANSWER_BYTES_MAX = 4 * 1024**2
SAID_CHARS_MAX = 300
MODULE = ROOT / "devnet/jobs/noop.wasm"

Json = Any


class NotMeasured(Exception):
    """A program that does not do as its documents say; the message says what it did."""


class Api:
    """JSON over HTTP on loopback, on a kept connection for each thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._own = threading.local()

    def ask(self, method: str, path: str, body: Json = None) -> Json:
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=JOB_S_MAX)
        sent = None if body is None else json.dumps(body).encode()
        try:
            self._own.connection.request(method, path, sent, {"Content-Type": "application/json"})
            response = self._own.connection.getresponse()
            text = response.read(ANSWER_BYTES_MAX)
            if response.status >= 400:
                raise NotMeasured(f"{method} {path}: HTTP {response.status}: {text[:200]!r}")
            return json.loads(text)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._own.connection.close()
            raise NotMeasured(f"{method} {path}: {error!r}") from error


@dataclass(frozen=True)
class System:
    """How a system is started, submitted to and asked."""

    name: str
    variable: str
    # Starts the program; gives the port of its API.
    started: Callable[[str, Processes], int]
    nodes_ready: Callable[[Api], int]
    # Submits the job of this number; gives the path to ask about it, and what says its state there.
    submit: Callable[[Api, int], str]
    state: Callable[[Json], str]
    done: str
    failed: tuple[str, ...]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Processes:
    """The programs of a system, and what they say."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._started: list[tuple[subprocess.Popen[bytes], Path]] = []

    def start(self, command: list[str]) -> Path:
        """Start a program, which has the scratch directory as its home; gives the file of what it says."""
        log = self.scratch / f"{len(self._started)}.log"
        environ = os.environ | {"HOME": str(self.scratch), "BACALHAU_DIR": str(self.scratch / "bacalhau")}
        with log.open("wb") as said:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    env=environ,
                    start_new_session=True,
                )
            except OSError as error:
                raise NotMeasured(f"{command[0]}: {error.strerror}") from error
        self._started.append((process, log))
        return log

    def check(self) -> None:
        """Raise `NotMeasured` if one has ended."""
        for process, log in self._started:
            if process.poll() is not None:
                said = log.read_text(errors="replace")[-SAID_CHARS_MAX:].strip()
                raise NotMeasured(f"it ended with {process.returncode}: {said}")

    def end(self) -> None:
        """End all, and what they have started; who does not end in good order is killed."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            for process, _ in self._started:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, how)
            for process, _ in self._started:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(END_S)


# Nomad: a server and three clients, of which only these run jobs.


def _nomad_started(program: str, processes: Processes) -> int:
    http_port, rpc_port = free_port(), free_port()
    for number in range(NODES + 1):
        is_server = number == 0
        ports = {"http": http_port, "rpc": rpc_port, "serf": free_port()}
        agent: Json = {
            "name": f"bench-{number}",
            "data_dir": str(processes.scratch / f"nomad-{number}"),
            "bind_addr": "127.0.0.1",
            "ports": ports if is_server else {"http": free_port()},
            "server": {"enabled": is_server, "bootstrap_expect": 1} if is_server else {"enabled": False},
            "client": {"enabled": not is_server, "servers": [f"127.0.0.1:{rpc_port}"]},
            "plugin": [{"raw_exec": [{"config": [{"enabled": True}]}]}],
        }
        file = processes.scratch / f"nomad-{number}.json"
        file.write_text(json.dumps(agent))
        processes.start([program, "agent", "-config", str(file)])
    return http_port


def _nomad_nodes(api: Api) -> int:
    return sum(node["Status"] == "ready" for node in api.ask("GET", "/v1/nodes"))


def _nomad_submit(api: Api, number: int) -> str:
    task = {
        "Name": "main",
        "Driver": "raw_exec",
        "Config": {"command": shutil.which("true")},
        "Resources": {"CPU": 20, "MemoryMB": 10},
    }
    once = {"Attempts": 0, "Mode": "fail"}
    groups = [{"Name": "main", "Count": 1, "RestartPolicy": once, "Tasks": [task]}]
    id = f"bench-{number}"
    job = {"ID": id, "Name": id, "Type": "batch", "Datacenters": ["dc1"], "TaskGroups": groups}
    api.ask("POST", "/v1/jobs", {"Job": job})
    return f"/v1/job/{id}/allocations"


def _nomad_state(allocations: Json) -> str:
    return str(allocations[0]["ClientStatus"]) if allocations else "pending"


# Bacalhau: its own devstack, which says the port of its API.

_PORT = re.compile(r"BACALHAU_API_PORT=(\d+)")


def _bacalhau_started(program: str, processes: Processes) -> int:
    allowed = f"Compute.AllowListedLocalPaths={MODULE}"
    command = [program, "devstack", "--orchestrators", "1", "--computes", str(NODES), "-c", allowed]
    log = processes.start(command)
    deadline = time.monotonic() + READY_S_MAX
    while time.monotonic() < deadline:
        if found := _PORT.search(log.read_text(errors="replace")):
            return int(found[1])
        processes.check()
        time.sleep(POLL_S)
    raise NotMeasured(f"no BACALHAU_API_PORT was said in {READY_S_MAX:.0f} s: {log.read_bytes()[-300:]!r}")


def _bacalhau_nodes(api: Api) -> int:
    found = api.ask("GET", "/api/v1/orchestrator/nodes")["Nodes"]
    return sum(node["Info"]["NodeType"] == "Compute" for node in found)


def _bacalhau_submit(api: Api, number: int) -> str:
    # The same module as our noop job's. A job of a name that is there would change that one.
    source = {"Type": "localDirectory", "Params": {"SourcePath": str(MODULE)}}
    task = {
        "Name": "main",
        "Engine": {"Type": "wasm", "Params": {"EntryModule": "/noop.wasm", "Entrypoint": "_start"}},
        "InputSources": [{"Source": source, "Target": "/noop.wasm"}],
        "Resources": {"CPU": "100m", "Memory": "64mb"},
    }
    job = {"Name": f"bench-{number}", "Type": "batch", "Count": 1, "Tasks": [task]}
    return f"/api/v1/orchestrator/jobs/{api.ask('PUT', '/api/v1/orchestrator/jobs', {'Job': job})['JobID']}"


SYSTEMS = (
    System(
        "Nomad (raw_exec true)",
        "NOMAD",
        _nomad_started,
        _nomad_nodes,
        _nomad_submit,
        _nomad_state,
        "complete",
        ("failed", "lost"),
    ),
    System(
        "Bacalhau (WASM)",
        "BACALHAU",
        _bacalhau_started,
        _bacalhau_nodes,
        _bacalhau_submit,
        lambda answer: str(answer["Job"]["State"]["StateType"]),
        "Completed",
        ("Failed", "Stopped"),
    ),
)


@contextmanager
def running(system: System, program: str) -> Iterator[Api]:
    """A system with all its nodes ready, ended for certain."""
    with tempfile.TemporaryDirectory(prefix="p2pnode-bench-", ignore_cleanup_errors=True) as scratch:
        processes = Processes(Path(scratch))
        try:
            api = Api(system.started(program, processes))
            deadline = time.monotonic() + READY_S_MAX
            found: object = "nothing asked yet"
            while found != NODES:
                processes.check()
                if time.monotonic() > deadline:
                    raise NotMeasured(f"{NODES} nodes were not ready in {READY_S_MAX:.0f} s: {found}")
                try:
                    found = system.nodes_ready(api)
                except (NotMeasured, KeyError, TypeError) as error:
                    found = error
                time.sleep(POLL_S)
            yield api
        finally:
            processes.end()


def done(system: System, api: Api, number: int) -> None:
    """Run one job to its end; raises `NotMeasured`."""
    deadline = time.monotonic() + JOB_S_MAX
    path = system.submit(api, number)
    while (state := system.state(api.ask("GET", path))) != system.done:
        if state in system.failed or time.monotonic() > deadline:
            raise NotMeasured(f"job {number} is {state}")
        time.sleep(POLL_S)


def measured(once: Callable[[int], None]) -> tuple[float, float]:
    """Seconds of a job, one after another (the median), and of each with some in flight."""
    numbers = itertools.count()
    times = []
    for _ in range(WARM_UP + JOBS):
        start = time.perf_counter()
        once(next(numbers))
        times.append(time.perf_counter() - start)
    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        start = time.perf_counter()
        list(threads.map(once, [next(numbers) for _ in range(JOBS_IN_FLIGHT)]))
        each_s = (time.perf_counter() - start) / JOBS_IN_FLIGHT
    return percentile(times[WARM_UP:], 50), each_s


def ours() -> tuple[float, float]:
    text = (ROOT / "devnet/jobs/noop.yaml").read_bytes()
    with devnet(NODES) as directory:
        add_to(find(directory / "node-1", {}), MODULE)
        own = threading.local()

        def once(number: int) -> None:
            if not hasattr(own, "client"):
                own.client = find(directory / "node-1", {})
            id = own.client.submit(text, "noop.yaml")
            for _ in own.client.job_events(id, follow=True):
                pass
            assert own.client.job(id)["state"] == "Completed"

        return measured(once)


def compare(system: System, program: str, here: Callable[[], tuple[float, float]]) -> None:
    """Show our figures against those of a system; raises `NotMeasured`."""
    with running(system, program) as api:
        median_s, each_s = measured(lambda number: done(system, api, number))
    own_median_s, own_each_s = here()
    show(f"noop job on {NODES} nodes, p50", own_median_s, system.name, median_s)
    show(f"noop job on {NODES} nodes, {IN_FLIGHT} in flight, each", own_each_s, system.name, each_s)


def main() -> None:
    options("others", __doc__).parse_args()
    here = functools.cache(ours)
    failed = False
    for system in SYSTEMS:
        program = os.environ.get(system.variable)
        if not program:
            print(f"{system.name}: skipped, as {system.variable} names no program")
            continue
        try:
            compare(system, program, here)
        except NotMeasured as error:
            print(f"{system.name}: not measured: {error}", file=sys.stderr)
            failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
