"""The Docker engine: one container per execution, named after it, with few capabilities.

A container outlives the node: its name and labels are how a restarted node finds it, goes on
with it (`run` again), or removes it (`reap`). What is enforced: memory without swap, CPU share,
number of processes, no new privileges, no network unless asked, and the size of results where we
may mount (`space`); what is written elsewhere is watched, since overlay on ext4 has no
quota. The image's own user is kept.

Output: we attach before the start and so hold the program back rather than lose output or
fill the disk; beside that the engine keeps a ring of 32 MiB, from which a restarted node takes
what was written while it was away.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import trio

from p2pnode.core.placement.matching import no_network
from p2pnode.core.values import capabilities, cards
from p2pnode.core.values.cards import Card, NoCards
from p2pnode.core.values.images import ImageRule, Say, said_of
from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.values.registries import WELL_KNOWN_ONLY, Registries
from p2pnode.core.wire import codec
from p2pnode.core.wire.exec import ExecBody
from p2pnode.core.wire.fields import REASON_LENGTH_MAX
from p2pnode.core.wire.spec import DockerTask, NetworkType
from p2pnode.core.wire.states import Fault
from p2pnode.core.worker import blame
from p2pnode.core.worker.entering import Entered
from p2pnode.engines.http import netns
from p2pnode.engines.http.upstream import Resolve, resolve
from p2pnode.engines.workload import (
    DISK_FREE_BYTES_MIN,
    ProgramEnd,
    Workload,
    as_the_program_sees,
    failed,
    first_line,
    new_logs,
    not_begun,
)
from p2pnode.system.removal import make_anew
from p2pnode.system.trees import space_bytes, strip_privileges

from . import (
    api,
    bridge,
    exec,
    follow,
    images,
    limits,
    ports,
    reach,
    space,
)
from . import (
    logs as docker_logs,
)
from .answers import Container, Listed
from .api import Body, EngineGone, EngineRefused
from .gpus import LABEL_EXECUTION, LABEL_GPUS, Gpus
from .networks import Networks
from .sdk import ContainerFailed, Sdk

LABEL_NODE = "p2pnode.node"
LABEL_JOB = "p2pnode.job"
# An operator's directory may be large, and a program is to hide nothing in it: some 10 s.
STRIPPED_ENTRIES_MAX = 2_000_000

log = logging.getLogger(__name__)
E = TypeVar("E", bound=BaseException)


class DockerEngine:
    """Runs containers on the local engine. `node_id` marks this node's among others'.

    `hosts` are those outside the internet that Network Type HTTP may reach (none by default).
    `rules` say for which images the fence is another than for all, `registries` where images may come
    from. `networks` are those that programs may have besides None and HTTP.
    `allowed` are the Linux capabilities that programs may have.
    `resolve` gives a name's addresses; this machine's own resolver by default. `gpus` are this machine's.
    `unusable` says why the engine that was named cannot be used at all. `named`: somebody chose it, and is
    warned where it cannot be used.
    """

    name = "docker"

    def __init__(
        self,
        node_id: str,
        socket_path: str,
        hosts: Collection[AllowedHost] = (),
        rules: Collection[ImageRule] = (),
        networks: Collection[NetworkType] = (),
        allowed: frozenset[str] = capabilities.DEFAULT,
        registries: Registries = WELL_KNOWN_ONLY,
        resolve: Resolve = resolve,
        gpus: Gpus | None = None,
        unusable: str = "",
        named: bool = False,
    ) -> None:
        self._node_id = node_id
        self._unusable = unusable
        self._problem_level = logging.WARNING if named else logging.INFO
        # Why containers cannot run here, as last found; "": they can.
        self.problem = unusable
        self._has_limits = False
        self._socket = socket_path
        self._rules = tuple(rules)
        self._allowed = allowed
        self._registries = registries
        self._gpus = gpus or Gpus(socket_path)
        self._resolve = resolve
        self._sdk = Sdk(socket_path)
        self._networks = Networks(self._sdk, networks, hosts, resolve)

    async def available(self) -> str | None:
        """None if the engine answers and holds containers to their limits, else why none can run here."""
        problem = self._unusable or await api.unavailable(self._socket) or await self._without_limits()
        if problem != self.problem:
            level = self._problem_level if problem else logging.INFO
            log.log(level, "%s", problem or f"the Docker engine at {self._socket} answers")
        self.problem = problem
        return problem or None

    async def _without_limits(self) -> str:
        """Why containers would have no limits; asked anew after a problem: it may be another engine."""
        if self._has_limits and not self.problem:
            return ""
        try:
            found = await limits.missing(self._socket)
        except (EngineGone, EngineRefused) as error:
            found = str(error)
        self._has_limits = not found
        return found

    async def networks(self) -> frozenset[NetworkType]:
        """The kinds of network that containers can have here now."""
        return await self._networks.offered()

    async def gpus(self) -> tuple[Card, ...]:
        """The GPUs that containers can be given here."""
        return await self._gpus.usable()

    async def cached_images(self) -> dict[str, int]:
        """The images that need no pull, as `core.values.images.normal` names them, and their bytes.

        None without an engine.
        """
        try:
            return await images.cached(self._socket)
        except (EngineGone, EngineRefused):
            return {}

    async def run(
        self, workload: Workload, started: Callable[[], None], progress: Callable[[str], None]
    ) -> ProgramEnd:
        """Run a container to its end, or go on with the one that is there; see `workload.Engine`."""
        ended: ProgramEnd
        try:
            found = await api.inspect(self._socket, workload.execution_id)
            if found and found.labels.get(LABEL_NODE) != self._node_id:
                return failed(Fault.PEER, f"the container {workload.execution_id} is another node's")
        except (EngineGone, EngineRefused) as error:
            return failed(Fault.PEER, str(error))
        try:
            if not self._networks.allows(workload.task.network.type):
                raise ContainerFailed(Fault.PEER, no_network(workload.task.network.type))
            if found and found.state.status != "created":
                ended = await self._adopt(workload, found, started, progress)
            elif workload.stopping.asked.is_set():
                ended = not_begun()
            else:
                ended = await self._run(workload, started, progress)
        except* (ContainerFailed, ports.NoPort) as errors:
            first = _first(errors)
            ended = failed(first.fault, as_the_program_sees(str(first), workload))
        except* NoCards as errors:
            ended = failed(Fault.PEER, str(_first(errors)))
        except* bridge.NoFence as errors:
            log.warning("network bridge is allowed, but cannot be given: %s", _first(errors))
            ended = failed(Fault.PEER, "this peer cannot keep Network Type Bridge out of its own network")
        except* (EngineGone, EngineRefused, netns.NoSockets, OSError) as errors:
            ended = failed(Fault.PEER, as_the_program_sees(first_line(str(_first(errors))), workload))
        finally:
            await api.remove_container(self._socket, workload.execution_id)
            await self._networks.remove(workload)
            with trio.CancelScope(shield=True):
                left = await space.leave(workload)
                if closed := await self._open_results(workload):
                    log.warning("%s: %s", workload.execution_id, closed)
                writable = [mount.host_path for mount in workload.inputs if not mount.read_only]
                await self._sdk.call(_strip_privileges, writable)
        reason, fault = blame.with_left(ended.reason, ended.fault, left)
        return codec.replace(ended, reason=reason[:REASON_LENGTH_MAX], fault=fault)

    def enter(self, body: ExecBody) -> AbstractAsyncContextManager[Entered]:
        return exec.entered(self._socket, body)

    async def remove(self, directory: Path) -> str:
        """Remove the directory of an execution that does not run; why some of it is left, or ""."""
        return await reach.remove(self._sdk, self._reach_labels(directory), directory)

    async def _open_results(self, workload: Workload) -> str:
        """Let this node read what the container left; why it cannot, or ""."""
        limit = workload.task.resources.disk_bytes
        spare = max(shutil.disk_usage(workload.directory).free - DISK_FREE_BYTES_MIN, 0)
        return await reach.open_up(
            self._sdk,
            self._reach_labels(workload.directory),
            workload.directory,
            "results",
            space_bytes(limit) if limit else spare,
        )

    def _reach_labels(self, directory: Path) -> dict[str, str]:
        return {LABEL_NODE: self._node_id, LABEL_EXECUTION: directory.name}

    async def reap(self, keep: Collection[str]) -> list[str]:
        """Remove this node's containers of executions other than `keep`; returns those executions.

        `keep` are those that the journal has as awarded, or set aside (`Node.resume`).
        Without an engine there is nothing to remove yet, and nothing is raised.
        """
        filters = quote(f'{{"label":["{LABEL_NODE}={self._node_id}"]}}')
        try:
            path = f"/containers/json?all=1&filters={filters}"
            found = await api.ask(self._socket, path, list[Listed])
        except (EngineGone, EngineRefused):
            return []
        gone = set()
        for container in found:
            execution = (container.labels or {}).get(LABEL_EXECUTION, "")
            if execution not in keep:
                await api.remove_container(self._socket, container.id)
                writable = [one for one in container.mounts or () if one.type == "bind" and one.rw]
                await self._sdk.call(_strip_privileges, [Path(one.source) for one in writable])
                gone.add(execution)
        await self._sdk.call(space.remove_of, gone)
        return sorted(gone)

    async def _run(
        self, workload: Workload, started: Callable[[], None], progress: Callable[[str], None]
    ) -> ProgramEnd:
        """Start a new container and follow it to its end."""
        task = workload.task.engine
        if not isinstance(task, DockerTask):
            raise ContainerFailed(Fault.JOB, f"the Docker engine cannot run a {type(task).__name__}")
        given = self._capabilities(workload, task)
        image = await images.obtain(self._sdk, task.image, self._registries, self._resolve, progress)
        says = said_of(self._rules, task.image)
        if image.read_only_root:
            says |= {Say.READ_ONLY_ROOT}
        progress("creating the container")
        await api.remove_container(self._socket, workload.execution_id)
        await self._sdk.call(_make_ready, workload)
        workload = await self._limited(workload)
        logs = new_logs(workload)
        try:
            mapped = ports.allocate(workload.task.network)
            for one in mapped:
                progress(str(one))
            bound = mapped if workload.task.network.type is NetworkType.BRIDGE else ()
            async with (
                self._gpus.held(workload.execution_id, workload.task.resources.gpus) as gpus,
                self._networks.ready(workload, self._labels(workload)) as (network_mode, variables),
            ):
                for id in gpus.ids:
                    progress(f"its GPU is {id}")
                variables |= ports.variables(mapped)
                names = await self._networks.name_servers(workload)
                labels = self._labels(workload) | ({LABEL_GPUS: cards.to_text(gpus.ids)} if gpus.ids else {})
                await self._sdk.create(
                    workload, task, network_mode, labels, variables, bound, names, says, given, gpus
                )
                async with _attached(self._socket, workload.execution_id) as body:
                    await self._sdk.start(workload.execution_id)
                    started()
                    return await follow.to_the_end(self._sdk, workload, image.id, logs, body)
        finally:
            follow.close(logs)

    def _capabilities(self, workload: Workload, task: DockerTask) -> frozenset[str]:
        """The Linux capabilities of a program; raises `ContainerFailed` for one that is not allowed here."""
        asked = capabilities.asked_in(task.meta)
        for name in sorted(asked - self._allowed):
            raise ContainerFailed(Fault.PEER, capabilities.not_allowed(name))
        host_network = workload.task.network.type is NetworkType.HOST
        return capabilities.given(asked, self._allowed, host_network=host_network)

    async def _adopt(
        self,
        workload: Workload,
        found: Container,
        started: Callable[[], None],
        progress: Callable[[str], None],
    ) -> ProgramEnd:
        """Go on with a container that an earlier run of the node has started."""
        for id in await self._gpus.missing(cards.from_text(found.labels.get(LABEL_GPUS, ""))):
            progress(f"its GPU {id} is missing, or has failed, since this peer's restart")
            log.warning("the GPU %s of %s is missing, or has failed", id, workload.execution_id)
        if workload.task.network.type is NetworkType.BRIDGE:
            await self._networks.bridge()
        started()
        workload = await self._sdk.call(space.inside, workload)
        logs = docker_logs.resumed(workload)
        try:
            async with self._networks.gate(workload, running=found.state.running):
                async with follow.output_from_the_start(self._sdk, workload) as body:
                    return await follow.to_the_end(
                        self._sdk, workload, found.image, logs, body, unseen=not found.state.running
                    )
        finally:
            follow.close(logs)

    async def _limited(self, workload: Workload) -> Workload:
        """The workload with result directories of the job's disk limit, where such can be made."""
        if not (workload.task.resources.disk_bytes and workload.results and space.possible()):
            return workload
        try:
            await self._sdk.call(space.make, workload)
        except OSError as error:
            # No loop device free, or none for us: then they are looked at, as elsewhere.
            log.warning("no hard disk limit for %s: %s", workload.execution_id, error)
        return await self._sdk.call(space.inside, workload)

    def _labels(self, workload: Workload) -> dict[str, str]:
        return {
            LABEL_NODE: self._node_id,
            LABEL_EXECUTION: workload.execution_id,
            LABEL_JOB: workload.job_id,
        }


@asynccontextmanager
async def _attached(socket_path: str, container: str) -> AsyncIterator[Body]:
    """The output of a container that is not started yet. Raises `ContainerFailed`, `EngineGone`."""
    async with AsyncExitStack() as stack:
        path = f"/containers/{container}/attach?stream=1&stdout=1&stderr=1"
        try:
            body = await stack.enter_async_context(api.stream(socket_path, "POST", path))
        except EngineRefused as error:
            # Podman makes all but the program ready here, where Docker does when told to start.
            reason, fault = blame.of_start(first_line(str(error)))
            raise ContainerFailed(fault, reason) from error
        yield body


def _make_ready(workload: Workload) -> None:
    """Empty the result directories, and open them to any user of an image but no other of this machine.

    Blocking.
    """
    workload.directory.chmod(0o700)
    for mount in workload.results:
        make_anew(mount.host_path)
        mount.host_path.chmod(0o777)


def _strip_privileges(writable: Sequence[Path]) -> None:
    """Take setuid and setgid from the files of directories of this machine that a container wrote to.

    Blocking. A container's root is the machine's, and may make a program there that gives its rights to
    every user of the machine: no capability that is dropped and no mount option prevents that. All files
    are looked at, not those changed since the start alone, as a container's root may rewrite the others
    too. For devices and capabilities of files it lacks MKNOD and SETFCAP, unless the operator allows these.
    """
    for path in writable:
        try:
            stripped, complete = strip_privileges(path, STRIPPED_ENTRIES_MAX)
        except OSError as error:
            log.warning("cannot look for setuid files in %s: %s", path, error.strerror)
            continue
        if stripped:
            log.warning("took setuid and setgid from %d files that a job could make in %s", stripped, path)
        if not complete:
            log.warning("a job may have left setuid files in %s: not all of it could be looked at", path)


def _first(errors: BaseExceptionGroup[E]) -> E:
    """The first of the errors of tasks that ran together; the others followed from it."""
    one = errors.exceptions[0]
    return _first(one) if isinstance(one, BaseExceptionGroup) else one
