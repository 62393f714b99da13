"""Entry point of the command `p2pnode`.

Only the arguments are read here: what a command needs is imported once it is known, so that
`--help` and a wrong option answer at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2pnode.cli.arguments import make_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; gives the exit status (`cli.status.Status`)."""
    arguments = make_parser().parse_args(argv)
    from p2pnode.cli.dispatch import dispatch

    return dispatch(arguments)
