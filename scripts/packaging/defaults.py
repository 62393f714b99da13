"""Prints the package's /etc/default/p2pnode: every setting, explained, as a variable that is not set."""

from __future__ import annotations

from p2pnode.config import variable_of
from p2pnode.config.settings import SETTINGS, Setting

HEAD = """\
# Settings of the node as environment variables; the flags in the unit's command win. Commas stand between the
# entries of a list. Restart the service after a change.
"""


def text() -> str:
    return HEAD + "".join(_explained(name, setting) for name, setting in SETTINGS.items())


def _explained(name: str, setting: Setting) -> str:
    default = f"  [default: {setting.default}]" if setting.default else ""
    value = setting.kind.metavar or ("true" if setting.says else "false")
    expected = f"# {value}: {setting.kind.expected}\n" if setting.kind.metavar else ""
    return f"\n# {setting.help}{default}\n{expected}#{variable_of(name)}={value}\n"


if __name__ == "__main__":
    print(text(), end="")
