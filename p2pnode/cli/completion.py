"""`completion`: the script with which a shell completes our commands, as click makes it."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from p2pnode.cli.main import COMPLETE_VARIABLE
from p2pnode.cli.output import answer_document
from p2pnode.cli.status import Status


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print a script that completes commands in a shell.

    \b
    bash  eval "$(p2pnode completion bash)"        in ~/.bashrc
    zsh   eval "$(p2pnode completion zsh)"         in ~/.zshrc
    fish  p2pnode completion fish | source         in ~/.config/fish/config.fish
    """
    root = ctx.find_root()
    kind = get_completion_class(shell)
    assert kind is not None and root.info_name is not None
    answer_document(kind(root.command, {}, root.info_name, COMPLETE_VARIABLE).source())
    return Status.OK
