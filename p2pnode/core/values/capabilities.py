"""Linux capabilities of containers: which root in one has, which a job may ask for, which a peer allows.

A job's list is kept under a key of its engine's Meta, and what a peer allows beyond the usual is among its
labels, so that whoever places a job knows who would take it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# Docker's own, without what reaches beyond the container: NET_RAW forges packets on a shared bridge, MKNOD
# makes devices and SETFCAP programs with rights in directories of the machine, AUDIT_WRITE writes into the
# machine's log, and SYS_CHROOT has been a step of escapes. SETPCAP has no use without these.
DEFAULT = frozenset(
    {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"}
)
# In the machine's own network this takes the machine's ports.
NOT_IN_HOST_NETWORK = frozenset({"NET_BIND_SERVICE"})
_OTHERS = """
AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE DAC_READ_SEARCH IPC_LOCK IPC_OWNER
LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BROADCAST NET_RAW PERFMON SETFCAP SETPCAP
SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME
SYS_TTY_CONFIG WAKE_ALARM
"""
KNOWN = DEFAULT | frozenset(_OTHERS.split())
# In an operator's list: without the usual ones.
NONE = "none"
META_KEY = "p2pnode/capabilities"
_LABEL = "Capability-"


def parse(text: str) -> str:
    """A capability's name without CAP_; raises `ValueError`."""
    name = text.strip().upper().removeprefix("CAP_")
    if name not in KNOWN:
        raise ValueError(f'"{text[:80]}" is no Linux capability, such as NET_RAW or SYS_PTRACE')
    return name


def parse_allowed(text: str) -> str:
    """A word of an operator's list; raises `ValueError`."""
    return NONE if text.strip().lower() == NONE else parse(text)


def allowed_by(words: Iterable[str]) -> frozenset[str]:
    """The capabilities that an operator's list allows."""
    words = frozenset(words)
    return words - {NONE} if NONE in words else DEFAULT | words


def asked_in(meta: Mapping[str, str]) -> frozenset[str]:
    """The capabilities that a job asks for besides the usual; nobody allows a name that is none."""
    return frozenset(name for name in meta.get(META_KEY, "").split(",") if name)


def given(asked: frozenset[str], allowed: frozenset[str], *, host_network: bool) -> frozenset[str]:
    """The capabilities that a container gets of a peer that allows what is asked."""
    usual = DEFAULT - NOT_IN_HOST_NETWORK if host_network else DEFAULT
    return usual & allowed | asked


def labels(allowed: frozenset[str]) -> dict[str, str]:
    """How a peer tells what it allows beyond the usual."""
    return {f"{_LABEL}{name}": "allowed" for name in sorted(allowed - DEFAULT)}


def label_of(name: str) -> str:
    return f"{_LABEL}{name}"


def of_label(key: str) -> str:
    """The capability that a label tells of, or ""."""
    return key.removeprefix(_LABEL) if key.startswith(_LABEL) else ""


def not_allowed(name: str) -> str:
    return f"capability {name} is not allowed (its operator can: serve --allow-capability {name})"
