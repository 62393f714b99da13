"""Settings as they are given (config.toml, the environment, flags): read, checked, and written to a file."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from p2pnode.config import CONFIG_FILE, ConfigError, default_data_dir, variable_of
from p2pnode.config.settings import SETTINGS, NodeConfig
from p2pnode.core.wire import addresses

CONFIG_SIZE_BYTES_MAX = 64 * 1024
# Where S3 is, as Amazon's own tools are told; the node's settings have no name of their own for it.
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")

_ENDPOINT = re.compile(r"(https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?)?")


def load(flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> NodeConfig:
    """The settings of a node that is started with these flags.

    `flags` maps setting names to what was typed (text, several texts, or a bool); None and an
    empty sequence mean not given. Raises `ConfigError`.
    """
    given: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in flags.items()
        if value not in (None, [], ())
    }
    data_dir = Path(given.pop("data_dir", default_data_dir(environ))).expanduser().absolute()
    values: dict[str, Any] = {}
    for name, value in _read(data_dir / CONFIG_FILE).items():
        values[name] = _read_as(name, value, f"{data_dir / CONFIG_FILE}: {name}")
    for name, setting in SETTINGS.items():
        if text := environ.get(variable_of(name)):
            written = setting.kind.split(text) if setting.kind.split else text
            values[name] = _read_as(name, written, f"the environment's {variable_of(name)}")
    for name, value in given.items():
        values[name] = _read_as(name, value, SETTINGS[name].flag)
    for variable in ENDPOINT_VARIABLES:
        if not _ENDPOINT.fullmatch(environ.get(variable, "http://none")):
            raise ConfigError(f"the environment's {variable}: expected a URL such as https://s3.example.com")
    config = NodeConfig(data_dir=data_dir, **values)
    _check_api(config)
    return config


def _check_api(config: NodeConfig) -> None:
    """Raise `ConfigError` where the API would send tokens over a network in plain text."""
    if bool(config.api_cert) != bool(config.api_key):
        raise ConfigError("api_cert and api_key belong together: set both, or neither")
    if not config.api_cert and not ipaddress.ip_address(config.api_host).is_loopback:
        raise ConfigError(
            f"api_host: {config.api_host} can be reached from other machines, so the API has to speak TLS"
            " there: set api_cert and api_key"
        )


def settings_of(data_dir: Path) -> dict[str, Any]:
    """The settings in the file of a data directory, checked; raises `ConfigError` for a wrong one."""
    path = data_dir / CONFIG_FILE
    return check(_read(path), str(path))


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


def check(values: object, source: str) -> dict[str, Any]:
    """Settings as a file has them, if none is wrong; `source` names the file. Raises `ConfigError`."""
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected a table of settings, got {values!r}")
    for name, value in values.items():
        _read_as(name, value, f"{source}: {name}")
    return values


def _read(path: Path) -> dict[str, Any]:
    return parse_toml(path) if path.exists() else {}


def _read_as(name: str, value: object, where: str) -> object:
    if name not in SETTINGS:
        raise ConfigError(f"{where}: no such setting; there are {', '.join(SETTINGS)}")
    kind = SETTINGS[name].kind
    try:
        return kind.read(value)
    except addresses.BadAddress as error:
        raise ConfigError(f"{where}: expected {kind.expected}; {error}") from error
    except ValueError as error:
        raise ConfigError(f"{where}: expected {kind.expected}, got {value!r}") from error
