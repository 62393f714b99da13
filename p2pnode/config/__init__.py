"""How a node is set up: defaults < config file < environment < flags.

The file is `config.toml` in the data directory. A setting has one name (`api_port`): so it
stands in the file, in the environment as `P2PNODE_API_PORT`, and on the command line as
`--api-port` (`--peer`, `--label` and other lists once for each, `--no-...` for what is on by default).
A wrong value is refused with the name of where it stands. Each setting is declared in `settings`, once,
and read by `loading`; here is what each command needs to find its node.

May know the core. Known by `node`, `serving` and the command line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

CONFIG_FILE = "config.toml"

_PREFIX = "P2PNODE_"


class ConfigError(Exception):
    """A setting is wrong; the message says which, where it stands, and what is expected."""


def default_data_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """`P2PNODE_DATA_DIR`, or the platform's place for an application's data."""
    named = environ.get(f"{_PREFIX}DATA_DIR")
    return Path(named).expanduser().absolute() if named else Path(platformdirs.user_data_dir("p2pnode"))


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return _PREFIX + name.upper()


def default_devnet_dir() -> Path:
    """Where `devnet` keeps its nodes unless told."""
    return Path(platformdirs.user_state_dir("p2pnode")) / "devnet"
