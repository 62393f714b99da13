"""`get`: a job's results, or any CID, as files or as a CAR, with the peers' receipts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from p2pnode.api.client import Client, NodeUnreachable
from p2pnode.api.service import Code, ExecutionJson, JobJson, ServiceError
from p2pnode.cli import options
from p2pnode.cli.merging import merge
from p2pnode.cli.output import answer, say, short_id
from p2pnode.cli.ownfiles import make_directory
from p2pnode.cli.receipts import write_receipts
from p2pnode.cli.requester import any_node, running
from p2pnode.cli.results import failing, fetch, fetch_car, fetch_into, final_executions, parse_cid
from p2pnode.cli.status import CommandError, Status
from p2pnode.cli.unfolding import UNASKED_ENTRIES_MAX, UNASKED_SIZE_BYTES_MAX, Unfolding
from p2pnode.core.units import format_bytes, parse_bytes
from p2pnode.ipfs import cid
from p2pnode.ipfs.partial import partial_folder


def writing(command: Callable[..., int]) -> Callable[..., int]:
    """What a command that fetches may write: the flags --car, --max-size, --max-files, --yes."""

    @click.option(
        "--car", metavar="FILE", type=click.Path(path_type=Path), help="Write the blocks to one CAR file."
    )
    @click.option(
        "--max-size",
        metavar="SIZE",
        type=options.Parsed("size", parse_bytes),
        help="Write no more than this.  [default: asks beyond"
        f" {format_bytes(UNASKED_SIZE_BYTES_MAX)}, or ten times what came]",
    )
    @click.option(
        "--max-files",
        metavar="COUNT",
        type=click.IntRange(1),
        help="Write no more files and directories than this."
        f"  [default: asks beyond {UNASKED_ENTRIES_MAX:,}]",
    )
    @click.option("-y", "--yes", is_flag=True, help="Write as much as there is and ask nothing.")
    @functools.wraps(command)
    def with_writing(max_size: int | None, max_files: int | None, yes: bool, **others: Any) -> int:
        return command(room=Unfolding(max_size, max_files, yes), **others)

    return with_writing


@click.command()
@click.argument("what", metavar="JOB|CID")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(),
    help="A directory to make.  [default: named by JOB or CID]",
)
@click.option(
    "-e", "--execution", metavar="ID", help="Only the result of this one, be it replaced or stopped since."
)
@click.option("--merge", "merged", is_flag=True, help="Put the results of all executions into one tree.")
@click.option(
    "--receipt", metavar="FILE", help="Write the peers' signed receipts, verified, as JSON; - to print."
)
@writing
@options.peers
def get(
    what: str,
    output: str | None,
    execution: str | None,
    merged: bool,
    receipt: str | None,
    car: Path | None,
    room: Unfolding,
    peers: tuple[str, ...],
) -> int:
    """Fetch a job's results, or any CID, and verify every block.

    A job is named by its id or a unique prefix of it, or by its Name: the last job that has it. Where several
    of its executions have results, each gets a folder in DIR. What was interrupted goes on when it is begun
    again.
    """
    is_cid, why_not = _is_cid(what)
    if is_cid:
        if merged or receipt or execution:
            reason = "--execution, --merge and --receipt are for the results of a job"
            raise CommandError(Status.USAGE, reason)
        get_path(what, output, car, room, peers)
        return Status.OK
    id = what if what.startswith("j-") else _id_of(what, why_not)
    with any_node(peers) as door:
        job = door.client.job(id)
        chosen = final_executions(job) if execution is None else _named(job, execution)
        if receipt:
            write_receipts(door.client, job, chosen, receipt)
        if car:
            results = _results(job, chosen)
            fetch_car(door.client, [(cid, [one["peer"]]) for one, cid in results], car, room)
        else:
            answer(str(get_results(door.client, job, room, output, merged, execution)))
    return Status.OK


def get_path(
    what: str, output: str | None, car: Path | None, room: Unfolding, peers: tuple[str, ...]
) -> None:
    """Fetch a CID to a path, or into a CAR file."""
    wanted = parse_cid(what)
    path = Path(output or wanted)
    with any_node(peers) as door:
        if car:
            fetch_car(door.client, [(wanted, [])], car, room)
        else:
            fetch(door.client, wanted, path, [], room)
    answer(str(car or path))


def _is_cid(what: str) -> tuple[bool, str]:
    """Whether it is, and why it is not."""
    try:
        cid.canonical(what)
    except cid.BadCid as error:
        return False, str(error)
    return True, ""


def _id_of(name: str, why_no_cid: str) -> str:
    """The id of the job of a name on the node that runs: none is started for what may be a slip."""
    hint = "a job is named by its id or a prefix of it, j-..., or by its Name"
    try:
        return running().job(name)["id"]
    except NodeUnreachable as error:
        raise CommandError(Status.USAGE, why_no_cid, hint) from error
    except ServiceError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        raise CommandError(Status.USAGE, f"{why_no_cid}; and {error.message}", hint) from error


def _named(job: JobJson, prefix: str) -> list[ExecutionJson]:
    found = [one for one in job["executions"] if one["id"].startswith(prefix)]
    if len(found) != 1:
        raise CommandError(Status.USAGE, f"{job['id']} has {len(found) or 'no'} executions {prefix}")
    return found


def _results(job: JobJson, chosen: list[ExecutionJson]) -> list[tuple[ExecutionJson, str]]:
    found = [(one, one["result_cid"]) for one in chosen]
    results = [(one, result) for one, result in found if result]
    if not results:
        reason = f", {job['reason']}" if job["reason"] else ""
        others = [short_id(one["id"]) for one in job["executions"] if one["result_cid"]]
        hint = f"; an earlier execution has: get --execution {others[-1]}" if others else ""
        raise CommandError(Status.FAILED, f"{job['id']} has no results: {job['state']}{reason}{hint}")
    return results


def get_results(
    client: Client,
    job: JobJson,
    room: Unfolding,
    output: str | None = None,
    merged: bool = False,
    execution: str | None = None,
) -> Path:
    """Fetch all results of a job to a directory, `output` or one with its name; gives the directory."""
    chosen = final_executions(job) if execution is None else _named(job, execution)
    whose = f"job-{short_id(job['id'])[2:]}" if execution is None else short_id(chosen[0]["id"])
    directory = Path(output or whose)
    results = _results(job, chosen)
    if len(results) == 1:
        ((one, cid),) = results
        fetch(client, cid, directory, [one["peer"]], room)
    elif merged:
        _get_merged(client, results, directory, room)
    else:
        make_directory(directory)
        for one, cid in results:
            fetch(client, cid, directory / short_id(one["id"]), [one["peer"]], room)
    return directory


def _get_merged(
    client: Client, results: list[tuple[ExecutionJson, str]], directory: Path, room: Unfolding
) -> None:
    with failing(directory), partial_folder(directory) as partial:
        names = [short_id(execution["id"]) for execution, _ in results]
        for name, (execution, cid) in zip(names, results, strict=True):
            fetch_into(client, cid, partial, name, [execution["peer"]], room)
        for clash in merge(names, "merged", partial.folder):
            say(clash)
        partial.place("merged")
