"""Settings as they are given (config.toml, the environment, flags): read, checked, and written to a file."""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from p2pnode.config import ConfigError, SettingOrigin, SettingSource, place_of, variable_of
from p2pnode.config.settings import SETTINGS, NodeConfig, Setting
from p2pnode.core.values.finding import DhtMode, ProvideMode
from p2pnode.core.wire import addresses

CONFIG_SIZE_BYTES_MAX = 64 * 1024
# Where S3 is, as Amazon's own tools are told; the node's settings have no name of their own for it.
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")

_LOGIN = re.compile(r"//[^/\s'\"]*@")
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
    place = place_of(environ, given.pop("data_dir", ""))
    values, origins = _from_file(place.config_file)
    for name, setting in SETTINGS.items():
        variable = variable_of(name)
        if text := environ.get(variable):
            written = setting.kind.split(text) if setting.kind.split else text
            values[name] = read_value(name, written, f"the environment's {variable}")
            origins[name] = SettingOrigin(SettingSource.ENVIRONMENT, variable)
    for name, value in given.items():
        flag = SETTINGS[name].flag
        values[name] = read_value(name, value, flag)
        origins[name] = SettingOrigin(SettingSource.FLAG, flag)
    for variable in ENDPOINT_VARIABLES:
        if not _ENDPOINT.fullmatch(environ.get(variable, "http://none")):
            raise ConfigError(f"the environment's {variable}: expected a URL such as https://s3.example.com")
    config = NodeConfig(data_dir=place.data_dir, origins={"data_dir": place.origin} | origins, **values)
    _check_api(config)
    if config.provide is not ProvideMode.OFF and config.dht is DhtMode.OFF:
        raise ConfigError(f"provide: {config.provide} needs the DHT: set dht to client or server, too")
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


def _from_file(path: Path) -> tuple[dict[str, Any], dict[str, SettingOrigin]]:
    """The values in a file that may be missing, and where each stands."""
    if not path.exists():
        return {}, {}
    text = read_text(path)
    values = {
        name: read_value(name, value, f"{path}: {name}") for name, value in parse_text(text, path).items()
    }
    lines = lines_of(text)
    return values, {name: SettingOrigin(SettingSource.FILE, f"{path}:{lines[name]}") for name in values}


def lines_of(text: str) -> dict[str, int]:
    """The line that each setting of a valid file begins at."""
    found: dict[str, int] = {}
    piece, began, in_table = "", 0, False
    for number, line in enumerate(text.split("\n"), start=1):
        if not piece and not line.partition("#")[0].strip():
            continue
        began = began if piece else number
        piece += line + "\n"
        try:
            names = tomllib.loads(piece)
        except tomllib.TOMLDecodeError:
            # An array or a text goes on in the next line.
            continue
        heads_table = piece.lstrip().startswith("[")
        if heads_table or not in_table:
            found = dict.fromkeys(names, began) | found
        in_table = in_table or heads_table
        piece = ""
    return found


def settings_in(path: Path) -> dict[str, Any]:
    """The settings in a file, if there is one, checked; raises `ConfigError` for a wrong one."""
    return check(parse_toml(path), str(path)) if path.exists() else {}


def parse_toml(path: Path) -> dict[str, Any]:
    """A small TOML file of ours; raises `ConfigError`."""
    return parse_text(read_text(path), path)


def read_text(path: Path) -> str:
    """The text of a small file of ours; raises `ConfigError`."""
    try:
        if path.stat().st_size > CONFIG_SIZE_BYTES_MAX:
            raise ConfigError(f"{path}: over the limit of {CONFIG_SIZE_BYTES_MAX:,} bytes")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def parse_text(text: str, path: Path) -> dict[str, Any]:
    """The tables and values of the text of a file; raises `ConfigError`."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


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
        read_value(name, value, f"{source}: {name}")
    return values


def setting_named(name: str, where: str = "") -> Setting:
    """The declaration of a setting; raises `ConfigError` where there is none of that name."""
    if name == "data_dir":
        raise ConfigError(f"{where or name}: only --data-dir, P2PNODE_DATA_DIR and --profile say where it is")
    if name not in SETTINGS:
        if similar := difflib.get_close_matches(name, SETTINGS):
            raise ConfigError(f"{where or name}: no such setting; did you mean {' or '.join(similar)}?")
        raise ConfigError(f"{where or name}: no such setting; there are {', '.join(SETTINGS)}")
    return SETTINGS[name]


def read_value(name: str, value: object, where: str) -> object:
    """The value of a setting; raises `ConfigError`, which says `where` it stands."""
    kind = setting_named(name, where).kind
    try:
        return kind.read(value)
    except addresses.BadAddress as error:
        raise ConfigError(_without_logins(f"{where}: expected {kind.expected}; {error}")) from error
    except ValueError as error:
        got = "" if kind.shown else f", got {value!r}"
        raise ConfigError(_without_logins(f"{where}: expected {kind.expected}{got}")) from (
            None if kind.shown else error
        )


def _without_logins(text: str) -> str:
    """The text without what a URL in it has before its host: a password, most often."""
    return _LOGIN.sub("//***@", text)
