"""What a task asks of the peer that runs it: resources, time, a network, result folders.

A job without Network, or with Type Default, has no network, unlike in the system whose
job files we read: a peer runs the jobs of strangers, so a network is given only to those
that say which one they need.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from . import units
from .domains import parse_domain
from .kinds import Field, ListOf, Object, Value, choice, integer, one_line
from .problems import Path, Report
from .sources import absolute_path
from .spec import Network, NetworkType, Port, Resources, ResultPath, Timeouts

# Names of folders in a result; UnixFS and every file system hold 255 bytes.
_FILE_NAME_SIZE_BYTES_MAX = 255
# What a result has beside the folders of the job.
_RESULT_FILES = ("stdout", "stderr", "exitcode")
_PORT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def _resources(values: dict[str, Any], path: Path, report: Report) -> Resources:
    default = Resources()
    return Resources(
        cpu_millis=values.get("CPU") or default.cpu_millis,
        memory_bytes=values.get("Memory") or default.memory_bytes,
        disk_bytes=values.get("Disk", 0),
        gpus=values.get("GPU", 0),
    )


def _or_default(parse: Any) -> Any:
    """The converter, but an empty text stands for the default, which is 0 here."""
    return lambda text: parse(text) if text.strip() else 0


def _memory(text: str) -> int:
    if not (size_bytes := units.parse_bytes(text)):
        raise ValueError(f'"{text}" is no memory to run with; leave it out for the default')
    return size_bytes


RESOURCES = Object(
    Field("CPU", Value(_or_default(units.parse_cpu), units.CPU_ALLOWED)),
    Field("Memory", Value(_or_default(_memory), units.BYTES_ALLOWED)),
    Field("Disk", Value(_or_default(units.parse_bytes), units.BYTES_ALLOWED)),
    Field("GPU", Value(_or_default(units.parse_gpus), units.GPU_ALLOWED)),
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
    # 0 is no limit, but for the queue it is no waiting.
    return Timeouts(
        execution_s=values.get("ExecutionTimeout") or None,
        queue_s=values.get("QueueTimeout"),
        total_s=values.get("TotalTimeout") or None,
    )


_DURATION = Value(units.parse_duration, units.DURATION_ALLOWED)
TIMEOUTS = Object(
    Field("ExecutionTimeout", _DURATION),
    Field("QueueTimeout", _DURATION),
    Field("TotalTimeout", _DURATION),
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


PORT = Object(
    Field("Name", Value(_port_name, "a name"), required=True, hint="it becomes part of a variable's name"),
    Field("Static", Value(integer(1024, 65535), "a port number")),
    Field("Target", Value(integer(1, 65535), "a port number")),
    Field("HostNetwork", Value(_port_address, "an IP address")),
    build=lambda values, path, report: Port(
        name=values["Name"],
        static=values.get("Static"),
        target=values.get("Target"),
        host_network=values.get("HostNetwork", ""),
    ),
)

_NETWORKS = {
    "none": (NetworkType.NONE, ""),
    "host": (NetworkType.HOST, ""),
    "bridge": (NetworkType.BRIDGE, ""),
    "http": (NetworkType.HTTP, ""),
    "full": (NetworkType.HOST, "Full is called Host now"),
    "default": (NetworkType.NONE, "Default is None here: peers give a network only to jobs that name it"),
}


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


NETWORK = Object(
    Field("Type", Value(choice(_NETWORKS, "a type of network"), "a type of network")),
    Field("Domains", ListOf(Value(parse_domain, "a domain"))),
    Field("Ports", ListOf(PORT, unique={"Name": "name", "Static": "static", "Target": "target"})),
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


RESULT_PATH = Object(
    Field("Name", Value(_result_name, "a name"), required=True, hint="the folder's name in the result"),
    Field(
        "Path", Value(absolute_path, "a path"), required=True, hint="the folder in the task, an absolute path"
    ),
    build=lambda values, path, report: ResultPath(name=values["Name"], path=values["Path"]),
)
