"""Changes of config.toml, which keep its comments and order, and leave it whole or as it was."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from p2pnode.config import ConfigError, kinds
from p2pnode.config.loading import CONFIG_SIZE_BYTES_MAX, parse_text, read_value, setting_named

# TOML has a form for their values other than text.
_OWN_FORM = (kinds.PORT, kinds.FLAG, kinds.LABELS)


def value_of(name: str, texts: Sequence[str]) -> Any:
    """The value that these texts are in a file, a list's entries in one or several; raises `ConfigError`."""
    kind = setting_named(name).kind
    written: Any
    if kind.split is not None:
        written = [entry.strip() for text in texts for entry in kind.split(text)]
    elif len(texts) == 1:
        written = texts[0]
    else:
        raise ConfigError(f"{name}: expected {kind.expected}, got {len(texts)} values")
    read = read_value(name, written, name)
    return read if kind in _OWN_FORM else written


def with_setting(text: str, name: str, value: Any, path: Path) -> str:
    """The text of a file in which a setting has another value; None takes it out. Raises `ConfigError`."""
    wanted = parse_text(text, path)
    wanted.pop(name, None)
    try:
        document = tomlkit.parse(text)
        if value is None:
            document.remove(name)
        else:
            wanted[name] = value
            document[name] = _item(value)
        changed = tomlkit.dumps(document)
    except (TOMLKitError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be changed here, edit it by hand: {error}") from error
    if parse_text(changed, path) != wanted:
        raise ConfigError(f"{path}: {name} cannot be changed here: edit the file by hand")
    if len(changed.encode()) > CONFIG_SIZE_BYTES_MAX:
        raise ConfigError(f"{path}: over the limit of {CONFIG_SIZE_BYTES_MAX:,} bytes with this {name}")
    return changed


def _item(value: Any) -> Any:
    """The value as one line of TOML."""
    if not isinstance(value, dict):
        return tomlkit.item(value)
    table = tomlkit.inline_table()
    table.update(value)
    return table


def replace(path: Path, text: str) -> None:
    """Write a file whole or not at all, for its owner alone where it is new; raises `ConfigError`."""
    # A link stays one.
    place = path.resolve()
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=place.parent, prefix=f"{place.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                if place.exists():
                    os.fchmod(file.fileno(), place.stat().st_mode & 0o777)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, place)
        except BaseException:
            os.unlink(part)
            raise
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
