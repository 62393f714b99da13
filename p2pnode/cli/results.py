"""Content between the node and files of this machine: added, fetched, verified block by block."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from p2pnode.api.shapes import ExecutionJson, JobJson
from p2pnode.cli.output import say
from p2pnode.cli.progress import Progress
from p2pnode.cli.status import CommandError, Status
from p2pnode.cli.unfolding import Unfolding
from p2pnode.client.calls import Client
from p2pnode.core.values import content_paths
from p2pnode.core.values.units import ENTRY_SIZE_BYTES, about_bytes
from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import car, cid, unixfs
from p2pnode.ipfs.adding import adding
from p2pnode.ipfs.blocks import BlockStore, BlockUnavailable
from p2pnode.ipfs.export import TooLarge, export, write
from p2pnode.ipfs.partial import CannotExport, partial_folder


def final_executions(job: JobJson) -> list[ExecutionJson]:
    """The execution that stands for each replica in the job's last run, in their order: the last awarded."""
    last = {one["replica"]: one for one in job["executions"] if one["run"] == job["run"]}
    return [last[replica] for replica in sorted(last)]


def hashed(path: Path) -> str:
    """The CID that a file or directory has; nothing is stored."""
    with _readable(path):
        return unixfs.add_path(path, cid.make, left_out)


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
        with adding(store) as put:
            root = unixfs.add_path(path, put, left_out)
        progress.show(f"storing {root}")
        return client.import_car(car.write_car(root, store.get))


def fetch(client: Client, wanted: str, destination: Path, peers: list[str], room: Unfolding) -> None:
    """Write what a CID names to `destination`; what is there already, whole and the same, is left.

    Blocks that the node has are not fetched again, so a fetch that was interrupted goes on where it was.
    """
    if os.path.lexists(destination) and _is_already(wanted, destination):
        say(f"{destination} is there already, and verified")
        return
    with Progress(plain=False) as progress, failing(destination):
        room.ask = progress.ask
        room.has_come(bring(client, wanted, peers, progress))
        progress.show(f"writing {destination}")
        blocks = car.blocks_in_order(client.export_car(wanted, peers))
        export(wanted, blocks, destination, room=room, note=progress.say)


def fetch_into(
    client: Client, wanted: str, folder: int, name: str, peers: list[str], room: Unfolding
) -> None:
    """Write what a CID names to `name` in an open folder that is to become something; raises as `write`."""
    with Progress(plain=False) as progress:
        room.ask = progress.ask
        room.has_come(bring(client, wanted, peers, progress))
        progress.show(f"writing {name}")
        blocks = car.blocks_in_order(client.export_car(wanted, peers))
        write(wanted, blocks, folder, name, room, progress.say)


def fetch_car(client: Client, wanted: Sequence[tuple[str, list[str]]], file: Path, room: Unfolding) -> None:
    """Write the graphs of some CIDs, each with the peers that may have it, to one CAR file; all verified."""
    if os.path.lexists(file):
        raise CommandError(Status.FAILED, f"{file} exists")
    if len(wanted) > car.ROOTS_MAX:
        raise CommandError(Status.FAILED, f"a CAR of {len(wanted)} results; at most {car.ROOTS_MAX} fit")
    with Progress(plain=False) as progress, failing(file), partial_folder(file) as partial:
        room.ask = progress.ask
        with partial.new_file("car") as output:
            output.write(car.header([root for root, _ in wanted]))
            for root, peers in wanted:
                room.has_come(bring(client, root, peers, progress))
                progress.show(f"writing {file}")
                # Put together anew from verified blocks, so that none is missing.
                for piece in car.sections(root, car.blocks_in_order(client.export_car(root, peers))):
                    # As for files: a billion tiny blocks take long before they take much.
                    room.add(max(len(piece), ENTRY_SIZE_BYTES))
                    output.write(piece)
        partial.place("car")


def bring(client: Client, wanted: str, peers: list[str], progress: Progress) -> int:
    """Have the node fetch a CID, and show how far it is; gives the bytes of its blocks."""
    progress.show(f"fetching {wanted}")
    size_bytes = 0
    for fetched in client.fetch(wanted, peers):
        size_bytes, total_bytes = fetched["size_bytes"], fetched["total_bytes"]
        of_total = f" of {about_bytes(total_bytes)}" if total_bytes else ""
        progress.show(f"fetching {wanted}: {about_bytes(size_bytes)}{of_total}")
    return size_bytes


def parse_path(text: str) -> tuple[str, tuple[str, ...]]:
    """The job or CID in `ID/PATH`, and the names of the path."""
    try:
        return content_paths.split(text)
    except ValueError as error:
        raise CommandError(Status.USAGE, str(error)) from error


def parse_cid(text: str) -> str:
    try:
        return cid.canonical(text)
    except cid.BadCid as error:
        raise CommandError(
            Status.USAGE, str(error), "a job is named by its id or a prefix of it: j-..."
        ) from error


def left_out(what: str) -> None:
    say(what)


def _is_already(wanted: str, destination: Path) -> bool:
    """Whether a path has this content; an empty directory counts as nothing."""
    if destination.is_dir() and not any(destination.iterdir()):
        return False
    try:
        # Another user's content may be changed after it was verified.
        own = destination.lstat().st_uid == os.geteuid()
        return own and unixfs.add_path(destination, cid.make) == cid.canonical(wanted)
    except (OSError, unixfs.CannotAdd):
        return False


@contextmanager
def failing(path: Path) -> Iterator[None]:
    """Turn an error while `path` is written into a `CommandError`."""
    try:
        yield
    except TooLarge as error:
        hint = "--max-size and --max-files allow more, --yes as much as there is"
        raise CommandError(Status.FAILED, str(error), hint) from error
    except CannotExport as error:
        raise CommandError(Status.FAILED, str(error)) from error
    except (BlockUnavailable, BadMessage) as error:
        raise CommandError(Status.FAILED, str(error)) from error
    except OSError as error:
        raise CommandError(Status.FAILED, f"{path}: {error.strerror}") from error


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except unixfs.CannotAdd as error:
        raise CommandError(Status.FAILED, str(error)) from error
    except OSError as error:
        raise CommandError(Status.USAGE, f"{error.filename or path}: {error.strerror}") from error
