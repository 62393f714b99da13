"""Words of other programs, such as Docker's and kubectl's, and what they are here; it knows names alone."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

# Words that other programs have for a command; a group offers what it has of these.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "agent": ("serve",),
    "alloc": ("executions", "job executions"),
    "allocs": ("executions", "job executions"),
    "apply": ("submit",),
    "attach": ("job logs",),
    "cancel": ("job stop",),
    "check": ("validate", "doctor"),
    "cp": ("get",),
    "create": ("token create", "submit"),
    "daemon": ("serve",),
    "delete": ("stop", "revoke", "job stop"),
    "download": ("get",),
    "edit": ("set", "config set"),
    "eval": ("job history",),
    "events": ("job history",),
    "fetch": ("get",),
    "get": ("explain",),
    "info": ("id",),
    "inspect": ("describe", "job describe"),
    "jobs": ("job list",),
    "kill": ("job stop",),
    "list": ("status",),
    "login": ("dashboard", "token create"),
    "ls": ("list", "job list"),
    "new": ("token create",),
    "nodes": ("node list",),
    "peers": ("node list",),
    "ps": ("status", "job list", "node executions"),
    "restart": ("job rerun",),
    "retry": ("job rerun",),
    "rm": ("stop", "revoke", "job stop"),
    "run": ("docker run", "wasm run", "submit"),
    "schema": ("spec",),
    "settings": ("config list",),
    "show": ("describe", "explain", "job describe"),
    "start": ("up", "serve"),
    "status": ("job describe", "node list", "devnet status"),
    "ui": ("dashboard",),
    "up": ("serve", "devnet up"),
    "web": ("dashboard",),
}

# Flags of other programs: what does the same here, or why nothing does.
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "--constraints": ("--constraint",),
    "--cpus": ("--cpu",),
    "--detach": ("--no-wait",),
    "--format": ("--output",),
    "--gpus": ("--gpu",),
    "--mount": ("--input",),
    "--port": ("--listen", "--api-port"),
    "--tail": ("--follow",),
    "--volume": ("--input",),
    "--watch": ("--follow",),
    "-c": ("--constraint",),
    "-d": ("--no-wait",),
    "-l": ("--label",),
    "-m": ("--memory",),
    "-v": ("--input", "--version"),
    "-w": ("--follow",),
}
NEEDLESS: Mapping[str, str] = {
    "--file": "leave it out, the file is named without a flag",
    "--interactive": "it begins without a terminal; p2pnode job exec -it enters what runs",
    "--privileged": "containers here are never privileged (a job file asks for capabilities with CapAdd)",
    "--rm": "leave it out, a container is removed when it has ended",
    "--tty": "it begins without a terminal; p2pnode job exec -it enters what runs",
    "-f": "leave it out, the file is named without a flag",
    "-t": "it begins without a terminal; p2pnode job exec -it enters what runs",
}
SUGGESTIONS_MAX = 3


def commands_like(word: str, group: Sequence[str], names: Collection[str]) -> list[str]:
    """The commands that may have been meant by a word in a group, in full.

    `names` are all commands of the program, each as its words with blanks between.
    """
    prefix = "".join(f"{one} " for one in group)
    wanted = [word, *COMMANDS.get(word, ())]
    if inside := [prefix + one for one in wanted if prefix + one in names]:
        return inside[:SUGGESTIONS_MAX]
    whole = [one for one in wanted if one in names]
    whole = [one for one in whole if one.startswith(prefix)] or whole
    elsewhere = [one for one in names if one.split(" ")[1:] == [word]]
    if found := list(dict.fromkeys([*whole, *elsewhere])):
        return found[:SUGGESTIONS_MAX]
    here = {one.removeprefix(prefix).split(" ")[0]: True for one in names if one.startswith(prefix)}
    return [prefix + one for one in difflib.get_close_matches(word, here)]


def option_hint(flag: str, known: Collection[str]) -> str | None:
    """Advice for a flag of another program, where a command has the flags `known`."""
    if flag in NEEDLESS:
        return NEEDLESS[flag]
    here = [one for one in OPTIONS.get(flag, ()) if one in known]
    return f"it is {' or '.join(here)} here" if here else None
