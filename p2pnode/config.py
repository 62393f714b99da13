"""How a node is set up: defaults < config file < environment < flags.

The file is `config.toml` in the data directory. A setting has one name (`api_port`): so it
stands in the file, in the environment as `P2PNODE_API_PORT`, and on the command line as
`--api-port` (`--peer`, `--label` and other lists once for each, `--no-...` for what is on by default).
A wrong value is refused with the name of where it stands.
"""

from __future__ import annotations

import json
import os
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import platformdirs

from p2pnode.core.placement.forwarding import parse_pattern
from p2pnode.core.records.ending import STOP_GRACE_S_MAX
from p2pnode.core.values import units
from p2pnode.core.values.capabilities import parse_allowed
from p2pnode.core.values.images import RULE_FORM, ImageRule
from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.values.registries import parse_login
from p2pnode.core.wire import addresses
from p2pnode.core.wire.spec import NetworkType

CONFIG_FILE = "config.toml"
CONFIG_SIZE_BYTES_MAX = 64 * 1024
LOG_LEVELS = ("error", "warning", "info", "debug")
# As long as an advert's fields may be (core.wire.messages).
NAME_LENGTH_MAX = 64
LABELS_MAX = 32
LABEL_LENGTH_MAX = 256
# Below this one input of a usual size does not fit.
STORE_QUOTA_BYTES_MIN = 1_000_000_000
# Those that lead past the node's own gate; a program has none of them unless the operator says so.
LENDABLE_NETWORKS = (NetworkType.BRIDGE, NetworkType.HOST)
# Where S3 is, as Amazon's own tools are told; the node's settings have no name of their own for it.
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")

_PREFIX = "P2PNODE_"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_IPFS_API = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/[^/\s]+/tcp/[0-9]{1,5}(/https?)?|https?://[^/\s@]+/?")
_ENDPOINT = re.compile(r"(https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?)?")
_DOCKER_HOST = re.compile(r"unix:///[^\s]+|tcp://(localhost|127\.[0-9.]+|\[::1\])(:[0-9]{1,5})?/?")
_BUCKET = re.compile(r"\*|[A-Za-z0-9._-]{3,255}")


class ConfigError(Exception):
    """A setting is wrong; the message says which, where it stands, and what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """One node's settings."""

    data_dir: Path
    # For people; need not be unique.
    name: str = field(default_factory=lambda: _host_name())
    # Multiaddrs to listen at. Port 0: a free one.
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    # Multiaddrs (with /p2p/PEER) of nodes through which to join.
    peers: tuple[str, ...] = ()
    # On 127.0.0.1. Port 0: a free one.
    api_port: int = 0
    # What constraints of jobs are matched against.
    labels: Mapping[str, str] = field(default_factory=dict)
    # Whether to run jobs for others.
    compute: bool = True
    # Whether jobs without room end batch work of lower priority here: of their owner, or for this node's own.
    preempt: bool = False
    # Seconds that a program here has at most from its stop signal to its kill.
    max_stop_grace: int = STOP_GRACE_S_MAX
    # Whether SIGTERM leaves containers running, which the next start goes on with.
    live_restore: bool = False
    # Whether to find peers on the local network, and be found.
    mdns: bool = True
    # The Docker engine, as DOCKER_HOST names it; "": the one that the docker command uses, or Podman's.
    docker_host: str = ""
    # What of this host's files jobs may use: PATH, or PATH:rw for writing too.
    allow_paths: tuple[str, ...] = ()
    # Variables of this node's environment, or parts of names with *, that jobs may have.
    allow_env: tuple[str, ...] = ()
    # Hosts (or host:port) that URLs and S3 endpoints in jobs may name though they are not public.
    allow_hosts: tuple[str, ...] = ()
    # Networks that jobs may have besides none and http: host, bridge.
    allow_network: tuple[NetworkType, ...] = ()
    # What jobs may ask for besides the usual Linux capabilities; `none` takes those away.
    allow_capabilities: tuple[str, ...] = ()
    # Registries (host or host:port) that images may come from besides the well-known public ones.
    allow_registries: tuple[str, ...] = ()
    # Registries, or parts of them (ghcr.io/acme), that are asked with this node's Docker logins.
    registry_logins: tuple[str, ...] = ()
    # Buckets, or * for all, for which jobs have the AWS credentials of this node's environment.
    s3_buckets: tuple[str, ...] = ()
    # For which images the fence around a container is another than for all: IMAGE=WORD+WORD (values.images).
    image_rules: tuple[str, ...] = ()
    # Bytes that the block store may take; None: a share of its disk (ipfs.result_store).
    store_quota: int | None = None
    # Seconds for which results are kept: what is ready on a Friday is still there for the next week's end.
    result_retention: int = 7 * 24 * 3600
    # A Kubo daemon that gets results as well and is asked for inputs; "": none.
    ipfs_api: str = ""
    log_level: str = "warning"


def default_data_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """`P2PNODE_DATA_DIR`, or the platform's place for an application's data."""
    named = environ.get(f"{_PREFIX}DATA_DIR")
    return Path(named).expanduser().absolute() if named else Path(platformdirs.user_data_dir("p2pnode"))


def default_devnet_dir() -> Path:
    """Where `devnet` keeps its nodes unless told."""
    return Path(platformdirs.user_state_dir("p2pnode")) / "devnet"


def load(flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> NodeConfig:
    """The settings of a node that is started with these flags.

    `flags` maps setting names to what was typed (text, a list of texts, or a bool); None and an
    empty list mean not given. Raises `ConfigError`.
    """
    given = {name: value for name, value in flags.items() if value not in (None, [])}
    data_dir = Path(given.pop("data_dir", default_data_dir(environ))).expanduser().absolute()
    values: dict[str, Any] = {}
    for name, value in _read(data_dir / CONFIG_FILE).items():
        values[name] = _checked(name, value, f"{data_dir / CONFIG_FILE}: {name}")
    for name in _SETTINGS:
        variable = _PREFIX + name.upper()
        if text := environ.get(variable):
            values[name] = _checked(name, _SETTINGS[name].split(text), f"the environment's {variable}")
    for name, value in given.items():
        values[name] = _checked(name, value, _SETTINGS[name].flag)
    for variable in ENDPOINT_VARIABLES:
        if not _ENDPOINT.fullmatch(environ.get(variable, "http://none")):
            raise ConfigError(f"the environment's {variable}: expected a URL such as https://s3.example.com")
    return NodeConfig(data_dir=data_dir, **values)


def settings_of(data_dir: Path) -> dict[str, Any]:
    """The settings in the file of a data directory, checked; raises `ConfigError` for a wrong one."""
    path = data_dir / CONFIG_FILE
    written = _read(path)
    check(written, str(path))
    return written


def parse_toml(path: Path) -> dict[str, Any]:
    """A small TOML file of ours; raises `ConfigError`."""
    try:
        if path.stat().st_size > CONFIG_SIZE_BYTES_MAX:
            raise ConfigError(f"{path}: over the limit of {CONFIG_SIZE_BYTES_MAX:,} bytes")
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def to_toml(values: Mapping[str, Any]) -> str:
    """Settings, as a file has them."""
    return "".join(f"{name} = {_toml(value)}\n" for name, value in values.items())


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml(key)} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # Text, numbers and booleans are written as in JSON.
    return json.dumps(value, ensure_ascii=False)


def check(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Settings as a file has them, checked; `source` names the file in errors. Raises `ConfigError`."""
    return {name: _checked(name, value, f"{source}: {name}") for name, value in values.items()}


def _read(path: Path) -> dict[str, Any]:
    return parse_toml(path) if path.exists() else {}


def _host_name() -> str:
    """The host's name as far as it is fit for a node's."""
    fit = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname().partition(".")[0])[:NAME_LENGTH_MAX]
    return fit.strip("-") or "node"


@dataclass(frozen=True, slots=True)
class _Setting:
    flag: str
    expected: str
    # The value, or None where it is not as expected.
    read: Callable[[Any], Any]
    # Text of the environment as a file would have it.
    split: Callable[[str], Any] = str


def _checked(name: str, value: Any, where: str) -> Any:
    if name not in _SETTINGS:
        raise ConfigError(f"{where}: no such setting; there are {', '.join(_SETTINGS)}")
    setting = _SETTINGS[name]
    try:
        read = setting.read(value)
    except addresses.BadAddress as error:
        raise ConfigError(f"{where}: expected {setting.expected}; {error}") from error
    if read is None:
        raise ConfigError(f"{where}: expected {setting.expected}, got {value!r}")
    return read


def _read_name(value: Any) -> str | None:
    fits = isinstance(value, str) and len(value) <= NAME_LENGTH_MAX and _NAME.fullmatch(value)
    return value if fits else None


def _read_listen(value: Any) -> tuple[str, ...] | None:
    if not _is_texts(value):
        return None
    for text in value:
        if addresses.parse(text).family not in ("ip4", "ip6"):
            raise addresses.BadAddress(f"{text!r}: to listen, an IP address is needed")
    return tuple(value)


def _read_peers(value: Any) -> tuple[str, ...] | None:
    return tuple(map(addresses.parse_peer, value)) if _is_texts(value) else None


def _read_paths(value: Any) -> tuple[str, ...] | None:
    fits = _is_texts(value) and all(one.startswith("/") for one in value)
    return tuple(value) if fits else None


def _read_variables(value: Any) -> tuple[str, ...] | None:
    try:
        return tuple(map(parse_pattern, value)) if _is_texts(value) else None
    except ValueError:
        return None


def _read_hosts(value: Any) -> tuple[str, ...] | None:
    try:
        return tuple(value) if _is_texts(value) and [AllowedHost.parse(one) for one in value] else None
    except ValueError:
        return None


def _read_networks(value: Any) -> tuple[NetworkType, ...] | None:
    if not _is_texts(value):
        return None
    words = {word.lower() for one in value for word in _words(one)}
    return tuple(sorted(map(NetworkType, words))) if words <= set(LENDABLE_NETWORKS) else None


def _read_capabilities(value: Any) -> tuple[str, ...] | None:
    try:
        return tuple(sorted(set(map(parse_allowed, value)))) if _is_texts(value) else None
    except ValueError:
        return None


def _read_logins(value: Any) -> tuple[str, ...] | None:
    try:
        return tuple(map(parse_login, value)) if _is_texts(value) else None
    except ValueError:
        return None


def _read_image_rules(value: Any) -> tuple[str, ...] | None:
    try:
        return tuple(value) if _is_texts(value) and [ImageRule.parse(one) for one in value] else None
    except ValueError:
        return None


def _read_buckets(value: Any) -> tuple[str, ...] | None:
    return tuple(value) if _is_texts(value) and all(map(_BUCKET.fullmatch, value)) else None


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _read_port(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 6:
        value = int(value)
    return value if type(value) is int and 0 <= value < 65536 else None


def _read_flag(value: Any) -> bool | None:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return value if isinstance(value, bool) else words.get(str(value).lower())


def _read_labels(value: Any) -> dict[str, str] | None:
    """A table, or a list of `key=value`."""
    if isinstance(value, list):
        if not all(isinstance(one, str) and "=" in one for one in value):
            return None
        pairs = [one.split("=", 1) for one in value]
        value = {key.strip(): text.strip() for key, text in pairs}
    if not isinstance(value, dict) or len(value) > LABELS_MAX:
        return None
    labels = {str(key): str(text) for key, text in value.items()}
    fits = all(key and len(key) <= LABEL_LENGTH_MAX >= len(text) for key, text in labels.items())
    return labels if fits else None


def _read_log_level(value: Any) -> str | None:
    return value.lower() if isinstance(value, str) and value.lower() in LOG_LEVELS else None


def _read_quota(value: Any) -> int | None:
    try:
        size_bytes = units.parse_bytes(value) if isinstance(value, str) else 0
    except ValueError:
        return None
    return size_bytes if size_bytes >= STORE_QUOTA_BYTES_MIN else None


def _read_duration(value: Any) -> int | None:
    try:
        return units.parse_duration(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _read_ipfs_api(value: Any) -> str | None:
    return value if isinstance(value, str) and _IPFS_API.fullmatch(value) else None


def _read_docker_host(value: Any) -> str | None:
    return value if isinstance(value, str) and _DOCKER_HOST.fullmatch(value) else None


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


_SETTINGS = {
    "name": _Setting("--name", "1 to 64 letters, digits, dots and dashes", _read_name),
    "listen": _Setting("--listen", "multiaddrs such as /ip4/0.0.0.0/tcp/4001", _read_listen, _words),
    "peers": _Setting(
        "--peer", "multiaddrs such as /ip4/192.0.2.7/tcp/4001/p2p/12D3...", _read_peers, _words
    ),
    "api_port": _Setting("--api-port", "a port from 0 to 65535", _read_port),
    "labels": _Setting("--label", "at most 32 key=value pairs", _read_labels, lambda text: text.split(",")),
    "compute": _Setting("--no-compute", "true or false", _read_flag),
    "preempt": _Setting("--preempt", "true or false", _read_flag),
    "max_stop_grace": _Setting("--max-stop-grace", "a duration such as 60s", _read_duration),
    "live_restore": _Setting("--live-restore", "true or false", _read_flag),
    "mdns": _Setting("--no-mdns", "true or false", _read_flag),
    "docker_host": _Setting(
        "--docker-host", "unix:///PATH or tcp://127.0.0.1:PORT (no ssh://)", _read_docker_host
    ),
    "allow_paths": _Setting(
        "--allow-path", "absolute paths, such as /data or /data:rw", _read_paths, lambda text: text.split(",")
    ),
    "allow_env": _Setting(
        "--allow-env", "names of variables, such as TOKEN or APP_*", _read_variables, _words
    ),
    "allow_hosts": _Setting(
        "--allow-host", "hosts, such as files.example.lan or 192.0.2.7:9000", _read_hosts, _words
    ),
    "allow_network": _Setting("--allow-network", "bridge, host or both", _read_networks, _words),
    "allow_capabilities": _Setting(
        "--allow-capability",
        "names of Linux capabilities, such as NET_RAW, or none to give no usual ones",
        _read_capabilities,
        _words,
    ),
    "allow_registries": _Setting(
        "--allow-registry", "hosts, such as registry.example.lan or 192.0.2.7:5000", _read_hosts, _words
    ),
    "registry_logins": _Setting(
        "--registry-login", "registries or parts of them, such as ghcr.io/acme", _read_logins, _words
    ),
    "s3_buckets": _Setting("--s3-bucket", "names of buckets, or * for all", _read_buckets, _words),
    "image_rules": _Setting("--image-rule", RULE_FORM, _read_image_rules, _words),
    "store_quota": _Setting("--store-quota", "a size of at least 1GB, such as 50GB", _read_quota),
    "result_retention": _Setting("--result-retention", "a duration such as 168h", _read_duration),
    "ipfs_api": _Setting(
        "--ipfs-api", "a Kubo daemon such as /ip4/127.0.0.1/tcp/5001 or http://127.0.0.1:5001", _read_ipfs_api
    ),
    "log_level": _Setting("--log-level", f"one of {', '.join(LOG_LEVELS)}", _read_log_level),
}
assert set(_SETTINGS) == {one.name for one in fields(NodeConfig)} - {"data_dir"}
