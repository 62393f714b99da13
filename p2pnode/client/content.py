"""Content between a node and files of this machine: added, fetched, verified block by block."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from p2pnode.core.values.units import ENTRY_SIZE_BYTES, about_bytes
from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import car, cid, unixfs
from p2pnode.ipfs.adding import adding
from p2pnode.ipfs.blocks import BlockStore, BlockUnavailable
from p2pnode.ipfs.export import TooLarge, export, write
from p2pnode.ipfs.partial import CannotExport, partial_folder

from .calls import Client
from .errors import CannotSave, NotVerified, ResultTooLarge
from .interrupts import check_interrupt
from .unfolding import Unfolding


class Watcher(Protocol):
    """A person, or nobody, who is told how far a transfer is."""

    def show(self, text: str) -> None:
        """The step that now goes on."""

    def say(self, text: str) -> None:
        """A line to keep."""

    def ask(self, question: str) -> bool:
        """Whether to go on."""


class Unwatched:
    """Nobody: what would have to be asked is refused."""

    def show(self, text: str) -> None:
        check_interrupt()

    def say(self, text: str) -> None:
        check_interrupt()

    def ask(self, question: str) -> bool:
        return False


def add(client: Client, path: Path, note: Callable[[str], None], watcher: Watcher) -> str:
    """Send a file or directory to the node's block store; gives its CID.

    `note` is told of what is left out. Raises `unixfs.CannotAdd` and `OSError`.
    """
    client.identity()
    # Held on disk in between: a CAR names its root before the blocks that make it.
    with tempfile.TemporaryDirectory(prefix="p2pnode-add-") as directory:
        store = BlockStore(Path(directory))
        watcher.show(f"reading {path}")
        with adding(store) as put:

            def put_checked(data: bytes, codec: cid.Codec) -> str:
                check_interrupt()
                return put(data, codec)

            root = unixfs.add_path(path, put_checked, note)
        watcher.show(f"storing {root}")
        return client.import_car(car.write_car(root, store.get))


def fetch(
    client: Client, wanted: str, destination: Path, peers: list[str], room: Unfolding, watcher: Watcher
) -> None:
    """Write what a CID names to `destination`; what is there already, whole and the same, is left.

    Blocks that the node has are not fetched again, so a fetch that was interrupted goes on where it was.
    """
    if os.path.lexists(destination) and _is_already(wanted, destination):
        watcher.say(f"{destination} is there already, and verified")
        return
    with told():
        room.ask = watcher.ask
        room.has_come(bring(client, wanted, peers, watcher))
        watcher.show(f"writing {destination}")
        with closing(client.export_car(wanted, peers)) as stream:
            export(wanted, car.blocks_in_order(stream), destination, room=room, note=watcher.say)


def fetch_into(
    client: Client,
    wanted: str,
    folder: int,
    name: str,
    peers: list[str],
    room: Unfolding,
    watcher: Watcher,
) -> None:
    """Write what a CID names to `name` in an open folder that is to become something; raises as `write`."""
    room.ask = watcher.ask
    room.has_come(bring(client, wanted, peers, watcher))
    watcher.show(f"writing {name}")
    with closing(client.export_car(wanted, peers)) as stream:
        write(wanted, car.blocks_in_order(stream), folder, name, room, watcher.say)


def fetch_car(
    client: Client,
    wanted: Sequence[tuple[str, list[str]]],
    file: Path,
    room: Unfolding,
    watcher: Watcher,
) -> None:
    """Write the graphs of some CIDs, each with the peers that may have it, to one CAR file; all verified."""
    if os.path.lexists(file):
        raise CannotSave(f"{file} exists")
    if len(wanted) > car.ROOTS_MAX:
        raise CannotSave(f"a CAR of {len(wanted)} results; at most {car.ROOTS_MAX} fit")
    room.ask = watcher.ask
    with told(), partial_folder(file) as partial:
        with partial.new_file("car") as output:
            output.write(car.header([root for root, _ in wanted]))
            for root, peers in wanted:
                room.has_come(bring(client, root, peers, watcher))
                watcher.show(f"writing {file}")
                with closing(client.export_car(root, peers)) as stream:
                    # Put together anew from verified blocks, so that none is missing.
                    for piece in car.sections(root, car.blocks_in_order(stream)):
                        # As for files: a billion tiny blocks take long before they take much.
                        room.add(max(len(piece), ENTRY_SIZE_BYTES))
                        output.write(piece)
        partial.place("car")


def bring(client: Client, wanted: str, peers: list[str], watcher: Watcher) -> int:
    """Have the node fetch a CID, and show how far it is; gives the bytes of its blocks."""
    watcher.show(f"fetching {wanted}")
    size_bytes = 0
    for fetched in client.fetch(wanted, peers):
        size_bytes, total_bytes = fetched["size_bytes"], fetched["total_bytes"]
        of_total = f" of {about_bytes(total_bytes)}" if total_bytes else ""
        watcher.show(f"fetching {wanted}: {about_bytes(size_bytes)}{of_total}")
    return size_bytes


def _is_already(wanted: str, destination: Path) -> bool:
    """Whether a path has this content; an empty directory counts as nothing."""
    if destination.is_dir() and not any(destination.iterdir()):
        return False

    def checked(data: bytes, codec: cid.Codec) -> str:
        check_interrupt()
        return cid.make(data, codec)

    try:
        # Another user's content may be changed after it was verified.
        own = destination.lstat().st_uid == os.geteuid()
        return own and unixfs.add_path(destination, checked) == cid.canonical(wanted)
    except (OSError, unixfs.CannotAdd):
        return False


@contextmanager
def told() -> Iterator[None]:
    """Turn what goes wrong while content is read and written into a `ClientError`, but for `OSError`."""
    try:
        yield
    except TooLarge as error:
        raise ResultTooLarge(str(error)) from error
    except CannotExport as error:
        raise CannotSave(str(error)) from error
    except (BlockUnavailable, BadMessage) as error:
        raise NotVerified(str(error)) from error
