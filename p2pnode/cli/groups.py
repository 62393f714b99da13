"""Groups of commands whose help keeps the order in which they are written down."""

from __future__ import annotations

import difflib
import gc
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem


class Group(click.Group):
    """Lists its commands in the order of their definition, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class Lazy(NamedTuple):
    """A command that is imported when it is used: its line in the table of help, and where it is."""

    short_help: str
    # "module:attribute" below p2pnode.cli.
    target: str


class LazyGroup(click.Group):
    """Imports the module of a command only when that command is run; `sections` is its table of help."""

    def __init__(self, *, sections: Mapping[str, Mapping[str, Lazy]], **settings: Any) -> None:
        super().__init__(**settings)
        self.sections = sections
        self._lazy = {name: one for section in sections.values() for name, one in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        lazy = self._lazy.get(cmd_name)
        if lazy is None:
            return None
        module, _, attribute = lazy.target.partition(":")
        command = getattr(importlib.import_module(f"p2pnode.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        _give_profile(command)
        if not gc.isenabled():
            # All is imported now that `cli.main` turned the collector off for, and is there for good.
            gc.freeze()
            gc.enable()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """click would look for similar names among the commands that are loaded: none."""
        name = args[0]
        if name not in self._lazy and not name.startswith("-") and not ctx.resilient_parsing:
            similar = _either(difflib.get_close_matches(name, self._lazy))
            ctx.fail(f"No such command '{name}'.{f' Did you mean {similar}?' if similar else ''}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, one.short_help) for name, one in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [name for name in self._lazy if name.startswith(incomplete)]
        items = [CompletionItem(name, help=self._lazy[name].short_help) for name in names]
        return items + click.Command.shell_complete(self, ctx, incomplete)


def _give_profile(command: click.Command) -> None:
    """Have the command, and those below it, take --profile as the program does."""
    from p2pnode.cli import options

    if not any(one.name == "profile" for one in command.params):
        command.params.append(options.profile(hidden=True))
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _give_profile(below)


def _either(names: Sequence[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)
