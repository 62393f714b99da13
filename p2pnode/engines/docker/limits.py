"""Whether the engine can hold containers to their limits: some start them without, and only log that."""

from __future__ import annotations

from . import api
from .answers import Info, PodmanInfo

# The controllers of control groups that a container's limits are held by.
NEEDED = ("cpu", "memory", "pids")
# The oldest version of Podman's own API whose answer has them.
_PODMAN_INFO = "/v3.0.0/libpod/info"


async def missing(socket_path: str) -> str:
    """Why containers would go without their limits, or ""; raises `EngineGone`, `EngineRefused`."""
    info = await api.ask(socket_path, "/info", Info)
    # Podman as a user says that it has limits also where it gives none (control groups v1).
    podman = await api.ask(socket_path, _PODMAN_INFO, PodmanInfo) if info.buildah_version else None
    return told(info, podman)


def told(info: Info, podman: PodmanInfo | None = None) -> str:
    """Why containers would go without limits by the engine's words; what it does not speak of it has."""
    says = dict(zip(NEEDED, (info.cpu_cfs_quota, info.memory_limit, info.pids_limit), strict=True))
    controllers = podman.host.cgroup_controllers if podman else None
    lacking = [one for one in NEEDED if not says[one] or (controllers is not None and one not in controllers)]
    if not lacking:
        return ""
    return (
        f"the engine cannot limit what containers take, as jobs are promised: its control groups lack "
        f"{', '.join(lacking)} (an engine that is not root's needs control groups v2, and systemd's "
        f"Delegate={' '.join(NEEDED)} for user@.service; some kernels need cgroup_enable=memory at boot)"
    )
