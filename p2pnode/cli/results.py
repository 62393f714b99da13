"""Content between the node and files of this machine, and what a person sees of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from p2pnode.cli.output import say
from p2pnode.cli.progress import Progress
from p2pnode.cli.status import CommandError, Status
from p2pnode.client import content
from p2pnode.client.calls import Client
from p2pnode.client.errors import ResultTooLarge
from p2pnode.client.unfolding import Unfolding
from p2pnode.core.values import content_paths
from p2pnode.ipfs import cid, unixfs


def hashed(path: Path) -> str:
    """The CID that a file or directory has; nothing is stored."""
    with _readable(path):
        return unixfs.add_path(path, cid.make, left_out)


def add(client: Client, path: Path) -> str:
    """Send a file or directory to the node's block store; gives its CID."""
    with _readable(path), Progress(plain=False) as progress:
        return content.add(client, path, left_out, progress)


def fetch(client: Client, wanted: str, destination: Path, peers: list[str], room: Unfolding) -> None:
    """`content.fetch`, watched by the person at the terminal."""
    with Progress(plain=False) as progress, failing(destination):
        content.fetch(client, wanted, destination, peers, room, progress)


def fetch_into(
    client: Client, wanted: str, folder: int, name: str, peers: list[str], room: Unfolding
) -> None:
    """`content.fetch_into`, watched by the person at the terminal."""
    with Progress(plain=False) as progress:
        content.fetch_into(client, wanted, folder, name, peers, room, progress)


def fetch_car(client: Client, wanted: Sequence[tuple[str, list[str]]], file: Path, room: Unfolding) -> None:
    """`content.fetch_car`, watched by the person at the terminal."""
    with Progress(plain=False) as progress, failing(file):
        content.fetch_car(client, wanted, file, room, progress)


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
            Status.USAGE,
            str(error),
            "for a job's results, p2pnode get takes its id, a prefix of it, or its Name",
        ) from error


def left_out(what: str) -> None:
    say(what)


@contextmanager
def failing(path: Path) -> Iterator[None]:
    """Turn an error while `path` is written into a `CommandError`."""
    try:
        with content.told():
            yield
    except ResultTooLarge as error:
        hint = "--max-size and --max-files allow more, --yes as much as there is"
        raise CommandError(Status.FAILED, str(error), hint) from error
    except OSError as error:
        raise CommandError(Status.FAILED, f"{path}: {error.strerror}") from error


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except unixfs.CannotAdd as error:
        raise CommandError(Status.FAILED, str(error)) from error
    except OSError as error:
        # Trees are walked by descriptors, so what is below has its bare name.
        itself = error.filename in (None, path.name, str(path))
        where = path if itself else f"{error.filename} in {path}"
        raise CommandError(Status.USAGE, f"{where}: {error.strerror}") from error
