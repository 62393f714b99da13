"""`node problems`: what has failed on this node, and what is to become of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from p2pnode.api.shapes import ProblemJson
from p2pnode.cli.forms import Column, OutputForm, answer_form, column, listing, takes_form, time_column
from p2pnode.cli.output import clock, fields, rfc3339, say
from p2pnode.cli.requester import running
from p2pnode.cli.status import CommandError, Status


@click.command()
@click.option("--show", type=int, metavar="N", help="All that is known of problem N.")
@click.option("--retry", type=int, metavar="N", help="Go on with what was set aside as problem N.")
@click.option("--drop", type=int, metavar="N", help="Forget problem N, and what was set aside with it.")
@takes_form(names="numbers alone")
def problems(show: int | None, retry: int | None, drop: int | None, form: OutputForm) -> int:
    """List what has failed on this node.

    A job or execution that fails by itself is set aside: the node goes on without it, also after a
    restart, until it is tried again or dropped here.
    """
    if sum(one is not None for one in (show, retry, drop)) > 1:
        raise click.UsageError("one of --show, --retry and --drop at a time")
    client = running()
    if retry is not None:
        client.retry_problem(retry)
        say(f"problem {retry} is being tried again")
        return Status.OK
    if drop is not None:
        client.drop_problem(drop)
        say(f"problem {drop} is dropped")
        return Status.OK
    found = client.problems()
    if show is not None:
        found = [one for one in found if one["number"] == show]
        if not found:
            raise CommandError(Status.FAILED, f"there is no problem {show}; see p2pnode node problems")
    if form.is_table and not found:
        say("nothing has failed on this node")
        return Status.OK
    numbers = [str(one["number"]) for one in found]
    if show is None:
        answer_form(form, {"problems": found}, listing(_PROBLEMS, found, prose_last=True), numbers)
    else:
        answer_form(form, {"problems": found}, lambda wide: _shown(found[0], wide), numbers)
    return Status.OK


def _state(one: ProblemJson) -> str:
    return "set aside" if one["aside"] else "goes on"


_PROBLEMS: Sequence[Column[ProblemJson]] = (
    column("NO", lambda one: str(one["number"])),
    time_column("FIRST", lambda one: one["first_at"], in_table=False),
    time_column("LAST", lambda one: one["last_at"]),
    column("WHAT", lambda one: one["kind"]),
    column("WHICH", lambda one: one["subject"]),
    column("STATE", _state),
    column("TIMES", lambda one: str(one["count"])),
    column("REASON", lambda one: one["reason"]),
)


def _shown(one: ProblemJson, wide: bool) -> Iterator[str]:
    at = rfc3339 if wide else clock
    yield from fields(
        [
            ("Problem", str(one["number"])),
            ("What", f"{one['kind']} {one['subject']}"),
            ("State", _state(one)),
            ("Times", str(one["count"])),
            ("First", at(one["first_at"])),
            ("Last", at(one["last_at"])),
            ("Reason", one["reason"]),
        ]
    )
    yield from one["detail"].removesuffix("\n").split("\n")
