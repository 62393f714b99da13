"""`ipfs add|get|ls|pin`: files into the node's block store and out of it."""

from __future__ import annotations

from pathlib import Path

import click

from p2pnode.cli import options, results
from p2pnode.cli.get import get_path, writing
from p2pnode.cli.groups import Group
from p2pnode.cli.output import answer, answer_json, clock, table
from p2pnode.cli.progress import Progress
from p2pnode.cli.requester import any_node, running
from p2pnode.cli.results import parse_cid, parse_path
from p2pnode.cli.status import Status
from p2pnode.client import content
from p2pnode.client.unfolding import Unfolding
from p2pnode.core.values import content_paths
from p2pnode.core.values.units import about_bytes


@click.group(cls=Group)
def ipfs() -> None:
    """Put files into the node's block store, and fetch them."""


@ipfs.command("add")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--only-hash", is_flag=True, help="Store nothing; needs no node.")
def add(path: Path, only_hash: bool) -> int:
    """Add a file or directory, pin it, and print its CID."""
    answer(results.hashed(path) if only_hash else results.add(running(), path))
    return Status.OK


@ipfs.command("get")
@click.argument("what", metavar="CID[/PATH]")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    type=click.Path(),
    help="Where to put it; in that folder if it ends in a slash.  [default: its name]",
)
@writing
@options.peers
def get(what: str, output: str | None, car: Path | None, room: Unfolding, peers: tuple[str, ...]) -> int:
    """Fetch a CID, or of a folder only what PATH names, and verify every block.

    ipfs://CID/PATH and /ipfs/CID/PATH are read as well.
    """
    get_path(what, output, car, room, peers)
    return Status.OK


@ipfs.command("ls")
@click.argument("what", metavar="CID[/PATH]")
@options.as_json
@options.peers
def list_directory(what: str, as_json: bool, peers: tuple[str, ...]) -> int:
    """List a directory without fetching what is in it."""
    root, names = parse_path(what)
    with any_node(peers) as requester:
        entries = requester.client.list_directory(content_paths.join(parse_cid(root), names), [])
    if as_json:
        answer_json(entries)
        return Status.OK
    rows = [[entry["name"], about_bytes(entry["size_bytes"]), entry["cid"]] for entry in entries]
    for line in table(["NAME", "SIZE", "CID"], rows):
        answer(line)
    return Status.OK


@ipfs.group("pin", cls=Group)
def pin() -> None:
    """Say what the node keeps; other blocks go when room is needed."""


@pin.command("add")
@click.argument("what", metavar="CID")
@options.peers
def pin_add(what: str, peers: tuple[str, ...]) -> int:
    """Fetch a CID if it is not here, and keep it with all below it."""
    wanted = parse_cid(what)
    client = running()
    for peer in peers:
        client.connect(peer)
    with Progress(plain=False) as progress:
        content.bring(client, wanted, [], progress)
        client.pin(wanted, [])
    answer(wanted)
    return Status.OK


@pin.command("rm")
@click.argument("what", metavar="CID")
def pin_remove(what: str) -> int:
    """Keep a CID no longer; its blocks go when room is needed."""
    running().unpin(parse_cid(what))
    return Status.OK


@pin.command("ls")
@options.as_json
def pin_list(as_json: bool) -> int:
    """Show what the node keeps, and until when."""
    pins = running().pins()
    if as_json:
        answer_json(pins)
        return Status.OK
    rows = [[one["cid"], clock(one["until"]) if one["until"] else "-", one["what"] or "-"] for one in pins]
    for line in table(["CID", "UNTIL", "WHAT"], rows):
        answer(line)
    return Status.OK
