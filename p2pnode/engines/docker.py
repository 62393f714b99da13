"""The Docker engine: one container per execution, named after it, without capabilities.

A container outlives the node: its name and labels are how a restarted node finds it, goes on
with it (`run` again), or removes it (`reap`). What is enforced: memory without swap, CPU share,
number of processes, no new privileges, no network unless asked; disk is watched, since overlay
on ext4 has no quota. The image's own user is kept.

Output: we attach before the start and so hold the program back rather than lose output or
fill the disk; beside that the engine keeps a ring of 32 MiB, from which a restarted node takes
what was written while it was away.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any, TypeVar
from urllib.parse import quote

import trio

from p2pnode.core.messages import Fault
from p2pnode.core.spec import DockerEngine as DockerTask
from p2pnode.core.spec import NetworkType

from . import cgroups, docker_http, docker_logs, netns
from .docker_http import EngineGone, EngineRefused
from .docker_sdk import ContainerFailed, Sdk
from .http_policy import Policy
from .http_proxy import PORT, proxy_environment, serve
from .workload import (
    KILL_S_MAX,
    WATCH_INTERVAL_S,
    Ended,
    LogFile,
    Workload,
    clear_directory,
    disk_problem,
    failed,
    first_line,
)

LABEL_NODE = "p2pnode.node"
LABEL_EXECUTION = "p2pnode.execution"
LABEL_JOB = "p2pnode.job"
SOCKET_PATH = "/var/run/docker.sock"
PROBE_S_MAX = 3.0
# A restarted engine with live-restore is back in some seconds.
ENGINE_RETURN_S_MAX = 60.0
# After the program has ended, its last output is already in the socket.
DRAIN_S_MAX = 20.0
EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_KILLED = 126, 127, 137


E = TypeVar("E", bound=BaseException)


@dataclass(slots=True)
class _Run:
    """What is known of one container while it runs."""

    # Why we killed it, if we did.
    verdict: Ended | None = None
    cpu_ms: int = 0
    memory_bytes_max: int = 0


class DockerEngine:
    """Runs containers on the local engine. `node_id` marks this node's among others'.

    `private_networks` are the non-public addresses that Network Type HTTP may reach (none by default).
    """

    name = "docker"

    def __init__(
        self,
        node_id: str,
        socket_path: str = SOCKET_PATH,
        private_networks: Collection[IPv4Network | IPv6Network] = (),
    ) -> None:
        self._node_id = node_id
        self._socket = socket_path
        self._private_networks = tuple(private_networks)
        self._sdk = Sdk(socket_path)

    async def available(self) -> str | None:
        """None if the engine answers, else the reason why containers cannot run here."""
        with trio.move_on_after(PROBE_S_MAX):
            try:
                await docker_http.request(self._socket, "GET", "/_ping")
            except (EngineGone, EngineRefused) as error:
                return str(error)
            return None
        return f"the Docker engine at {self._socket} did not answer within {PROBE_S_MAX:g} s"

    def networks(self) -> frozenset[NetworkType]:
        """HTTP needs root: its proxy listens inside the container's network namespace."""
        plain = {NetworkType.NONE, NetworkType.HOST, NetworkType.BRIDGE}
        return frozenset(plain | {NetworkType.HTTP} if netns.possible() else plain)

    async def run(
        self, workload: Workload, started: Callable[[], None], progress: Callable[[str], None]
    ) -> Ended:
        """Run a container to its end, or go on with the one that is there; see `workload.Engine`."""
        ended: Ended
        try:
            found = await self._inspect(workload.execution_id)
            if found and found["Config"]["Labels"].get(LABEL_NODE) != self._node_id:
                return failed(Fault.PEER, f"the container {workload.execution_id} is another node's")
        except (EngineGone, EngineRefused) as error:
            return failed(Fault.PEER, str(error))
        try:
            if found and found["State"]["Status"] != "created":
                ended = await self._adopt(workload, found, started)
            else:
                ended = await self._run(workload, started, progress)
        except* ContainerFailed as errors:
            first = _first(errors)
            ended = failed(first.fault, str(first))
        except* (EngineGone, EngineRefused, OSError) as errors:
            ended = failed(Fault.PEER, first_line(str(_first(errors))))
        finally:
            await self._remove(workload.execution_id)
            await self._remove(_pause_name(workload))
        return ended

    async def reap(self, keep: Collection[str]) -> list[str]:
        """Remove this node's containers of executions other than `keep`; returns those executions.

        Without an engine there is nothing to remove yet, and nothing is raised.
        """
        filters = quote(f'{{"label":["{LABEL_NODE}={self._node_id}"]}}')
        try:
            found = await docker_http.request(
                self._socket, "GET", f"/containers/json?all=1&filters={filters}"
            )
        except (EngineGone, EngineRefused):
            return []
        gone = set()
        for container in found:
            execution = container["Labels"].get(LABEL_EXECUTION, "")
            if execution not in keep:
                await self._remove(container["Id"])
                gone.add(execution)
        return sorted(gone)

    async def _run(
        self, workload: Workload, started: Callable[[], None], progress: Callable[[str], None]
    ) -> Ended:
        """Start a new container and follow it to its end."""
        task = workload.task.engine
        if not isinstance(task, DockerTask):
            raise ContainerFailed(Fault.JOB, f"the Docker engine cannot run a {type(task).__name__}")
        if workload.task.network.type not in self.networks():
            raise ContainerFailed(Fault.PEER, "this peer cannot enforce Network Type HTTP: it is not root")
        image = await self._sdk.image(task.image, progress)
        progress("creating the container")
        await self._remove(workload.execution_id)
        await self._sdk.call(_make_ready, workload)
        logs = LogFile(workload.stdout), LogFile(workload.stderr)
        try:
            async with self._network(workload) as (network_mode, variables):
                await self._sdk.create(workload, task, network_mode, self._labels(workload), variables)
                path = f"/containers/{workload.execution_id}/attach?stream=1&stdout=1&stderr=1"
                async with docker_http.stream(self._socket, "POST", path) as body:
                    await self._sdk.start(workload.execution_id)
                    started()
                    return await self._to_the_end(workload, image, logs, body)
        finally:
            _close(logs)

    async def _adopt(self, workload: Workload, found: Any, started: Callable[[], None]) -> Ended:
        """Go on with a container that an earlier run of the node has started."""
        started()
        logs = _resumed(workload)
        try:
            async with self._listener(workload, found["State"]["Pid"]):
                async with self._output_from_the_start(workload) as body:
                    return await self._to_the_end(workload, found["Image"], logs, body)
        finally:
            _close(logs)

    def _output_from_the_start(self, workload: Workload) -> AbstractAsyncContextManager[docker_http.Body]:
        path = f"/containers/{workload.execution_id}/logs?follow=1&stdout=1&stderr=1"
        return docker_http.stream(self._socket, "GET", path)

    async def _to_the_end(
        self, workload: Workload, image: str, logs: Sequence[LogFile], body: docker_http.Body
    ) -> Ended:
        """Follow a running container, through restarts of the engine, and say how it ended."""
        run = _Run()
        ended = await self._follow(workload, run, logs, body)
        while not ended:
            await self._engine_back()
            _close(logs)
            logs = _resumed(workload)
            try:
                async with self._output_from_the_start(workload) as again:
                    ended = await self._follow(workload, run, logs, again)
            finally:
                _close(logs)
        return await self._ended(workload, image, logs, run)

    async def _follow(
        self, workload: Workload, run: _Run, logs: Sequence[LogFile], body: docker_http.Body
    ) -> bool:
        """Copy output and wait; True when the container has ended, False when the engine went away."""
        ended = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, workload, run)
                async with trio.open_nursery() as streams:
                    streams.start_soon(docker_logs.copy, body, logs)
                    await docker_http.wait(self._socket, workload.execution_id)
                    ended = True
                    streams.cancel_scope.deadline = trio.current_time() + DRAIN_S_MAX
                nursery.cancel_scope.cancel()
        except* EngineGone:
            pass
        return ended

    async def _engine_back(self) -> None:
        with trio.move_on_after(ENGINE_RETURN_S_MAX):
            while True:
                await trio.sleep(WATCH_INTERVAL_S)
                if await self.available() is None:
                    return
        reason = f"the Docker engine went away and was not back within {ENGINE_RETURN_S_MAX:g} s"
        raise ContainerFailed(Fault.PEER, reason)

    async def _ended(self, workload: Workload, image: str, logs: Sequence[LogFile], run: _Run) -> Ended:
        found = await self._inspect(workload.execution_id)
        if run.verdict:
            return run.verdict
        if not found:
            raise ContainerFailed(Fault.PEER, "the container was removed by somebody else while it ran")
        if problem := logs[0].problem or logs[1].problem:
            raise ContainerFailed(Fault.PEER, problem)
        code = found["State"]["ExitCode"]
        reason, fault = _why(code, found["State"]["OOMKilled"], workload.task.resources.memory_bytes)
        return Ended(
            exit_code=code,
            reason=reason,
            fault=fault,
            cpu_ms=run.cpu_ms,
            memory_bytes_max=run.memory_bytes_max,
            program=image,
        )

    async def _watch(self, workload: Workload, run: _Run) -> None:
        """Note what the container uses; kill it when that is too much disk."""
        name = workload.execution_id
        directories = tuple(mount.host_path for mount in workload.results)
        try:
            pid = (await docker_http.request(self._socket, "GET", f"/containers/{name}/json"))["State"]["Pid"]
            while True:
                cpu_ms, memory_bytes = cgroups.usage(pid)
                run.cpu_ms = max(run.cpu_ms, cpu_ms)
                run.memory_bytes_max = max(run.memory_bytes_max, memory_bytes)
                await trio.sleep(WATCH_INTERVAL_S)
                found = await docker_http.request(self._socket, "GET", f"/containers/{name}/json?size=1")
                written = found.get("SizeRw") or 0
                problem = await self._sdk.call(disk_problem, workload, directories, written)
                if problem:
                    run.verdict = failed(Fault.JOB, f"out of disk: {problem}")
                    await docker_http.request(self._socket, "POST", f"/containers/{name}/kill")
                    return
        except EngineRefused:
            # It ended meanwhile.
            return

    @asynccontextmanager
    async def _network(self, workload: Workload) -> AsyncIterator[tuple[str, dict[str, str]]]:
        """The container's network mode and variables, while what they need is running. HTTP: see `netns`."""
        if workload.task.network.type is not NetworkType.HTTP:
            yield workload.task.network.type.value, {}
            return
        name = _pause_name(workload)
        await self._remove(name)
        await self._sdk.create_pause(name, self._labels(workload))
        await self._sdk.start(name)
        found = await docker_http.request(self._socket, "GET", f"/containers/{name}/json")
        async with self._listener(workload, found["State"]["Pid"]):
            yield f"container:{name}", proxy_environment()

    @asynccontextmanager
    async def _listener(self, workload: Workload, pid: int) -> AsyncIterator[None]:
        """The proxy of an HTTP-only container, in the network namespace of `pid` (0: it has ended)."""
        if workload.task.network.type is not NetworkType.HTTP or not pid:
            yield
            return
        listener = netns.trio_listener(await self._sdk.call(netns.listen_in, pid, PORT))
        policy = Policy(domains=workload.task.network.domains, private_networks=self._private_networks)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, listener, policy)
            yield
            nursery.cancel_scope.cancel()

    def _labels(self, workload: Workload) -> dict[str, str]:
        return {
            LABEL_NODE: self._node_id,
            LABEL_EXECUTION: workload.execution_id,
            LABEL_JOB: workload.job_id,
        }

    async def _inspect(self, container: str) -> Any:
        """What the engine knows of a container; None if there is none."""
        try:
            return await docker_http.request(self._socket, "GET", f"/containers/{container}/json")
        except EngineRefused as error:
            if error.status == 404:
                return None
            raise

    async def _remove(self, container: str) -> None:
        """Kill and remove, also when cancelled. If the engine is away, `reap` does it later."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + KILL_S_MAX):
            try:
                await docker_http.request(self._socket, "DELETE", f"/containers/{container}?force=1&v=1")
            except (EngineGone, EngineRefused):
                return


def _pause_name(workload: Workload) -> str:
    return f"{workload.execution_id}-pause"


def _make_ready(workload: Workload) -> None:
    """Empty result directories that any user of an image can write into. Blocking."""
    for mount in workload.results:
        clear_directory(mount.host_path)
        mount.host_path.chmod(0o777)


def _resumed(workload: Workload) -> tuple[LogFile, LogFile]:
    return docker_logs.ResumedLog(workload.stdout), docker_logs.ResumedLog(workload.stderr)


def _close(logs: Sequence[LogFile]) -> None:
    for log in logs:
        log.close()


def _first(errors: BaseExceptionGroup[E]) -> E:
    """The first of the errors of tasks that ran together; the others followed from it."""
    one = errors.exceptions[0]
    return _first(one) if isinstance(one, BaseExceptionGroup) else one


def _why(code: int, out_of_memory: bool, memory_bytes: int) -> tuple[str, Fault | None]:
    """The reason and the fault of an exit code that we did not cause."""
    if code == 0:
        return "exited", None
    if out_of_memory:
        return (
            f"out of memory: it needed more than {memory_bytes} bytes (exit code {code})",
            Fault.JOB,
        )
    if code == EXIT_KILLED:
        return "the program was killed from outside (exit code 137)", Fault.PEER
    if code == EXIT_NOT_FOUND:
        return "the command was not found in the image (exit code 127); see stderr", Fault.JOB
    if code == EXIT_NOT_EXECUTABLE:
        return "the command cannot be executed (exit code 126); see stderr", Fault.JOB
    try:
        # By convention of shells and of the init process in the container.
        name = signal.Signals(code - 128).name
    except ValueError:
        return f"the program exited with {code}", Fault.JOB
    return f"the program exited with {code} ({name})", Fault.JOB
