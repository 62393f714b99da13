"""`doctor`: what on this machine keeps a node from working, a line for each check."""

from __future__ import annotations

from dataclasses import asdict

import click

from p2pnode.cli.forms import OutputForm, answer_form, takes_form
from p2pnode.cli.output import Styled, answer
from p2pnode.cli.status import Status
from p2pnode.core.values.text import ljust

_COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red"}
# The longest names of a level and of a check.
_LEVEL_COLUMNS, _CHECK_COLUMNS = 4, 10


@click.command()
@takes_form()
def doctor(form: OutputForm) -> int:
    """Check this machine and its node.

    With or without a node that runs; the exit status is 1 if a check fails.
    """
    # Last: this imports the engines, which takes half a second.
    from p2pnode.doctor import examination

    found = []
    for one in examination.examine():
        found.append(asdict(one))
        if form.is_table:
            text = f"{one.text}; {one.advice}" if one.advice else one.text
            level = Styled(ljust(one.level, _LEVEL_COLUMNS), _COLOURS[one.level])
            answer(level, "  ", ljust(one.check, _CHECK_COLUMNS), "  ", text)
    # A table's lines are shown as they are found.
    answer_form(form, {"checks": found}, lambda wide: ())
    return Status.UNWELL if any(one["level"] == "FAIL" for one in found) else Status.OK
