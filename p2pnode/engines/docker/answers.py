"""The Docker engine's answers, checked: an engine is another program, and may be any version.

Only the fields that are used, each of its type; the engine's words are valid text and no longer than that.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct, field

T = TypeVar("T")
Pid = Annotated[int, Meta(ge=0, le=2**31)]
Size = Annotated[int, Meta(ge=0)]


class StateAnswer(Struct, rename="pascal"):
    status: str
    running: bool
    pid: Pid
    exit_code: int
    out_of_memory: bool = field(name="OOMKilled")


class Mounted(Struct, rename="pascal"):
    type: str = ""
    source: str = ""
    rw: bool = field(name="RW", default=False)


class Config(Struct, rename="pascal"):
    labels: dict[str, str] | None = None


class GraphDriver(Struct, rename="pascal"):
    # Strings, and for some drivers null.
    data: dict[str, str | None] | None = None


class Container(Struct, rename="pascal"):
    id: str
    image: str
    state: StateAnswer
    config: Config
    mounts: list[Mounted] | None = None
    graph_driver: GraphDriver | None = None
    size_rw: Size | None = None

    @property
    def labels(self) -> dict[str, str]:
        return self.config.labels or {}

    @property
    def upper_directory(self) -> str:
        """Where the container's own layer lies, "" where its driver has no such place."""
        data = self.graph_driver.data if self.graph_driver else None
        return (data or {}).get("UpperDir") or ""


class Listed(Struct, rename="pascal"):
    """A container in the list of them."""

    id: str
    state: str = ""
    labels: dict[str, str] | None = None
    mounts: list[Mounted] | None = None


class ImageAnswer(Struct, rename="pascal"):
    id: str
    os: str
    architecture: str
    config: Config | None = None

    @property
    def labels(self) -> dict[str, str]:
        return (self.config.labels if self.config else None) or {}


class Named(Struct, rename="pascal"):
    """An image in the list of them."""

    repo_tags: list[str] | None = None
    repo_digests: list[str] | None = None
    size: Size = 0


class Discovered(Struct, rename="pascal"):
    """A device that the engine knows by its name, as CDI has it."""

    source: str = ""
    id: str = field(name="ID", default="")


class Info(Struct, rename="pascal"):
    runtimes: dict[str, msgspec.Raw] | None = None
    discovered_devices: list[Discovered] | None = None
    server_version: str = ""
    docker_root_dir: str = ""
    # Podman alone says it.
    buildah_version: str = ""
    # Whether it can give these limits.
    memory_limit: bool = True
    cpu_cfs_quota: bool = True
    pids_limit: bool = True


class PodmanHost(Struct, rename="camel"):
    cgroup_controllers: list[str] | None = None


class PodmanInfo(Struct):
    """Podman's word of itself in its own API, of which Docker's has only a part."""

    host: PodmanHost


class PullDetail(Struct):
    current: int = 0
    total: int = 0


class PullEvent(Struct, rename="camel"):
    """A line of what the engine tells of a pull."""

    status: str = ""
    id: str = ""
    error: str = ""
    progress_detail: PullDetail | None = None


class ExecCreated(Struct, rename="pascal"):
    # Becomes a part of a path.
    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{1,128}\Z")]


class ExecState(Struct, rename="pascal"):
    """A program that was begun in a container."""

    running: bool
    container: str = field(name="ContainerID")
    exit_code: Annotated[int, Meta(ge=0, le=255)] | None = None
    # 0: it did not begin.
    pid: Pid = 0


class Waited(Struct, rename="pascal"):
    status_code: int


class RefusalAnswer(Struct):
    message: str


class BadAnswer(ValueError):
    """The message says what is wrong with it."""


def decode(data: bytes, kind: type[T]) -> T:
    """Raises `BadAnswer`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"the Docker engine's answer cannot be read: {error}") from error
