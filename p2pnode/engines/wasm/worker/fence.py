"""A worker's giving up of rights before the module runs, so that a hole in the runtime leads nowhere.

Limits (`limit`), then rights (`confine`): Landlock leaves it the directories of the program,
a seccomp filter takes sockets, other programs, processes and the kernel's rarer doors, and as
root it becomes `nobody`. A kernel without Landlock or seccomp gives less, without complaint;
WASM itself is the first fence. For what they do see landlock(7), seccomp(2), capabilities(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
from collections.abc import Sequence
from contextlib import suppress

from . import WORKER_ID

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_SET_NAME, _PR_SET_NO_NEW_PRIVS = 1, 8, 15, 38
_CAPABILITY_VERSION = 0x20080522
# Lets a worker of root, no longer root, use files of the program's directories whoever owns them.
_CAP_DAC_OVERRIDE = 1

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION_FLAG = 1
_LANDLOCK_PATH_BENEATH = 1
# How many kinds of access to files each version of Landlock knows; later versions know as many as the last.
_LANDLOCK_FILE_RIGHTS = (13, 14, 15, 15, 16)
_LANDLOCK_READ = 1 << 2 | 1 << 3
# Write, remove, make directories, files and links, rename between directories, truncate.
_LANDLOCK_WRITE = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13 | 1 << 14
# TCP bind and connect (since version 4); abstract sockets and signals to others (since version 6).
_LANDLOCK_NETWORK, _LANDLOCK_SCOPES = 3, 3

_SECCOMP_SET_MODE_FILTER = 1
# All threads that there are already, too.
_SECCOMP_ALL_THREADS = 1
_CLONE_THREAD = 0x10000
# Per machine: its audit number, seccomp, clone, clone3, and what is refused: socket, bind, listen, accept,
# accept4, connect, execve, execveat, fork, vfork, kill, rt_sigqueueinfo, pidfd_send_signal, ptrace,
# process_vm_readv and _writev, mount, umount2, pivot_root, chroot, unshare, setns, bpf, perf_event_open,
# userfaultfd, add_key, request_key, keyctl, io_uring_setup, init_module, finit_module, kexec_load,
# open_by_handle_at. From the kernel's syscall tables.
_MACHINES = {
    "x86_64": (0xC000003E, 317, 56, 435, (
        41, 49, 50, 43, 288, 42, 59, 322, 57, 58, 62, 129, 424, 101, 310, 311, 165, 166, 155, 161, 272, 308,
        321, 298, 323, 248, 249, 250, 425, 175, 313, 246, 304,
    )),
    "aarch64": (0xC00000B7, 277, 220, 435, (
        198, 200, 201, 202, 242, 203, 221, 281, 129, 138, 424, 117, 270, 271, 40, 39, 41, 51, 97, 268,
        280, 241, 282, 217, 218, 219, 425, 105, 273, 104, 265,
    )),
}  # fmt: skip
# Classic BPF: load a word, compare, test bits, return.
_LOAD, _EQUAL, _ATLEAST, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
# Programs that use select() can have this many; the runtime itself needs some ten.
_OPEN_FILES_MAX = 1_024
# x86_64 answers to the numbers of its 32-bit relative from here on.
_X32_FIRST = 0x40000000


def limit(limits: dict[str, int]) -> None:
    """Set this process's limits: `data_bytes` of memory of its own, `file_bytes`, and `cpu_s`, 0 for none.

    Open files have one limit for all.

    Not the address space (RLIMIT_AS): the runtime reserves, and does not use, 4 GiB per memory.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    open_files = _OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(_OPEN_FILES_MAX, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    resource.setrlimit(resource.RLIMIT_DATA, (limits["data_bytes"],) * 2)
    if limits["file_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_bytes"],) * 2)
    if limits["cpu_s"]:
        # The soft limit's signal tells this end apart; the hard one is for who would catch it.
        resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_s"], limits["cpu_s"] + 1))


def enclose(parent: int) -> None:
    """Give up, for good, what neither a program nor opening its files needs: the fence before the request.

    Raises OSError if the system has a fence but did not put it up.
    """
    if platform.system() != "Linux":
        return
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _end_with(parent)
    _filter_system_calls()


def confine(directories: Sequence[tuple[str, bool]], parent: int) -> None:
    """Give up the rest, after `enclose`; `directories` are the program's, (path, writable).

    Raises OSError if the system has a fence but did not put it up.
    """
    if platform.system() != "Linux":
        return
    fenced = _landlock(directories)
    if os.geteuid() == 0:
        _prctl(_PR_SET_KEEPCAPS, 1)
        # A root that may not change its id, in a container, keeps it and loses the rest.
        with suppress(PermissionError):
            os.setgroups([])
            os.setresgid(WORKER_ID, WORKER_ID, WORKER_ID)
            os.setresuid(WORKER_ID, WORKER_ID, WORKER_ID)
    _drop_capabilities(keep_files=fenced)
    # The change of id clears it.
    _end_with(parent)


def show_as(name: str) -> None:
    """Name this process, as `ps -o comm` and `top` show it; no more than 15 letters count."""
    if platform.system() == "Linux":
        _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def _end_with(parent: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Should the parent have died before, nobody would tell us.
    if os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise _error(f"prctl {option}")


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def _landlock(directories: Sequence[tuple[str, bool]]) -> bool:
    """Leave only these directories, no TCP, no signals to others; False if the kernel cannot."""
    version = _libc.syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION_FLAG)
    if version < 1:
        return False
    handled = (1 << _LANDLOCK_FILE_RIGHTS[min(version, len(_LANDLOCK_FILE_RIGHTS)) - 1]) - 1
    attributes = struct.pack(
        "=QQQ", handled, _LANDLOCK_NETWORK if version >= 4 else 0, _LANDLOCK_SCOPES if version >= 6 else 0
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _libc.syscall(_LANDLOCK_CREATE, attributes, size, 0)
    if ruleset < 0:
        raise _error("landlock_create_ruleset")
    for path, writable in directories:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rights = (_LANDLOCK_READ | _LANDLOCK_WRITE if writable else _LANDLOCK_READ) & handled
        rule = struct.pack("=Qi", rights, descriptor)
        if _libc.syscall(_LANDLOCK_ADD, ruleset, _LANDLOCK_PATH_BENEATH, rule, 0) != 0:
            raise _error("landlock_add_rule")
        os.close(descriptor)
    if _libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) != 0:
        raise _error("landlock_restrict_self")
    os.close(ruleset)
    return True


def _drop_capabilities(*, keep_files: bool) -> None:
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    for kept in (1 << _CAP_DAC_OVERRIDE, 0) if keep_files else (0,):
        # Effective, permitted, inheritable; the second half of each is for numbers above 31.
        if _libc.capset(header, struct.pack("=6I", kept, kept, 0, 0, 0, 0)) == 0:
            return
    raise _error("capset")


def _filter_system_calls() -> None:
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return
    audit, seccomp, clone, clone3, refused = machine
    program = _program(audit, clone, clone3, refused)
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("@HxxxxxxP", len(program), ctypes.addressof(buffer))
    if _libc.syscall(seccomp, _SECCOMP_SET_MODE_FILTER, _SECCOMP_ALL_THREADS, filter_) != 0:
        if ctypes.get_errno() in (errno.ENOSYS, errno.EINVAL):
            return
        raise _error("seccomp")


def _program(
    audit: int, clone: int, clone3: int, refused: tuple[int, ...]
) -> list[tuple[int, int, int, int]]:
    """The filter: (operation, jump if true, jump if false, operand) of each step. See seccomp(2)."""
    refuse = (_RETURN, 0, 0, 0x00050000 | errno.EPERM)
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    steps += [(_ATLEAST, 0, 1, _X32_FIRST), refuse]
    for number in refused:
        steps += [(_EQUAL, 0, 1, number), refuse]
    # clone3 hides its flags in memory; without it the C library falls back on clone.
    steps += [(_EQUAL, 0, 1, clone3), (_RETURN, 0, 0, 0x00050000 | errno.ENOSYS)]
    # clone makes threads, not processes.
    steps += [(_EQUAL, 0, 3, clone), (_LOAD, 0, 0, 16), (_BITS, 1, 0, _CLONE_THREAD), refuse]
    return [*steps, (_RETURN, 0, 0, _ALLOW)]
