"""A WASM worker's request: modules, directories, limits, from a workload.

The worker opens what it is told to open; everything that comes from the job (targets, paths
inside inputs) is resolved and checked here.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from p2pnode.core.wire.spec import NetworkType
from p2pnode.core.wire.spec import WasmTask as WasmTask
from p2pnode.engines.wasm.worker.output import MARK_SIZE_BYTES
from p2pnode.engines.workload import Workload, environment, file_size_bytes_max
from p2pnode.system.opening import open_beneath, open_regular
from p2pnode.system.removal import clear_directory

from .compiled import Module
from .worker import WORKER_ID

# A wasm32 memory cannot be larger.
MEMORY_BYTES_MAX = 4 * 1024**3
# The worker may take this beside the program's memory: interpreter, runtime, tables. Measured: 60 MB.
WORKER_MEMORY_BYTES_MAX = 256 * 1024**2
# The runtime has as many threads as the machine has processors, each with a stack of 2 MiB.
THREAD_MEMORY_BYTES_MAX = 4 * 1024**2
# See the core and the component specification: a version, and a layer that tells the two apart.
MODULE_MAGIC = b"\0asm\x01\0\0\0"
COMPONENT_MAGIC = b"\0asm\x0d\0\x01\0"


class UnsuitableProgram(Exception):
    """The workload cannot run here; the message is for the job's author."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request to a worker, but for the compiled code of its modules, which is still to be found."""

    module: Module
    # Under the name that it is imported by.
    libraries: tuple[tuple[str, Module], ...]
    fields: dict[str, Any]


def prepare(workload: Workload) -> Prepared:
    """The worker's request; makes empty result directories, blocking.

    Raises `UnsuitableProgram` and `OSError`.
    """
    task = workload.task.engine
    if not isinstance(task, WasmTask):
        raise UnsuitableProgram(f"the WASM engine cannot run an engine of type {type(task).__name__}")
    if workload.task.network.type is not NetworkType.NONE:
        raise UnsuitableProgram(
            f"a WASM program has no network, so Network Type {workload.task.network.type} cannot be given"
        )
    scratch = workload.directory / "tmp"
    scratch.mkdir(exist_ok=True)
    for directory in (scratch, *(mount.host_path for mount in workload.results)):
        clear_directory(directory)
        if os.geteuid() == 0:
            # The worker of a root node is nobody.
            os.chown(directory, WORKER_ID, WORKER_ID)
    module = _module(workload, task.entry_module)
    # A library is imported under its file's name without the suffix.
    libraries = tuple((PurePosixPath(name).stem, _module(workload, name)) for name in task.import_modules)
    for name, library in libraries:
        if library.component:
            raise UnsuitableProgram(
                f"the library {name} is a component, and only core modules are linked here: "
                "compose the components first (wac plug)"
            )
    execution_s = workload.task.timeouts.execution_s
    memory_bytes = min(workload.task.resources.memory_bytes, MEMORY_BYTES_MAX)
    return Prepared(
        module=module,
        libraries=libraries,
        fields={
            "what": "run",
            "mark": secrets.token_hex(MARK_SIZE_BYTES),
            "component": module.component,
            "argv": [PurePosixPath(task.entry_module).name, *task.parameters],
            # Programs of Go take their first directory for the current one, where nothing says another.
            "environment": {"PWD": "/", **environment(workload)},
            "entrypoint": task.entrypoint,
            "preopens": _preopens(workload, (task.entry_module, *task.import_modules), scratch),
            "memory_bytes": memory_bytes,
            "limits": {
                "data_bytes": memory_bytes + _worker_memory_bytes(),
                "file_bytes": file_size_bytes_max(workload),
                # One thread computes, so the node's own timer comes first, if the node still runs.
                "cpu_s": math.ceil(execution_s) + 1 if execution_s else 0,
            },
        },
    )


def _worker_memory_bytes() -> int:
    return WORKER_MEMORY_BYTES_MAX + THREAD_MEMORY_BYTES_MAX * (os.cpu_count() or 1)


def _preopens(workload: Workload, modules: tuple[str, ...], scratch: Path) -> list[tuple[str, str, bool]]:
    """(host directory, guest path, writable) for every mount. WASI can open directories only.

    A single file is therefore hard-linked (or copied) into a directory of its own that stands in for
    its target's parent. A module of the program itself is not shown to it.
    """
    opened: dict[str, tuple[str, str, bool]] = {}
    stand_ins: dict[str, Path] = {}
    for mount in (*workload.inputs, *workload.results):
        if not mount.host_path.is_file():
            if _normal(mount.target) in opened:
                raise UnsuitableProgram(f"two mounts have the target {_normal(mount.target)}")
            opened[_normal(mount.target)] = (str(mount.host_path), _normal(mount.target), not mount.read_only)
    for mount in workload.inputs:
        if not mount.host_path.is_file() or mount.target in modules:
            continue
        target = PurePosixPath(_normal(mount.target))
        if not mount.read_only:
            raise UnsuitableProgram(
                f"the input {target} is a file, and a WASM program can write only below a folder: "
                "make that its SourcePath"
            )
        parent = str(target.parent)
        if parent in opened and parent not in stand_ins:
            raise UnsuitableProgram(
                f"the input file {target} lies inside the directory at {parent}: WASI cannot show both"
            )
        if parent not in stand_ins:
            stand_ins[parent] = workload.directory / f"files-{len(stand_ins)}"
            stand_ins[parent].mkdir(exist_ok=True)
            clear_directory(stand_ins[parent])
            opened[parent] = (str(stand_ins[parent]), parent, False)
        _link_or_copy(mount.host_path, stand_ins[parent] / target.name)
    opened.setdefault("/tmp", (str(scratch), "/tmp", True))
    return list(opened.values())


def _module(workload: Workload, guest_path: str) -> Module:
    root, below = _host_path(workload, guest_path)
    name = PurePosixPath(guest_path).name
    try:
        file = open_beneath(root, below)
    except OSError as error:
        raise UnsuitableProgram(f"the module {name} is no file that can be read: {error.strerror}") from error
    with file:
        magic = file.read(len(MODULE_MAGIC))
        if magic not in (MODULE_MAGIC, COMPONENT_MAGIC):
            # None of the bytes are shown: whatever is read here is not sent to a stranger.
            what = "of a version that no peer runs" if magic.startswith(b"\0asm") else "not a WASM module"
            raise UnsuitableProgram(f"{name} is {what}")
        file.seek(0)
        content_hash = hashlib.file_digest(file, "sha256").hexdigest()
    return Module(path=root / below, name=name, hash=content_hash, component=magic == COMPONENT_MAGIC)


def _link_or_copy(source: Path, destination: Path) -> None:
    """Give a regular file a second name; through a link to one nothing is had."""
    with open_regular(source) as file:
        status = os.fstat(file.fileno())
        try:
            os.link(source, destination, follow_symlinks=False)
        except OSError:
            with destination.open("wb") as copy:
                shutil.copyfileobj(file, copy)
            return
        made = destination.lstat()
        if (made.st_dev, made.st_ino) != (status.st_dev, status.st_ino):
            destination.unlink()
            raise OSError(errno.ESTALE, "an input was replaced while it was read")


def _host_path(workload: Workload, guest_path: str) -> tuple[Path, PurePosixPath]:
    """The input that holds the file that the program would see at `guest_path`, and where.

    Raises `UnsuitableProgram`.
    """
    wanted = PurePosixPath(_normal(guest_path))
    for mount in workload.inputs:
        target = PurePosixPath(_normal(mount.target))
        if not wanted.is_relative_to(target):
            continue
        # Not resolved itself: an input is no link, unless somebody put one in its place.
        root = mount.host_path.parent.resolve() / mount.host_path.name
        path = (root / wanted.relative_to(target)).resolve()
        # An input may hold a link that leads out of it.
        if not root.is_symlink() and path.is_file() and path.is_relative_to(root):
            return root, PurePosixPath(path.relative_to(root))
    raise UnsuitableProgram(
        f"no input source holds the module {guest_path}: its Target must be that path or a folder above it"
    )


def _normal(target: str) -> str:
    return os.path.normpath("/" + target.lstrip("/"))
