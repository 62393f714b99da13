"""`dashboard`: the node's page in a browser, by an address that works once."""

from __future__ import annotations

import webbrowser

import click

from p2pnode.cli.output import answer, say
from p2pnode.cli.requester import running
from p2pnode.cli.status import Status


@click.command()
@click.option("--open/--no-open", "opens", default=True, help="Open it in a browser, or print it alone.")
def dashboard(opens: bool) -> int:
    """Open the node's page in a browser, and print its address.

    The address works once, within a minute; the browser is let in for 12 hours.
    """
    address = running().begin_session()
    answer(address)
    if opens and not webbrowser.open(address):
        say("no browser was found here: open the address in one")
    return Status.OK
