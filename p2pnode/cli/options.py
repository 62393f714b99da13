"""Options and arguments that several commands have."""

from __future__ import annotations

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
peers = click.option(
    "--peer", "peers", metavar="ADDR", multiple=True, help="A node to connect to first; may be repeated."
)
job_id = click.argument("job_id", metavar="JOB")
job_file = click.argument("job_file", metavar="SPEC", type=click.Path(allow_dash=True))
