"""`token create`, `token list` and `token revoke`: who may call the node's API."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from p2pnode.api.token_shapes import TokenJson, TokenKind
from p2pnode.cli import options
from p2pnode.cli.forms import Column, OutputForm, answer_form, column, listing, takes_form, time_column
from p2pnode.cli.groups import Group
from p2pnode.cli.output import answer, clock, rfc3339, say
from p2pnode.cli.requester import running
from p2pnode.cli.status import Status
from p2pnode.core.values.units import parse_duration


@click.group(cls=Group)
def token() -> None:
    """Let programs and people use this node's API, each by a token of its own."""


@token.command()
@click.argument("name")
@click.option("--read", is_flag=True, help="It may look at everything and change nothing.")
@click.option(
    "--expires",
    "lifetime_s",
    metavar="TIME",
    type=options.ParsedValue("duration", parse_duration),
    help="It works for that long: seconds, or such as 720h.",
)
def create(name: str, read: bool, lifetime_s: int | None) -> int:
    """Make a token and print it, which no command does again."""
    kind = TokenKind.READ if read else TokenKind.WRITE
    answer(running().create_token(name, kind, lifetime_s))
    say(f"a {kind} token; its user sets P2PNODE_TOKEN to it, and P2PNODE_API to this node's API")
    return Status.OK


@token.command("list")
@takes_form(names="names alone")
def list_tokens(form: OutputForm) -> int:
    """List the tokens that were made here, without their secrets."""
    found = running().tokens()
    if form.is_table and not found:
        say("no token was made here; the owner's, in api.token in the data directory, is not listed")
        return Status.OK
    answer_form(form, {"tokens": found}, listing(_TOKENS, found), (one["name"] for one in found))
    return Status.OK


@token.command()
@click.argument("name")
def revoke(name: str) -> int:
    """Let nobody in by a token any more; what is asked by it ends."""
    running().revoke_token(name)
    say(f"the token {name} is revoked")
    return Status.OK


def _expires(one: TokenJson) -> str:
    at = one["expires"]
    if at is None:
        return "never"
    return clock(at) if at > time.time() else "expired"


_TOKENS: Sequence[Column[TokenJson]] = (
    column("NAME", lambda one: one["name"]),
    column("KIND", lambda one: one["kind"]),
    time_column("CREATED", lambda one: one["created"]),
    column(
        "LAST USED",
        lambda one: "never" if one["last_used"] is None else clock(one["last_used"]),
        lambda one: "never" if one["last_used"] is None else rfc3339(one["last_used"]),
    ),
    column("EXPIRES", _expires, lambda one: "never" if one["expires"] is None else rfc3339(one["expires"])),
)
