"""`get`, `ipfs add` and `ipfs get`: files out of the network and into it, every block verified."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from p2pnode.api.client import Client
from p2pnode.api.service import ExecutionJson, JobJson
from p2pnode.cli import options
from p2pnode.cli.groups import Group
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


@click.command()
@click.argument("what", metavar="JOB|CID")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(),
    help="A directory to make.  [default: named by JOB or CID]",
)
@options.peers
def get(what: str, output: str | None, peers: tuple[str, ...]) -> int:
    """Fetch a job's results, or any CID, and verify every block.

    A job is named by its id or a unique prefix of it. Where several of its executions have results, each
    gets a folder in DIR.
    """
    if what.startswith("j-"):
        _get_results(what, output, peers)
    else:
        _get_path(what, output, peers)
    return Status.OK


def _get_results(id_or_prefix: str, output: str | None, peers: tuple[str, ...]) -> None:
    with any_node(peers) as door:
        job = door.client.job(id_or_prefix)
        directory = Path(output or f"job-{short_id(job['id'])[2:]}")
        found = [(one, one["result_cid"]) for one in final_executions(job)]
        results = [(one, result) for one, result in found if result]
        if not results:
            raise CommandError(
                Status.FAILED, f"{job['id']} has no results: {job['state']}{_because(job['reason'])}"
            )
        for execution, result in results:
            several = len(results) > 1
            destination = directory / short_id(execution["id"]) if several else directory
            _fetch(door.client, result, destination, [execution["peer"]])
    answer(str(directory))


def _get_path(what: str, output: str | None, peers: tuple[str, ...]) -> None:
    """Fetch a CID to a path that must not be there yet."""
    wanted = _cid(what)
    path = Path(output or wanted)
    with any_node(peers) as door:
        _fetch(door.client, wanted, path, [])
    answer(str(path))


@click.group(cls=Group)
def ipfs() -> None:
    """Put files into the node's block store, and fetch them."""


@ipfs.command("get")
@click.argument("what", metavar="CID")
@click.option(
    "-o", "--output", metavar="PATH", type=click.Path(), help="Where to put it.  [default: named by the CID]"
)
@options.peers
def ipfs_get(what: str, output: str | None, peers: tuple[str, ...]) -> int:
    """Fetch a CID and verify every block."""
    _get_path(what, output, peers)
    return Status.OK


@ipfs.command("add")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--only-hash", is_flag=True, help="Store nothing; needs no node.")
def ipfs_add(path: Path, only_hash: bool) -> int:
    """Add a file or directory and print its CID."""
    answer(hashed(path) if only_hash else add(running(), path))
    return Status.OK


def hashed(path: Path) -> str:
    """The CID that a file or directory has; nothing is stored."""
    with _readable(path):
        return unixfs.add_path(path, cid.make, _left_out)


def add(client: Client, path: Path) -> str:
    """Send a file or directory to the node's block store; gives its CID."""
    client.identity()
    # Held on disk in between: a CAR names its root before the blocks that make it.
    with (
        _readable(path),
        tempfile.TemporaryDirectory(prefix="p2pnode-add-") as directory,
        Progress(plain=False) as progress,
    ):
        store = BlockStore(Path(directory))
        progress.show(f"reading {path}")
        root = unixfs.add_path(path, store.put, _left_out)
        progress.show(f"storing {root}")
        return client.import_car(car.write_car(root, store.get))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except unixfs.CannotAdd as error:
        raise CommandError(Status.FAILED, str(error)) from error
    except OSError as error:
        raise CommandError(Status.USAGE, f"{error.filename or path}: {error.strerror}") from error


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
