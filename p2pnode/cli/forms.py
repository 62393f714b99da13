"""The forms of what a command shows (`-o`): a table, with all there is, JSON, YAML, or names alone."""

from __future__ import annotations

import enum
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import click

from p2pnode.cli.output import answer, answer_document, answer_json, clock, rfc3339, table

T = TypeVar("T")
# The lines of a table or of fields; True: with all there is.
Lines: TypeAlias = Callable[[bool], Iterable[str]]
Command: TypeAlias = Callable[..., int]


class OutputForm(enum.StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    # Ids or names, for scripts.
    NAME = "name"

    @property
    def is_table(self) -> bool:
        return self in (OutputForm.TABLE, OutputForm.WIDE)


def takes_form(
    *, names: str = "", yaml: str = "", wide: str = "all there is"
) -> Callable[[Command], Command]:
    """-o and --json, which the command gets as one `OutputForm` by the name `form`.

    `names`: what -o name prints; without it there is none. `yaml`: what YAML is, where it isn't the JSON's;
    `wide`: what that is.
    """
    choices = [one.value for one in OutputForm if names or one is not OutputForm.NAME]
    meanings = {"wide": wide, "yaml": yaml, "name": names}
    said = "; ".join(f"{one}: {meaning}" for one, meaning in meanings.items() if meaning)

    def decorate(command: Command) -> Command:
        @click.option(
            "-o",
            "--output",
            "form",
            type=click.Choice(choices),
            default=OutputForm.TABLE.value,
            help=f"Print it in this form ({said}).",
        )
        @click.option("--json", "as_json", is_flag=True, hidden=True)
        @functools.wraps(command)
        def with_form(form: str, as_json: bool, **others: Any) -> int:
            wanted = OutputForm(form)
            if as_json and wanted not in (OutputForm.TABLE, OutputForm.JSON):
                raise click.UsageError(f"--json is -o json, so -o {wanted} cannot be given with it")
            return command(form=OutputForm.JSON if as_json else wanted, **others)

        return with_form

    return decorate


def answer_form(form: OutputForm, value: object, lines: Lines, names: Iterable[str] = ()) -> None:
    """Print the answer: `value` as JSON or YAML, its `lines` as a table, or its `names`."""
    if form is OutputForm.JSON:
        answer_json(value)
    elif form is OutputForm.YAML:
        answer_document(as_yaml(value))
    else:
        for line in names if form is OutputForm.NAME else lines(form is OutputForm.WIDE):
            answer(line)


def as_yaml(value: object) -> str:
    """The value's JSON as YAML: of one meaning, without aliases."""
    # Last: other forms do without YAML, which takes 30 ms to import.
    from p2pnode.core.jobfile import yamltree

    return yamltree.dump(json.loads(json.dumps(value)))


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table: its cell of a row, in `table`, where it is there, and in `wide`."""

    heading: str
    whole: Callable[[T], str]
    short: Callable[[T], str] | None


def column(heading: str, cell: Callable[[T], str], whole: Callable[[T], str] | None = None) -> Column[T]:
    """A column of both; `whole`: its cell in `wide`, where it is another."""
    return Column(heading, whole or cell, cell)


def wide_column(heading: str, cell: Callable[[T], str]) -> Column[T]:
    """A column of `wide` alone."""
    return Column(heading, cell, None)


def time_column(heading: str, at: Callable[[T], float], *, in_table: bool = True) -> Column[T]:
    """A column of Unix times: as a clock shows them, and as RFC 3339 in `wide`."""
    return Column(heading, lambda row: rfc3339(at(row)), (lambda row: clock(at(row))) if in_table else None)


def listing(columns: Sequence[Column[T]], rows: Iterable[T], *, prose_last: bool = False) -> Lines:
    """The lines of a table; with `prose_last` its last column is cut where a terminal ends, but in `wide`."""

    def lines(wide: bool) -> list[str]:
        shown = [(one.heading, one.whole if wide else one.short) for one in columns]
        there = [(heading, cell) for heading, cell in shown if cell is not None]
        cells = [[cell(row) for _, cell in there] for row in rows]
        return table([heading for heading, _ in there], cells, whole=wide, prose_last=prose_last)

    return lines


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels in a line, by their keys."""
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))
