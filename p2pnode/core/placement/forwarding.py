"""Variables of a peer's own environment that a job asks for: `KEY: "env:NAME"` in its Env, as in Bacalhau.

The peer's operator says which names may be had. A value is put in on the peer, just before the program
begins: neither the spec nor a message, receipt or log of the node ever holds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from p2pnode.core.wire.spec import Task

PREFIX = "env:"
# Adverts and asks name this among the types of inputs: variables are forwarded at all.
SOURCE = "env"
NO_SOURCE = (
    "forwards no variables of its environment (its operator can allow them with serve --allow-env NAME)"
)
# Shorter than any that systems forbid, longer than any in use.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
# A star stands for any text, in Bacalhau's documents too (there it is a regular expression in truth).
_PATTERN = re.compile(r"[A-Za-z0-9_*]{1,255}")


class NotForwarded(Exception):
    """The peer does not give this variable, or has none; says why."""


def wanted(environment: Mapping[str, str]) -> dict[str, str]:
    """The peer's variable by the program's."""
    return {key: value.removeprefix(PREFIX) for key, value in environment.items() if value.startswith(PREFIX)}


def check_value(text: str) -> None:
    """Raises `ValueError` for a value that asks for what no variable is called."""
    if text.startswith(PREFIX) and not _NAME.fullmatch(text.removeprefix(PREFIX)):
        raise ValueError(
            f'"{text[:80]}" names no variable; env:NAME stands for the variable NAME of the peer'
        )


def parse_pattern(text: str) -> str:
    """A name, or a part of one with `*`, that an operator allows; raises `ValueError`."""
    if not _PATTERN.fullmatch(text):
        raise ValueError(f'"{text[:80]}" is not the name of a variable, nor one with *')
    return text


def why_not(task: Task, patterns: Iterable[str], environment: Mapping[str, str]) -> str | None:
    """Why a peer with this environment can't run the task; None where it can."""
    try:
        filled_in(task.environment, patterns, environment)
    except NotForwarded as exc:
        return str(exc)
    return None


def filled_in(
    asked: Mapping[str, str], patterns: Iterable[str], environment: Mapping[str, str]
) -> dict[str, str]:
    """A task's variables with the values of the peer's own; raises `NotForwarded`."""
    allowed = [_expression(one) for one in patterns]
    found = dict(asked)
    for key, name in wanted(asked).items():
        # The same words whether it is there or not: what is not allowed is not to be felt out.
        if not any(one.fullmatch(name) for one in allowed):
            raise NotForwarded(
                f"variable {name}: not among those that this node forwards to jobs (serve --allow-env)"
            )
        if name not in environment:
            raise NotForwarded(f"variable {name}: not set on this node")
        found[key] = environment[name]
        if not _is_text(found[key]):
            raise NotForwarded(f"variable {name}: is no text on this node")
    return found


def _expression(pattern: str) -> re.Pattern[str]:
    # Several stars in a row are one: each alone would multiply the time that a name takes.
    return re.compile(".*".join(map(re.escape, re.split(r"\*+", pattern))))


def _is_text(value: str) -> bool:
    """Bytes that are no UTF-8 come as halves of a pair, which no engine takes."""
    return not re.search("[\ud800-\udfff]", value)
