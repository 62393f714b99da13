"""`get`: a job's results, or any CID, as files or as a CAR, with the peers' receipts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from p2pnode.api.shapes import (
    Code,
    ExecutionJson,
    JobJson,
    ServiceError,
)
from p2pnode.cli import options
from p2pnode.cli.merging import merge
from p2pnode.cli.output import answer, say, short_id
from p2pnode.cli.ownfiles import make_directory
from p2pnode.cli.receipts import checked, say_whose_word, write_receipts
from p2pnode.cli.requester import any_node, running
from p2pnode.cli.results import (
    failing,
    fetch,
    fetch_car,
    fetch_into,
    parse_cid,
    parse_path,
)
from p2pnode.cli.status import CommandError, Status
from p2pnode.client.calls import Client
from p2pnode.client.errors import NodeUnreachable
from p2pnode.client.executions import final_executions
from p2pnode.client.unfolding import UNASKED_ENTRIES_MAX, UNASKED_SIZE_BYTES_MAX, Unfolding
from p2pnode.core.values import content_paths
from p2pnode.core.values.units import format_bytes, parse_bytes
from p2pnode.ipfs import cid
from p2pnode.ipfs.partial import partial_folder

# Executions whose results lack the path, told in an error of one line.
LACKING_TOLD_MAX = 3


def writing(command: Callable[..., int]) -> Callable[..., int]:
    """Add the flags of a command that fetches: --car, --max-size, --max-files, --yes."""

    @click.option(
        "--car", metavar="FILE", type=click.Path(path_type=Path), help="Write the blocks to one CAR file."
    )
    @click.option(
        "--max-size",
        metavar="SIZE",
        type=options.ParsedValue("size", parse_bytes),
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
@click.argument("what", metavar="JOB[/PATH]|CID[/PATH]", shell_complete=options.complete_jobs)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(),
    help="A directory to make; what PATH names is put into it.  [default: named by JOB or CID; with PATH,"
    " this one]",
)
@click.option(
    "-e", "--execution", metavar="ID", help="Only the result of this one, be it replaced or stopped since."
)
@click.option("--merge", "merged", is_flag=True, help="Put the results of all executions into one tree.")
@click.option(
    "--receipt", metavar="FILE", help="Write the peers' signed receipts, verified, as JSON; - to print."
)
@click.option(
    "--no-verify",
    "unverified",
    is_flag=True,
    help="Take the results by the word of the node that is asked alone.",
)
@writing
@options.peers
def get(
    what: str,
    output: str | None,
    execution: str | None,
    merged: bool,
    receipt: str | None,
    unverified: bool,
    car: Path | None,
    room: Unfolding,
    peers: tuple[str, ...],
) -> int:
    """Fetch a job's results, or any CID, and verify every block.

    A result counts by the signed receipt of the peer that ran it: the receipts are verified first, and whose
    word the results are is said. Without a receipt that holds nothing is written.

    A job is named by its id or a unique prefix of it, or by its Name: the last job that has it. Where several
    of its executions have results, each gets a folder in DIR. With PATH, such as JOB/outputs/model.bin or
    JOB/stdout, only that file or folder is fetched. What was interrupted goes on when it is begun again.
    """
    name, names = parse_path(what)
    is_cid, why_not = _is_cid(name)
    if is_cid:
        if merged or receipt or execution or unverified:
            reason = "--execution, --merge, --receipt and --no-verify are for the results of a job"
            raise CommandError(Status.USAGE, reason)
        place = f"{output}/" if output and names else output
        get_path(what, place, car, room, peers)
        return Status.OK
    id = name
    if not name.startswith("j-"):
        id, names = _named_job(what, name, names, why_not)
    with any_node(peers) as requester:
        job = requester.client.job(id)
        chosen = final_executions(job) if execution is None else _named(job, execution)
        if unverified and receipt:
            raise CommandError(Status.USAGE, "--receipt verifies what it writes: leave --no-verify away")
        if receipt:
            write_receipts(requester.client, job, chosen, receipt)
        if car:
            results = _results(requester.client, job, chosen, names, unverified)
            fetch_car(requester.client, [(cid, [one["peer"]]) for one, cid in results], car, room)
        else:
            answer(
                str(get_results(requester.client, job, room, output, merged, execution, names, unverified))
            )
    return Status.OK


def get_path(
    what: str, output: str | None, car: Path | None, room: Unfolding, peers: tuple[str, ...]
) -> None:
    """Fetch what a CID, or a path below one, names to a path or into a CAR file.

    What is to be put at a path that ends in a slash has its own name in that folder.
    """
    root, names = parse_path(what)
    wanted = parse_cid(root)
    own_name = names[-1] if names else wanted
    path = Path(output, own_name) if output and output.endswith("/") else Path(output or own_name)
    with any_node(peers) as requester:
        if names:
            wanted = requester.client.resolve(content_paths.join(wanted, names), [])
        if car:
            fetch_car(requester.client, [(wanted, [])], car, room)
        else:
            fetch(requester.client, wanted, path, [], room)
    answer(str(car or path))


def _is_cid(what: str) -> tuple[bool, str]:
    """Whether it is, and why it is not."""
    try:
        cid.canonical(what)
    except cid.BadCid as error:
        return False, str(error)
    return True, ""


def _named_job(what: str, first: str, path: tuple[str, ...], why_no_cid: str) -> tuple[str, tuple[str, ...]]:
    """The id of the job of a Name, and the path in its results; the Name itself may hold slashes.

    On the node that runs: none is started for what may be a slip.
    """
    hint = options.HOW_JOBS_ARE_NAMED
    readings = [(what, ()), (first, path)] if path else [(first, path)]
    for name, names in readings:
        try:
            return running().job(name)["id"], names
        except NodeUnreachable as error:
            raise CommandError(Status.USAGE, why_no_cid, hint) from error
        except ServiceError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            unknown = error
    raise CommandError(Status.USAGE, f"{why_no_cid}; and {unknown.message}", hint) from unknown


def _named(job: JobJson, prefix: str) -> list[ExecutionJson]:
    found = [one for one in job["executions"] if one["id"].startswith(prefix)]
    if len(found) != 1:
        raise CommandError(Status.USAGE, f"{job['id']} has {len(found) or 'no'} executions {prefix}")
    return found


def _results(
    client: Client, job: JobJson, chosen: list[ExecutionJson], names: tuple[str, ...], unverified: bool
) -> list[tuple[ExecutionJson, str]]:
    """The executions that have what a path names in their results, and its CID in each.

    Their receipts are verified, unless `unverified`, and whose word the results are is said.
    """
    found = [(one, one["result_cid"]) for one in chosen]
    results = [(one, result) for one, result in found if result]
    if not results:
        reason = f", {job['reason']}" if job["reason"] else ""
        others = [short_id(one["id"]) for one in job["executions"] if one["result_cid"]]
        hint = f"; an earlier execution has: get --execution {others[-1]}" if others else ""
        waits = (
            [f"when it has ended: p2pnode job wait {short_id(job['id'])}"] if job["outcome"] is None else []
        )
        raise CommandError(Status.FAILED, f"{job['id']} has no results: {job['state']}{reason}{hint}", *waits)
    with_result = [one for one, _ in results]
    if unverified:
        say("receipts are not verified: these results are by the word of the node that was asked alone")
    else:
        checked(client, job, with_result)
        say_whose_word(with_result)
    return _below(client, results, names) if names else results


def _below(
    client: Client, results: list[tuple[ExecutionJson, str]], names: tuple[str, ...]
) -> list[tuple[ExecutionJson, str]]:
    """The path's CID in each result; raises `CommandError` where all lack it, and says which do."""
    found: list[tuple[ExecutionJson, str]] = []
    lacking: list[str] = []
    for one, result in results:
        try:
            found.append((one, client.resolve(content_paths.join(result, names), [one["peer"]])))
        except ServiceError as error:
            if error.code is not Code.NO_SUCH_PATH:
                raise
            lacking.append(f"{short_id(one['id'])}: {error.message}")
    if not found:
        raise CommandError(Status.FAILED, "; ".join(lacking[:LACKING_TOLD_MAX]))
    for reason in lacking:
        say(reason)
    return found


def get_results(
    client: Client,
    job: JobJson,
    room: Unfolding,
    output: str | None = None,
    merged: bool = False,
    execution: str | None = None,
    names: tuple[str, ...] = (),
    unverified: bool = False,
) -> Path:
    """Fetch all results of a job to a directory, `output` or one with its name; gives the directory.

    With a path's `names` only what it names, under its own name; of one result alone that place is given.
    """
    chosen = final_executions(job) if execution is None else _named(job, execution)
    whose = f"job-{short_id(job['id'])[2:]}" if execution is None else short_id(chosen[0]["id"])
    directory = Path(output or whose)
    results = _results(client, job, chosen, names, unverified)
    if len(results) == 1:
        ((one, cid),) = results
        if names:
            directory = Path(output or "", names[-1])
        fetch(client, cid, directory, [one["peer"]], room)
    elif merged:
        _get_merged(client, results, directory, room, names)
    else:
        make_directory(directory)
        for one, cid in results:
            place = directory / short_id(one["id"])
            if names:
                make_directory(place)
            fetch(client, cid, place.joinpath(*names[-1:]), [one["peer"]], room)
    return directory


def _get_merged(
    client: Client,
    results: list[tuple[ExecutionJson, str]],
    directory: Path,
    room: Unfolding,
    names: tuple[str, ...],
) -> None:
    with failing(directory), partial_folder(directory) as partial:
        labels = [short_id(execution["id"]) for execution, _ in results]
        for label, (execution, cid) in zip(labels, results, strict=True):
            if not names:
                fetch_into(client, cid, partial.folder, label, [execution["peer"]], room)
                continue
            with partial.new_folder(label) as folder:
                fetch_into(client, cid, folder, names[-1], [execution["peer"]], room)
        for clash in merge(labels, "merged", partial.folder):
            say(clash)
        partial.place("merged")
