"""The GPUs that containers can be given here: NVIDIA's, by a device request to the Docker engine.

They count only where the driver answers and the engine can pass them on; else a job would be
accepted that cannot start.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from . import docker_answers, docker_http
from .docker_http import EngineGone, EngineRefused

# A driver that has lost its card takes many seconds to say so.
DRIVER_S_MAX = 10.0
# How often the driver is asked: the first question after a while wakes the cards, which takes seconds.
LOOK_INTERVAL_S = 600.0
LABELLED_MAX = 8
# An exabyte in MiB.
MEMORY_DIGITS_MAX = 12
LABEL_LENGTH_MAX = 256
_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
# What the engine itself looks for before it offers the driver "nvidia" for device requests.
_HOOK = "nvidia-container-runtime-hook"


@dataclass(frozen=True, slots=True)
class Gpu:
    model: str
    memory_mib: int


def labels(gpus: Sequence[Gpu]) -> dict[str, str]:
    """What constraints select by: `GPU-0`, `GPU-0-Memory` and so on, as Bacalhau has them."""
    found = {}
    for number, gpu in enumerate(gpus[:LABELLED_MAX]):
        found[f"GPU-{number}"] = gpu.model.replace(" ", "-")[:LABEL_LENGTH_MAX]
        found[f"GPU-{number}-Memory"] = f"{gpu.memory_mib}-MiB"
    return found


def parse(text: str) -> tuple[Gpu, ...]:
    """Of the driver's table, a card a line: `NVIDIA H100 80GB HBM3, 81559`; what has no size is no card."""
    found = []
    for line in text.splitlines():
        model, _, memory = line.rpartition(",")
        if model and memory.strip().isdecimal() and len(memory.strip()) <= MEMORY_DIGITS_MAX:
            found.append(Gpu(model.strip(), int(memory)))
    return tuple(found)


class Gpus:
    """What is known of them, looked up now and then."""

    def __init__(self, socket_path: str) -> None:
        self._socket = socket_path
        self._found: tuple[Gpu, ...] = ()
        self._looked_at = float("-inf")

    async def usable(self) -> tuple[Gpu, ...]:
        """The cards that a container can be given now."""
        if trio.current_time() - self._looked_at >= LOOK_INTERVAL_S:
            self._found = await trio.to_thread.run_sync(ask_driver)
            self._looked_at = trio.current_time()
        return self._found if self._found and await self._passed_on() else ()

    async def _passed_on(self) -> bool:
        try:
            info = await docker_http.ask(self._socket, "/info", docker_answers.Info)
        except (EngineGone, EngineRefused):
            return False
        return "nvidia" in (info.runtimes or ()) or shutil.which(_HOOK) is not None


def ask_driver() -> tuple[Gpu, ...]:
    """The cards that the driver sees; none where there is no driver. Blocking."""
    if not shutil.which(_QUERY[0]):
        return ()
    try:
        done = subprocess.run(
            _QUERY, capture_output=True, text=True, errors="replace", timeout=DRIVER_S_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return parse(done.stdout) if done.returncode == 0 else ()
