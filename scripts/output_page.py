"""Makes docs/output.md of the types of what commands print.

.venv/bin/python -m scripts.output_page > docs/output.md
"""

from __future__ import annotations

import enum
import re
import types
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

from p2pnode.cli.answers import ANSWERS

HEAD = """\
# What commands print

stdout carries the answer and nothing else; progress, hints and errors go to stderr. Every command that shows
something takes `-o FORM` (`--output FORM`):

| Form | For |
|---|---|
| `table` | people: short ids, the time of today or the date; a terminal gets of a long reason what fits |
| `wide` | people who want all: whole ids, labels, addresses; times as RFC 3339 in UTC; nothing is cut |
| `json` | programs: the objects below; `--json` is the same |
| `yaml` | the same objects as YAML |
| `name` | scripts: ids or names alone, one a line |

`p2pnode job list --state running -o name | xargs -n 1 p2pnode job stop` stops all that runs.

Tables may change with any version. The fields of JSON and YAML stay, and new ones may come. Times are Unix
seconds, sizes bytes, CPU thousandths of a core. What others wrote (names, reasons) cannot act on a terminal
in any form.

Exceptions: `job describe -o yaml` prints a job file that can be submitted again, and so does
`job versions --show N` in all forms but JSON. `submit` and `job rerun` print CIDs as a table, or the id of
what goes on, and the executions in wide. `docker run` and `wasm run` have `--json` alone. `-o` names a folder
or file in `get` and `ipfs get`, and an output of the job in `docker run` and `wasm run`. `spec` prints a JSON
Schema.

## Commands

| Command | Prints |
|---|---|
"""
_PLAIN = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "any", type(None): "null"}
# Quoted words, but not the apostrophe of "peer's".
_QUOTED = re.compile(r"(?<!\w)'([^']*)'(?!\w)")


def page() -> str:
    """The page of all commands that give JSON."""
    lines = [f"| `{command}` | {_kind(kind)} |" for command, kind in ANSWERS.items()]
    objects = "".join(_object(kind) for kind in documented())
    return HEAD + "\n".join(lines) + f"\n\n## Objects\n{objects}"


def documented() -> list[Any]:
    """The types of all objects, each after the first that holds it."""
    found: list[Any] = []
    waiting = list(ANSWERS.values())
    while waiting:
        kind = waiting.pop(0)
        if is_typeddict(kind) and kind not in found:
            found.append(kind)
            waiting = [*get_type_hints(kind).values(), *waiting]
        else:
            waiting = [*get_args(kind), *waiting]
    return found


def fields_of(kind: Any) -> Iterator[tuple[str, Any, str]]:
    """Each field's name, type, and meaning, which is "" where none is told."""
    told = get_type_hints(kind, include_extras=True)
    for name, plain in get_type_hints(kind).items():
        texts = (one for one in getattr(told[name], "__metadata__", ()) if isinstance(one, str))
        yield name, plain, next(texts, "")


def _object(kind: Any) -> str:
    rows = [
        f"| `{name}` | {_kind(plain)} | {_readable(meaning)}{_choices(plain)} |"
        for name, plain, meaning in fields_of(kind)
    ]
    table = "\n".join(["| Field | Type | Meaning |", "|---|---|---|", *rows])
    about = f"{_readable(kind.__doc__)}\n\n" if kind.__doc__ else ""
    return f"\n### {_name(kind)}\n\n{about}{table}\n"


def _kind(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        return f"[{_name(kind)}](#{_name(kind).lower()})"
    if origin is list:
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return "object" if inner[1] is Any else f"object of {_kind(inner[1])}"
    if origin is types.UnionType:
        return " or ".join(map(_kind, inner))
    if isinstance(kind, type) and issubclass(kind, enum.StrEnum):
        return "text"
    return _PLAIN[kind]


def _choices(kind: Any) -> str:
    """The words that an enumeration has."""
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, enum.StrEnum):
            return f" One of {', '.join(f'`{word}`' for word in one)}."
    return ""


def _name(kind: Any) -> str:
    name: str = kind.__name__
    return name.removesuffix("Json")


def _readable(text: str) -> str:
    return _QUOTED.sub(r'`"\1"`', text)


if __name__ == "__main__":
    print(page(), end="")
