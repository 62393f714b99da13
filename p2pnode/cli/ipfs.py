"""`ipfs add|get|ls|pin`: files into the node's block store and out of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from p2pnode.api.content_shapes import EntryJson, PinJson
from p2pnode.cli import options, results
from p2pnode.cli.forms import Column, OutputForm, answer_form, column, listing, takes_form
from p2pnode.cli.get import get_path, writing
from p2pnode.cli.groups import Group
from p2pnode.cli.output import answer, clock, rfc3339
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
@takes_form(names="names alone")
@options.peers
def list_directory(what: str, form: OutputForm, peers: tuple[str, ...]) -> int:
    """List a directory without fetching what is in it."""
    root, names = parse_path(what)
    with any_node(peers) as requester:
        entries = requester.client.list_directory(content_paths.join(parse_cid(root), names), [])
    answer_form(form, entries, listing(_ENTRIES, entries), (one["name"] for one in entries))
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
@takes_form(names="CIDs alone")
def pin_list(form: OutputForm) -> int:
    """Show what the node keeps, and until when."""
    pins = running().pins()
    answer_form(form, pins, listing(_PINS, pins), (one["cid"] for one in pins))
    return Status.OK


_ENTRIES: Sequence[Column[EntryJson]] = (
    column("NAME", lambda one: one["name"]),
    column("SIZE", lambda one: about_bytes(one["size_bytes"]), lambda one: str(one["size_bytes"])),
    column("CID", lambda one: one["cid"]),
)
_PINS: Sequence[Column[PinJson]] = (
    column("CID", lambda one: one["cid"]),
    column(
        "UNTIL",
        lambda one: clock(one["until"]) if one["until"] else "-",
        lambda one: rfc3339(one["until"]) if one["until"] else "-",
    ),
    column("WHAT", lambda one: one["what"] or "-"),
)
