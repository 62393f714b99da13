"""How a node is set up: defaults < config file < environment < flags.

The file is `config.toml` in the data directory. A setting has one name (`api_port`): so it
stands in the file, in the environment as `P2PNODE_API_PORT`, and on the command line as
`--api-port` (`--peer`, `--label` and other lists once for each, `--no-...` for what is on by default).
A wrong value is refused with the name of where it stands. Each setting is declared in `settings`, once,
read by `loading`, and put into the file by `editing`; here is what each command needs to find its node.

A profile is a data directory and a file of its own, for one network of several.

May know the core. Known by `node`, `notices`, `service`, `serving`, `doctor` and the command line.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

CONFIG_FILE = "config.toml"
DATA_DIR_VARIABLE = "P2PNODE_DATA_DIR"
PROFILE_VARIABLE = "P2PNODE_PROFILE"
# A name stands in paths and in tables.
PROFILE_LENGTH_MAX = 32

_PREFIX = "P2PNODE_"
_PROGRAM = "p2pnode"
_PROFILES = "profiles"
_PROFILE_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{PROFILE_LENGTH_MAX}}}")


class ConfigError(Exception):
    """A setting is wrong; the message says which, where it stands, and what is expected."""


class SettingSource(enum.StrEnum):
    """The kinds of places that a value can come from."""

    FLAG = "flag"
    ENVIRONMENT = "env"
    FILE = "file"
    PROFILE = "profile"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class SettingOrigin:
    """The place that a value comes from: a flag, a variable, PATH:LINE or a profile's name."""

    source: SettingSource
    where: str = ""

    def __str__(self) -> str:
        return f"{self.source} {self.where}".rstrip()


DEFAULT_ORIGIN = SettingOrigin(SettingSource.DEFAULT)


@dataclass(frozen=True, slots=True)
class NodePlace:
    """The places of one node's data and file; `profile` is "" for a node of none."""

    data_dir: Path
    config_file: Path
    profile: str
    origin: SettingOrigin


def place_of(environ: Mapping[str, str], data_dir: str = "") -> NodePlace:
    """The place of the node that is meant; `data_dir` is the flag's, which wins. Raises `ConfigError`."""
    if data_dir:
        return _at(data_dir, SettingOrigin(SettingSource.FLAG, "--data-dir"))
    named, profile = environ.get(DATA_DIR_VARIABLE), environ.get(PROFILE_VARIABLE)
    if named and profile:
        raise ConfigError(f"{DATA_DIR_VARIABLE} and {PROFILE_VARIABLE} each name a node: unset one of them")
    if profile:
        return profile_place(profile)
    if named:
        return _at(named, SettingOrigin(SettingSource.ENVIRONMENT, DATA_DIR_VARIABLE))
    return _at(platformdirs.user_data_dir(_PROGRAM), DEFAULT_ORIGIN)


def profile_place(name: str) -> NodePlace:
    """The place of a profile's node; raises `ConfigError` for what is no name of one."""
    check_profile(name)
    return NodePlace(
        platformdirs.user_data_path(_PROGRAM) / _PROFILES / name,
        platformdirs.user_config_path(_PROGRAM) / _PROFILES / name / CONFIG_FILE,
        name,
        SettingOrigin(SettingSource.PROFILE, name),
    )


def check_profile(name: str) -> None:
    """Raise `ConfigError` for what is no name of a profile."""
    if not _PROFILE_NAME.fullmatch(name):
        raise ConfigError(
            f"profile {name[: 2 * PROFILE_LENGTH_MAX]!r}: expected at most {PROFILE_LENGTH_MAX} letters,"
            " digits, - and _"
        )


def profiles() -> list[NodePlace]:
    """The profiles that have data or a file, by name."""
    roots = (platformdirs.user_data_path(_PROGRAM), platformdirs.user_config_path(_PROGRAM))
    found = {
        path.name
        for root in roots
        if (root / _PROFILES).is_dir()
        for path in (root / _PROFILES).iterdir()
        if path.is_dir() and _PROFILE_NAME.fullmatch(path.name)
    }
    return [profile_place(name) for name in sorted(found)]


def default_data_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The profile's or `P2PNODE_DATA_DIR`, or the platform's place for an application's data."""
    return place_of(environ).data_dir


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return _PREFIX + name.upper()


def default_devnet_dir() -> Path:
    """Where `devnet` keeps its nodes unless told."""
    return Path(platformdirs.user_state_dir(_PROGRAM)) / "devnet"


def _at(named: str, origin: SettingOrigin) -> NodePlace:
    data_dir = Path(named).expanduser().absolute()
    return NodePlace(data_dir, data_dir / CONFIG_FILE, "", origin)
