"""The host configuration of an execution's container: its limits, fence, mounts, ports and cards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from p2pnode.core.values.images import Say
from p2pnode.engines.workload import Workload
from p2pnode.system.lazily import Lazily

from . import ports
from .gpus import GivenCards

if TYPE_CHECKING:
    import docker
    import docker.types
else:
    docker = Lazily("docker")

# A shell pipeline needs ten; a large Java or Go program some hundred.
PROCESSES_MAX = 1_024
# One process's. The kernel's own hard limit by default: an engine in a container often may not give more.
OPEN_FILES_MAX = 4_096
# The engine takes 6 MiB, but runc sets the container up inside the limit: with control groups v2 the kernel
# now and then kills it below 12 MiB.
MEMORY_BYTES_MIN = 16 * 1024**2
# The engine's own lower limit.
CPU_MILLIS_MIN = 10
# The engine's own copy of the output, from which a restarted node takes what it missed.
LOG_RING = {"max-size": "16m", "max-file": "2"}
# Where programs expect to write, if the rest of their image is read-only; each counts as memory.
SCRATCH = ("/tmp", "/var/tmp", "/run")


def of_execution(
    workload: Workload,
    network_mode: str,
    mappings: Sequence[ports.PortMapping],
    name_servers: Sequence[str],
    says: frozenset[Say],
    given: frozenset[str],
    gpus: GivenCards,
    cores: int,
    processes_max: int | None,
) -> dict[str, Any]:
    """The options of `create_host_config`; see `Sdk.create`.

    `cores` are the engine's machine's, `processes_max` is a limit of one user's processes, None for none.
    """
    resources = workload.task.resources
    memory = max(resources.memory_bytes, MEMORY_BYTES_MIN)
    return {
        "network_mode": network_mode,
        "dns": list(name_servers) or None,
        "port_bindings": {f"{one.port}/tcp": (one.host_address, one.host_port) for one in mappings},
        "mounts": _mounts(workload),
        "mem_limit": memory,
        # The same number: memory and swap together, that is no swap.
        "memswap_limit": memory,
        # /dev/shm counts as memory of the container, whose limit is then the only one.
        "shm_size": memory,
        "nano_cpus": min(max(resources.cpu_millis, CPU_MILLIS_MIN), cores * 1000) * 1_000_000,
        "pids_limit": PROCESSES_MAX,
        "ulimits": ulimits(processes_max),
        "log_config": docker.types.LogConfig(type="json-file", config=LOG_RING),
        # PID 1 ignores signals that it does not handle, its own crash included.
        "init": True,
        **_fence(says, given, memory),
        **_cards(gpus),
    }


def _fence(says: frozenset[Say], given: frozenset[str], memory_bytes: int) -> dict[str, Any]:
    """The options that keep a program from more than it was given, but for what is said of its image."""
    options: dict[str, Any] = {"cap_add": sorted(given)}
    if Say.CAPABILITIES not in says:
        options["cap_drop"] = ["ALL"]
    if Say.NEW_PRIVILEGES not in says:
        options["security_opt"] = ["no-new-privileges=true"]
    if Say.READ_ONLY_ROOT in says and Say.WRITABLE_ROOT not in says:
        scratch = f"rw,exec,nosuid,nodev,mode=1777,size={memory_bytes // 2}"
        options |= {"read_only": True, "tmpfs": dict.fromkeys(SCRATCH, scratch)}
    return options


def ulimits(processes_max: int | None) -> list[docker.types.Ulimit]:
    """The limits of each process; `processes_max` is of all processes of a user, None for none."""
    found = [
        # A core dump is written by the host's kernel, outside every limit.
        docker.types.Ulimit(name="core", soft=0, hard=0),
        docker.types.Ulimit(name="nofile", soft=OPEN_FILES_MAX, hard=OPEN_FILES_MAX),
    ]
    if processes_max is not None:
        found.append(docker.types.Ulimit(name="nproc", soft=processes_max, hard=processes_max))
    return found


def _cards(gpus: GivenCards) -> dict[str, Any]:
    """The cards that a container gets: never a count, which gives two containers the same."""
    options: dict[str, Any] = {}
    if gpus.driver:
        capabilities = [list(gpus.capabilities)] if gpus.capabilities else []
        options["device_requests"] = [
            docker.types.DeviceRequest(
                driver=gpus.driver, device_ids=list(gpus.device_ids), capabilities=capabilities
            )
        ]
    if gpus.nodes:
        # The right to make others (m) is left out.
        options["devices"] = [f"{node}:{node}:rw" for node in gpus.nodes]
        options["group_add"] = list(map(str, gpus.groups))
    return options


def _mounts(workload: Workload) -> list[docker.types.Mount]:
    """Bind mounts. Not `volumes`: for those the engine makes a missing source, as root."""
    return [
        docker.types.Mount(
            target=mount.target, source=str(mount.host_path), type="bind", read_only=mount.read_only
        )
        for mount in (*workload.inputs, *workload.results)
    ]
