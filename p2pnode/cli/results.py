"""`get`, `ipfs add` and `ipfs get`: files out of the network and into it, every block verified."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from p2pnode.api.client import Client
from p2pnode.api.service import ExecutionJson, JobJson
from p2pnode.cli.output import answer, clean, say, short_id
from p2pnode.cli.progress import Progress
from p2pnode.cli.requester import any_node, running
from p2pnode.cli.status import CommandError, Status
from p2pnode.core.wire import BadMessage
from p2pnode.ipfs import car, cid, unixfs
from p2pnode.ipfs.blocks import BlockStore, BlockUnavailable
from p2pnode.ipfs.export import CannotExport, export


def final_executions(job: JobJson) -> list[ExecutionJson]:
    """The execution that stands for each replica, in their order: the last one awarded."""
    last = {execution["replica"]: execution for execution in job["executions"]}
    return [last[replica] for replica in sorted(last)]


def get(arguments: argparse.Namespace) -> int:
    """Fetch a job's results into a directory, or a CID as `ipfs get` does."""
    if not arguments.what.startswith("j-"):
        return ipfs_get(arguments)
    with any_node(arguments.peer) as door:
        job = door.client.job(arguments.what)
        output = Path(arguments.output or f"job-{short_id(job['id'])[2:]}")
        found = [(one, one["result_cid"]) for one in final_executions(job)]
        results = [(one, result) for one, result in found if result]
        if not results:
            raise CommandError(
                Status.FAILED, f"{job['id']} has no results: {job['state']}{_because(job['reason'])}"
            )
        for execution, result in results:
            several = len(results) > 1
            destination = output / short_id(execution["id"]) if several else output
            _fetch(door.client, result, destination, [execution["peer"]])
    answer(str(output))
    return Status.OK


def ipfs_get(arguments: argparse.Namespace) -> int:
    """Fetch a CID to a path that must not be there yet."""
    wanted = _cid(arguments.what)
    output = Path(arguments.output or wanted)
    with any_node(arguments.peer) as door:
        _fetch(door.client, wanted, output, [])
    answer(str(output))
    return Status.OK


def ipfs_add(arguments: argparse.Namespace) -> int:
    """Compute a path's CID and, unless only that is asked for, send its blocks to the node."""
    path = Path(arguments.path)
    try:
        if arguments.only_hash:
            answer(unixfs.add_path(path, cid.make, _left_out))
            return Status.OK
        client = running()
        client.identity()
        # Held on disk in between: a CAR names its root before the blocks that make it.
        with (
            tempfile.TemporaryDirectory(prefix="p2pnode-add-") as directory,
            Progress(plain=False) as progress,
        ):
            store = BlockStore(Path(directory))
            progress.show(f"reading {path}")
            root = unixfs.add_path(path, store.put, _left_out)
            progress.show(f"storing {root}")
            added = client.import_car(car.write_car(root, store.get))
    except unixfs.CannotAdd as error:
        raise CommandError(Status.FAILED, str(error)) from error
    except OSError as error:
        raise CommandError(Status.USAGE, f"{error.filename or path}: {error.strerror}") from error
    answer(added)
    return Status.OK


def _fetch(client: Client, wanted: str, destination: Path, peers: list[str]) -> None:
    """Write what a CID names to `destination`, which must not exist or be an empty directory."""
    with Progress(plain=False) as progress:
        progress.show(f"fetching {wanted} to {destination}")
        try:
            blocks = car.blocks_in_order(client.export_car(wanted, peers))
            export(wanted, blocks, destination, note=_left_out)
        except (CannotExport, BlockUnavailable, BadMessage) as error:
            raise CommandError(Status.FAILED, clean(str(error))) from error
        except OSError as error:
            raise CommandError(Status.FAILED, f"{destination}: {error.strerror}") from error


def _cid(text: str) -> str:
    try:
        return cid.canonical(text)
    except cid.BadCid as error:
        raise CommandError(
            Status.USAGE, str(error), "a job is named by its id or a prefix of it: j-..."
        ) from error


def _because(reason: str) -> str:
    return f", {clean(reason)}" if reason else ""


def _left_out(what: str) -> None:
    say(clean(what))
