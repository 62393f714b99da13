"""Containers and images through the docker SDK: what is asked of the engine in one short call.

The SDK blocks, so each call has a thread of a limiter of our own: trio's default limiter is the
whole node's. Whatever can last is in `api`.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from p2pnode.core.values.images import Say
from p2pnode.core.wire.spec import DockerTask
from p2pnode.core.wire.states import Fault
from p2pnode.core.worker import blame
from p2pnode.engines.http import pause
from p2pnode.engines.workload import Workload, environment, first_line
from p2pnode.system.lazily import Lazily

from . import host_config, podman, ports
from .gpus import GivenCards

if TYPE_CHECKING:
    import docker
    import docker.auth
    import docker.errors
    import docker.types
    import docker.utils
else:
    # The SDK and its HTTP client are 8 MB, which a node without a Docker engine does not need.
    docker = Lazily("docker")

# The engine starts about 7 containers a second on two cores; more at once only makes each later.
STARTS_AT_ONCE = 3
THREADS_MAX = 8
TIMEOUT_S = 60
# Docker's own, "bridge", lets containers reach each other.
BRIDGE = "p2pnode-bridge"
PAUSE_IMAGE = "p2pnode/pause"
# The image of containers that are never started: there is nothing in it.
REACH_IMAGE = "p2pnode/reach:1"
# An engine whose images are in containerd says the first; the others are of the containerd of the system.
CONTAINERD_STORE = "io.containerd.snapshotter.v1"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CONTAINERD_ROOT = "/var/lib/containerd"
# "{}", as a login is sent.
_NO_LOGIN = "e30="

T = TypeVar("T")


class ContainerFailed(Exception):
    """The execution cannot go on; the message says why, `fault` whose fault that is."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault


class Sdk:
    """The engine behind a socket. Every method raises `ContainerFailed`, and OSError if it is gone."""

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path
        self._threads = trio.CapacityLimiter(THREADS_MAX)
        self._starts = trio.Semaphore(STARTS_AT_ONCE)
        self._making_bridge = trio.Lock()
        self._client: docker.APIClient | None = None
        # The engine's machine, asked once, as each question takes some 8 ms.
        self._platform = ""
        self._cores = 1
        # Where the engine keeps its own, and where images are unfolded.
        self._root = ""
        self._images_root = ""
        self._is_podman = False
        # A limit of one user's processes; None: the engine's own.
        self._processes_max: int | None = None

    async def call(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """Run something blocking in one of the engine's threads."""
        return await trio.to_thread.run_sync(partial(function, *args, **options), limiter=self._threads)

    async def platform(self) -> str:
        """The platform that the engine runs, such as linux/amd64."""
        await self._connected()
        return self._platform

    async def platforms(self, image: str, login: bool) -> set[str]:
        """The platforms that the image's registry has it for; none where that says nothing."""
        client = await self._connected()
        try:
            found = await self.call(client.inspect_distribution, image, auth_config=_auth(login))
        except docker.errors.DockerException:
            # The pull meets the same trouble and says what it is.
            return set()
        platforms = found.get("Platforms") or []
        return {f"{one.get('os')}/{one.get('architecture')}" for one in platforms}

    async def root(self) -> str:
        """Where images are unfolded, on the engine's machine."""
        await self._connected()
        return self._images_root

    async def login_header(self, image: str, login: bool) -> str:
        """For X-Registry-Auth: the Docker configuration's login for an image's registry, or none."""
        client = await self._connected()
        return await self.call(_login_header, client, image) if login else _NO_LOGIN

    async def create(
        self,
        workload: Workload,
        task: DockerTask,
        network_mode: str,
        labels: dict[str, str],
        variables: dict[str, str],
        mappings: Sequence[ports.PortMapping],
        name_servers: Sequence[str],
        says: frozenset[Say],
        given: frozenset[str],
        gpus: GivenCards,
    ) -> None:
        """Create, not start, the execution's container.

        `mappings` and `name_servers` are of a Bridge network, `says` is what holds for this image,
        `given` are the program's Linux capabilities, `gpus` its own cards.
        """
        client = await self._connected()
        options = host_config.of_execution(
            workload,
            network_mode,
            mappings,
            name_servers,
            says,
            given,
            gpus,
            self._cores,
            self._processes_max,
        )
        try:
            await self.call(
                client.create_container,
                image=task.image,
                name=workload.execution_id,
                command=list(task.parameters) or None,
                entrypoint=None if task.entrypoint is None else list(task.entrypoint),
                environment=environment(workload) | variables | gpus.variables,
                ports=[(one.port, "tcp") for one in mappings],
                working_dir=task.working_directory or None,
                labels=labels,
                host_config=client.create_host_config(**options),
            )
        except docker.errors.APIError as error:
            reason, fault = blame.of_create(error.status_code or 0, self._text(error))
            raise ContainerFailed(fault, reason) from error

    async def bridge(self) -> tuple[str, str]:
        """The network of all Bridge containers, in which they do not reach each other; made if need be.

        Its id, and the interface of the engine's machine that leads there.
        """
        client = await self._connected()
        if self._is_podman:
            raise ContainerFailed(Fault.PEER, podman.NO_BRIDGE)
        async with self._making_bridge:
            try:
                # The engine takes a name for a part of one.
                found = await self.call(client.networks, names=[BRIDGE])
                if all(one["Name"] != BRIDGE for one in found):
                    options = {"com.docker.network.bridge.enable_icc": "false"}
                    await self.call(client.create_network, BRIDGE, "bridge", options, check_duplicate=True)
                    found = await self.call(client.networks, names=[BRIDGE])
            except docker.errors.APIError as error:
                # 409: another node of this machine was quicker.
                if error.status_code != 409:
                    reason = f"cannot set up Network Type Bridge: {self._text(error)}"
                    raise ContainerFailed(Fault.PEER, reason) from error
                found = await self.call(client.networks, names=[BRIDGE])
        for one in found:
            if one["Name"] == BRIDGE:
                own_name = (one.get("Options") or {}).get("com.docker.network.bridge.name")
                return one["Id"], own_name or f"br-{one['Id'][:12]}"
        raise ContainerFailed(Fault.PEER, f"the network {BRIDGE} was removed as soon as it had been made")

    async def create_pause(self, name: str, labels: dict[str, str], gate: Path) -> None:
        """Create a container with a network namespace of its own and no network; see `pause`.

        Its sockets will be had from the directory `gate`.
        """
        client = await self._connected()
        image = f"{PAUSE_IMAGE}:{pause.image_tag()}"
        try:
            try:
                await self.call(client.inspect_image, image)
            except docker.errors.ImageNotFound:
                await self._import(pause.image_tar(), image, 'ENTRYPOINT ["/pause"]')
            own_config = client.create_host_config(
                network_mode="none",
                # Names are resolved by the node, and only those of the job's domains.
                dns=["127.0.0.1"],
                mounts=[docker.types.Mount(target=pause.DIRECTORY, source=str(gate), type="bind")],
                read_only=True,
                mem_limit=host_config.MEMORY_BYTES_MIN,
                pids_limit=1,
                ulimits=host_config.ulimits(self._processes_max),
                cap_drop=["ALL"],
                # Ports 53, 80 and 443.
                cap_add=["NET_BIND_SERVICE"],
                security_opt=["no-new-privileges=true"],
                log_config=docker.types.LogConfig(type="none"),
            )
            await self.call(
                client.create_container, image=image, name=name, labels=labels, host_config=own_config
            )
        except docker.errors.APIError as error:
            raise ContainerFailed(
                Fault.PEER, f"cannot set up Network Type HTTP: {self._text(error)}"
            ) from error

    async def create_reach(self, name: str, labels: dict[str, str], directory: Path, place: str) -> None:
        """Create a container that is never started, with `directory` at `place`; see `reach`."""
        client = await self._connected()
        try:
            try:
                await self.call(client.inspect_image, REACH_IMAGE)
            except docker.errors.ImageNotFound:
                await self._import(_empty_tar(), REACH_IMAGE, 'CMD ["none"]')
            mount = docker.types.Mount(target=place, source=str(directory), type="bind")
            own_config = client.create_host_config(network_mode="none", mounts=[mount], cap_drop=["ALL"])
            await self.call(
                client.create_container, image=REACH_IMAGE, name=name, labels=labels, host_config=own_config
            )
        except docker.errors.APIError as error:
            raise ContainerFailed(Fault.PEER, f"cannot make a helper: {self._text(error)}") from error

    async def _import(self, data: bytes, image: str, change: str) -> None:
        """Make an image of an archive; raises the SDK's own errors."""
        client = await self._connected()
        # Podman overlooks a tag by itself.
        await self.call(client.import_image_from_data, data, repository=image, changes=[change])

    async def put(self, container: str, path: str, archive: bytes) -> None:
        """Have the engine unpack an archive in a container."""
        client = await self._connected()
        try:
            await self.call(client.put_archive, container, path, archive)
        except docker.errors.APIError as error:
            raise ContainerFailed(Fault.PEER, f"cannot write into a helper: {self._text(error)}") from error

    def get_blocking(self, container: str, path: str) -> Iterator[bytes]:
        """An archive of what a container has at a path; `put` or another was called before. Blocking."""
        assert self._client is not None
        try:
            return iter(self._client.get_archive(container, path)[0])
        except docker.errors.APIError as error:
            raise ContainerFailed(Fault.PEER, f"cannot read from a helper: {self._text(error)}") from error

    async def start(self, container: str) -> None:
        """Start a container that was created, when it is its turn."""
        client = await self._connected()
        try:
            async with self._starts:
                await self.call(client.start, container)
        except docker.errors.APIError as error:
            reason, fault = blame.of_start(self._text(error))
            raise ContainerFailed(fault, reason) from error

    async def _connected(self) -> docker.APIClient:
        """The client, made when first needed: making it asks the engine for its version."""
        if self._client is None:
            is_tcp = self.socket_path.startswith("tcp://")
            url = self.socket_path if is_tcp else f"unix://{self.socket_path}"

            def make() -> docker.APIClient:
                # In a thread, as the SDK is loaded here.
                return docker.APIClient(base_url=url, version="auto", timeout=TIMEOUT_S)

            try:
                client = await self.call(make)
                version = await self.call(client.version)
                self._platform = f"{version['Os']}/{version['Arch']}"
                info = await self.call(client.info)
                self._cores, self._root = int(info["NCPU"]), str(info.get("DockerRootDir") or "")
                self._images_root = images_root(info)
                self._is_podman = podman.is_podman(info)
                self._processes_max = podman.processes_max(info)
            except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
                raise ContainerFailed(Fault.PEER, "what answers is no Docker engine that is known") from error
            except docker.errors.DockerException as error:
                raise ContainerFailed(Fault.PEER, f"no Docker engine: {first_line(str(error))}") from error
            self._client = client
        return self._client

    def _text(self, error: docker.errors.APIError) -> str:
        """The engine's words, without where it keeps things on this machine."""
        text = _text(error)
        return re.sub(re.escape(self._root) + r"[^\s\":,]*", "(the engine)", text) if self._root else text


def images_root(info: dict[str, Any]) -> str:
    """Where an engine that says this of itself has its images; raises TypeError, ValueError."""
    storage = dict(info.get("DriverStatus") or ())
    address = (info.get("Containerd") or {}).get("Address")
    # Docker 29 leaves images to containerd: to the system's, or to one of its own in its own directory.
    if storage.get("driver-type") == CONTAINERD_STORE and address == CONTAINERD_SOCKET:
        return CONTAINERD_ROOT
    return str(info.get("DockerRootDir") or "")


def _auth(login: bool) -> dict[str, str] | None:
    """The login for the SDK: None lets it look for one, an empty one is anonymous."""
    return None if login else {}


def _login_header(client: docker.APIClient, image: str) -> str:
    repository, _ = docker.utils.parse_repository_tag(image)
    try:
        # Somebody may have logged in, or out, since the last time.
        client.reload_config()
        registry, _ = docker.auth.resolve_repository_name(repository)
        found = docker.auth.get_config_header(client, registry)
    except docker.errors.DockerException as error:
        # The error's text may name the operator's files and helpers.
        reason = f"cannot pull image {image}: this peer's Docker configuration cannot be used"
        raise ContainerFailed(Fault.PEER, reason) from error
    return _NO_LOGIN if found is None else found.decode()


def _empty_tar() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        root = tarfile.TarInfo("own")
        root.type, root.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(root)
    return data.getvalue()


def _text(error: docker.errors.APIError) -> str:
    text = error.explanation or str(error)
    return first_line(text.decode(errors="replace") if isinstance(text, bytes) else str(text))
