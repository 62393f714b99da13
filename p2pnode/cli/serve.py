"""`serve`: settings read, and a node run in this process."""

from __future__ import annotations

from typing import Any

import click

from p2pnode.cli.options import PROFILE_GIVEN
from p2pnode.config import loading
from p2pnode.config.settings import SETTINGS, Setting


def _option(name: str, setting: Setting) -> click.Option:
    """The flag of a setting; where it is not given, its value is None, or ()."""
    many = setting.kind.split is not None
    if not setting.kind.metavar:
        return click.Option(
            [setting.flag, name], is_flag=True, flag_value=setting.says, default=None, help=setting.help
        )
    text = setting.help.removesuffix(".") + "; may be repeated." if many else setting.help
    if setting.default:
        text += f"  [default: {setting.default}]"
    return click.Option([setting.flag, name], metavar=setting.kind.metavar, multiple=many, help=text)


_DATA_DIR = click.Option(
    ["--data-dir"], metavar="DIR", type=click.Path(), help="Where it keeps its identity, jobs and blocks."
)


@click.command(params=[_DATA_DIR, *(_option(*one) for one in SETTINGS.items())])
def serve(**flags: Any) -> int:
    """Run a node until it is interrupted.

    Settings come from config.toml in the data directory (config set), P2PNODE_... in the environment, and
    flags; the later wins.
    """
    if flags["data_dir"] and PROFILE_GIVEN in click.get_current_context().meta:
        raise click.UsageError("--data-dir and --profile each name a node: give one of them")
    settings = loading.load(flags)
    # Last: this imports the network, which takes half a second.
    from p2pnode import serving

    return serving.serve(settings)
