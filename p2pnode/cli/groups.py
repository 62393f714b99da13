"""Groups of commands whose help keeps the order in which they are written down."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from p2pnode.cli import familiar

# Longer than the first sentence of any command: help wraps, rather than cutting it.
_SENTENCE_MAX = 1000


class Group(click.Group):
    """Lists its commands in the order of their definition, each with its whole first sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, one.get_short_help_str(_SENTENCE_MAX)) for name, one in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        _refuse_unknown(ctx, args, self.commands)
        return super().resolve_command(ctx, args)


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
        _refuse_unknown(ctx, args, self._lazy)
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


def _refuse_unknown(ctx: click.Context, args: Sequence[str], known: Collection[str]) -> None:
    """Fail for a word that is no command, with those that may have been meant, of other groups too."""
    word = args[0]
    if word in known or word.startswith("-") or ctx.resilient_parsing:
        return
    program = ctx.find_root()
    group = ctx.command_path.split(" ")[len(program.command_path.split(" ")) :]
    if word == "help":
        similar = [" ".join([ctx.command_path, *args[1:], "--help"])]
    elif word == "version":
        similar = [f"{program.command_path} --version"]
    else:
        assert isinstance(program.command, click.Group)
        similar = familiar.commands_like(word, group, list(_all_commands(program.command, program)))
    either = " or ".join(f"'{one}'" for one in similar)
    ctx.fail(f"No such command '{word}'.{f' Did you mean {either}?' if either else ''}")


def _all_commands(group: click.Group, ctx: click.Context, words: tuple[str, ...] = ()) -> Iterator[str]:
    """Each command of a group, as its words with blanks between; imports them all."""
    for name in group.list_commands(ctx):
        yield " ".join([*words, name])
        command = group.get_command(ctx, name)
        if isinstance(command, click.Group):
            yield from _all_commands(command, ctx, (*words, name))
