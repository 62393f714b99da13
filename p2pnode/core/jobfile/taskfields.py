"""Fields in which a task asks things of its peer: resources, time, a network, result folders.

A job without Network, or with Type Default, has no network, unlike in the system whose
job files we read: a peer runs the jobs of strangers, so a network is given only to those
that say which one they need.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from p2pnode.core.values import units
from p2pnode.core.values.domains import DOMAIN_ALLOWED, parse_domain
from p2pnode.core.wire.spec import (
    STOP_GRACE_S,
    STOP_GRACE_S_MAX,
    Network,
    NetworkType,
    Port,
    Resources,
    ResultPath,
    Timeouts,
)

from .converters import Choice, Integer, one_line
from .kinds import Field, ListOf, ObjectOf, Value, when
from .problems import Path, Report
from .sources import PATH

# Names of folders in a result; UnixFS and every file system hold 255 bytes.
_FILE_NAME_SIZE_BYTES_MAX = 255
# The files of a result, beside the folders of the job.
_RESULT_FILES = ("stdout", "stderr", "exitcode")
_COMMA = re.compile(r"\s*\d+,\d+")
_PORT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


_RESOURCES = Resources()


def _resources(values: dict[str, Any], path: Path, report: Report) -> Resources:
    return Resources(
        cpu_millis=values.get("CPU") or _RESOURCES.cpu_millis,
        memory_bytes=values.get("Memory") or _RESOURCES.memory_bytes,
        disk_bytes=values.get("Disk", 0),
        gpus=values.get("GPU", 0),
    )


def _amount(parse: Callable[[str], int], expected: str, pattern: str) -> Value:
    """An amount, where an empty text stands for the default, which is 0 here."""

    def read(text: str) -> int:
        try:
            return parse(text) if text.strip() else 0
        except ValueError as exc:
            if _COMMA.match(text):
                raise ValueError(
                    f"{exc}; decimals have a dot: {text.strip().replace(',', '.')[:80]}"
                ) from None
            raise

    return Value(read, expected, rf"{pattern}|^\s*$")


def _memory(text: str) -> int:
    if not (size_bytes := units.parse_bytes(text)):
        raise ValueError(f'"{text}" is no memory to run with; leave it out for the default')
    return size_bytes


RESOURCES = ObjectOf(
    Field(
        "CPU",
        _amount(units.parse_cpu, units.CPU_ALLOWED, units.CPU_PATTERN),
        about=f"Processor time that each execution gets: {units.CPU_ALLOWED}.",
        default=units.format_cpu(_RESOURCES.cpu_millis),
        example="250m",
    ),
    Field(
        "Memory",
        _amount(_memory, units.BYTES_ALLOWED, units.BYTES_PATTERN),
        about=f"Memory that each execution gets: {units.BYTES_ALLOWED}.",
        default=units.format_bytes(_RESOURCES.memory_bytes),
        example="1GB",
    ),
    Field(
        "Disk",
        _amount(units.parse_bytes, units.BYTES_ALLOWED, units.BYTES_PATTERN),
        about=f"Disk space for inputs and results: {units.BYTES_ALLOWED}. 0 asks for no more than there is.",
        default=units.format_bytes(_RESOURCES.disk_bytes),
        example="100MB",
    ),
    Field(
        "GPU",
        _amount(units.parse_gpus, units.GPU_ALLOWED, units.GPU_PATTERN),
        about=f"Number of GPUs: {units.GPU_ALLOWED}.",
        default=str(_RESOURCES.gpus),
        example="1",
    ),
    build=_resources,
)


def _timeouts_fit(values: dict[str, Any], path: Path, report: Report) -> None:
    execution_s, queue_s = values.get("ExecutionTimeout", 0), values.get("QueueTimeout", 0)
    total_s = values.get("TotalTimeout", 0)
    if total_s and execution_s + queue_s > total_s:
        execution, queue, total = map(units.format_duration, (execution_s, queue_s, total_s))
        message = f"{total} is less than ExecutionTimeout {execution} and QueueTimeout {queue} together"
        report.error((*path, "TotalTimeout"), message)


def _timeouts(values: dict[str, Any], path: Path, report: Report) -> Timeouts:
    grace_s = values.get("StopGracePeriod")
    # 0 is no limit, but for the queue it is no waiting.
    return Timeouts(
        execution_s=values.get("ExecutionTimeout") or None,
        queue_s=values.get("QueueTimeout"),
        total_s=values.get("TotalTimeout") or None,
        stop_grace_s=None if grace_s == STOP_GRACE_S else grace_s,
    )


_DURATION = Value(units.parse_duration, units.DURATION_ALLOWED, units.DURATION_PATTERN)
TIMEOUTS = ObjectOf(
    Field(
        "ExecutionTimeout",
        _DURATION,
        about="How long one execution may run; without it TotalTimeout counts. 0 is no limit.",
        default=0,
        example="1h30m",
    ),
    Field(
        "QueueTimeout",
        _DURATION,
        about="How long the job waits for peers that take it; left out, as long as the node thinks fit.",
        example=101,
    ),
    Field(
        "TotalTimeout",
        _DURATION,
        about="How long the job may take from its submission to its end; 0 is no limit. "
        "Not less than the other two together.",
        default=0,
        example=301,
    ),
    Field(
        "StopGracePeriod",
        _DURATION,
        about="How long a program may take to end after its stop signal, before it is killed: when it is "
        f"stopped, replaced, moved or over its time. Peers give {STOP_GRACE_S_MAX} s at most unless their "
        "operators say otherwise.",
        default=STOP_GRACE_S,
        example=30,
    ),
    check=_timeouts_fit,
    build=_timeouts,
)


def _port_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        raise ValueError(f'"{text[:80]}" is not an IP address') from None


def _port_name(text: str) -> str:
    if not _PORT_NAME.fullmatch(text):
        raise ValueError(f'"{text[:80]}" is not a port name; allowed: a letter, then letters, digits and _')
    return text


PORT = ObjectOf(
    Field(
        "Name",
        Value(_port_name, "a name", f"^{_PORT_NAME.pattern}$"),
        required=True,
        hint="it becomes part of a variable's name",
        about="The port's name; it becomes part of a variable's name.",
        example="web",
    ),
    Field(
        "Static",
        Value(Integer(1024, 65535), "a port number"),
        about="The port on the peer; left out, the peer chooses one.",
        example=8080,
    ),
    Field(
        "Target",
        Value(Integer(1, 65535), "a port number"),
        about="The port in the container, only with Type Bridge; left out, the same as on the peer.",
        example=80,
    ),
    Field(
        "HostNetwork",
        Value(_port_address, "an IP address", "^[0-9A-Fa-f:.]*$"),
        about="The peer's address to listen on; empty for all of them.",
        default="",
        example="127.0.0.1",
    ),
    build=lambda values, path, report: Port(
        name=values["Name"],
        static=values.get("Static"),
        target=values.get("Target"),
        host_network=values.get("HostNetwork", ""),
    ),
)

_NETWORKS = Choice(
    {
        "None": (NetworkType.NONE, ""),
        "Host": (NetworkType.HOST, ""),
        "Bridge": (NetworkType.BRIDGE, ""),
        "HTTP": (NetworkType.HTTP, ""),
    },
    "a type of network",
    deprecated={
        "Full": (NetworkType.HOST, "Full is called Host now"),
        "Default": (NetworkType.NONE, "Default is None here: peers give a network only to jobs that name it"),
    },
)


def _network_fits(values: dict[str, Any], path: Path, report: Report) -> None:
    kind, warning = values.get("Type", (NetworkType.NONE, ""))
    if warning:
        report.warning((*path, "Type"), warning)
    if report.has_error_under((*path, "Type")):
        return
    domains, ports = values.get("Domains", ()), values.get("Ports", ())
    if domains and kind is not NetworkType.HTTP:
        report.error((*path, "Domains"), "allowed only with Type: HTTP")
    no_domains = not domains and not report.has_error_under((*path, "Domains"))
    if kind is NetworkType.HTTP and no_domains:
        report.error((*path, "Domains"), "missing: Type HTTP needs at least one domain")
    if ports and kind not in (NetworkType.HOST, NetworkType.BRIDGE):
        report.error((*path, "Ports"), "allowed only with Type: Host or Bridge")
    for index, port in enumerate(ports):
        if port.target is not None and kind is NetworkType.HOST:
            report.error((*path, "Ports", index, "Target"), "not allowed with Type: Host, where it is Static")


_EMPTY = {"maxItems": 0}
_NETWORK_RULES = (
    when(
        "Type", ["HTTP"], then={"Domains": {"minItems": 1}}, needs=["Domains"], otherwise={"Domains": _EMPTY}
    ),
    when("Type", ["Host", "Full", "Bridge"], otherwise={"Ports": _EMPTY}),
    when("Type", ["Host", "Full"], then={"Ports": {"items": {"properties": {"Target": {"type": "null"}}}}}),
)
NETWORK = ObjectOf(
    Field(
        "Type",
        Value(_NETWORKS, "a type of network"),
        about="None; Host, the peer's own; Bridge, one apart, with ports; or HTTP, to Domains only.",
        default="None",
        example="HTTP",
    ),
    Field(
        "Domains",
        ListOf(Value(parse_domain, "a domain", "^[^\\s/@*]+$")),
        about=f"What the task may reach, only and always with Type HTTP: {DOMAIN_ALLOWED}.",
        default=(),
        example=["example.com", ".ghcr.io"],
    ),
    Field(
        "Ports",
        ListOf(PORT, unique={"Name": "name", "Static": "static", "Target": "target"}),
        about="Ports that the task listens on, only with Type Host or Bridge; no two alike.",
        default=(),
        example=[{"Name": "web", "Target": 80}],
    ),
    rules=_NETWORK_RULES,
    check=_network_fits,
    build=lambda values, path, report: Network(
        type=values.get("Type", (NetworkType.NONE, ""))[0],
        domains=tuple(dict.fromkeys(values.get("Domains", ()))),
        ports=values.get("Ports", ()),
    ),
)


def _result_name(text: str) -> str:
    if not one_line(text) or "/" in text or text in (".", ".."):
        raise ValueError(f'"{text[:80]}" is not the name of a folder')
    if len(text.encode()) > _FILE_NAME_SIZE_BYTES_MAX:
        raise ValueError(f"{len(text.encode())} bytes; allowed: {_FILE_NAME_SIZE_BYTES_MAX}")
    # In any case, as file systems that ignore it would mix the two up.
    if text.lower() in _RESULT_FILES:
        raise ValueError(f'"{text}" is the name of a file that every result has; choose another')
    return text


RESULT_PATH = ObjectOf(
    Field(
        "Name",
        Value(_result_name, "a name", "^[^/]+$"),
        required=True,
        hint="the folder's name in the result",
        example="outputs",
    ),
    Field(
        "Path",
        PATH,
        required=True,
        hint="the folder in the task, an absolute path",
        example="/outputs",
    ),
    build=lambda values, path, report: ResultPath(name=values["Name"], path=values["Path"]),
)
