"""`node problems`: what has failed on this node, and what is to become of it."""

from __future__ import annotations

import click

from p2pnode.api.shapes import ProblemJson
from p2pnode.cli import options
from p2pnode.cli.output import answer, answer_document, answer_json, clock, fields, say, table
from p2pnode.cli.requester import running
from p2pnode.cli.status import CommandError, Status


@click.command()
@click.option("--show", type=int, metavar="N", help="All that is known of problem N.")
@click.option("--retry", type=int, metavar="N", help="Go on with what was set aside as problem N.")
@click.option("--drop", type=int, metavar="N", help="Forget problem N, and what was set aside with it.")
@options.as_json
def problems(show: int | None, retry: int | None, drop: int | None, as_json: bool) -> int:
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
            raise CommandError(Status.USAGE, f"there is no problem {show}")
    if as_json:
        answer_json({"problems": found})
    elif show is not None:
        _show(found[0])
    else:
        _list(found)
    return Status.OK


def _list(found: list[ProblemJson]) -> None:
    if not found:
        say("nothing has failed on this node")
        return
    rows = [
        [
            str(one["number"]),
            clock(one["last_at"]),
            one["kind"],
            one["subject"],
            "set aside" if one["aside"] else "goes on",
            str(one["count"]),
            one["reason"],
        ]
        for one in found
    ]
    for line in table(["NO", "LAST", "WHAT", "WHICH", "STATE", "TIMES", "REASON"], rows):
        answer(line)


def _show(one: ProblemJson) -> None:
    pairs = [
        ("Problem", str(one["number"])),
        ("What", f"{one['kind']} {one['subject']}"),
        ("State", "set aside" if one["aside"] else "goes on"),
        ("Times", str(one["count"])),
        ("First", clock(one["first_at"])),
        ("Last", clock(one["last_at"])),
        ("Reason", one["reason"]),
    ]
    for line in fields(pairs):
        answer(line)
    answer_document(one["detail"])
