"""`validate`, `plan` and `spec`: what can be said of a job before it is submitted."""

from __future__ import annotations

from collections.abc import Iterable

import click

from p2pnode.api.shapes import PlanJson, ReasonJson
from p2pnode.cli import jobfiles, options
from p2pnode.cli.answers import FileProblemJson, ValidityJson
from p2pnode.cli.forms import OutputForm, answer_form, takes_form
from p2pnode.cli.options import GivenFile
from p2pnode.cli.output import answer, answer_json, fields, short_peer
from p2pnode.cli.requester import any_node
from p2pnode.cli.status import Status
from p2pnode.core.jobfile.problems import FileProblem, JobFileError
from p2pnode.core.jobfile.schema import schema


@click.command()
@options.job_file
@takes_form()
def validate(given: GivenFile, form: OutputForm) -> int:
    """Check a job file and send nothing.

    SPEC is a job file; without it, or with -, standard input is read. All that is wrong with it
    is shown at once, with line and column.
    """
    if form.is_table:
        job = jobfiles.read_valid(given)
        answer(f"{job.name}: a valid {job.spec.type.value} job")
        return Status.OK
    try:
        problems, valid = jobfiles.read(given).parsed.warnings, True
    except JobFileError as error:
        problems, valid = error.problems, False
    # A table's lines were shown above.
    answer_form(form, ValidityJson(valid=valid, problems=list(map(_problem_json, problems))), lambda wide: ())
    return Status.OK if valid else Status.USAGE


@click.command()
@options.job_file
@takes_form()
@options.peers
def plan(given: GivenFile, form: OutputForm, peers: tuple[str, ...]) -> int:
    """Show who would be asked to run a job, and why not the others.

    SPEC is a job file; without it, or with -, standard input is read. It goes by what the node
    knows now, and runs nothing. The exit status is 3 if no peer that is known could ever run the job.
    """
    job = jobfiles.read_valid(given)
    with any_node(peers) as requester:
        found = requester.client.plan(job.text, job.name)
    answer_form(form, found, lambda wide: fields(_plan_fields(found, wide)))
    return Status.OK if found["would_bid"] or found["busy"] else Status.NO_PEER


@click.command()
def spec() -> int:
    """Print the JSON Schema of job files.

    \b
    Editors complete and check a job file with it, for example by this first line:
      # yaml-language-server: $schema=job.schema.json
    """
    answer_json(schema())
    return Status.OK


def _plan_fields(found: PlanJson, wide: bool) -> list[tuple[str, str]]:
    return [
        ("Executions", str(found["needed"])),
        ("Peers known", str(found["known"])),
        ("Would bid", str(found["would_bid"])),
        *(("If they have", f"{one} (looked up on each peer when it is asked)") for one in found["looked_up"]),
        *(
            ("Asked", f"{one['name']} ({one['peer'] if wide else short_peer(one['peer'])})")
            for one in found["asked"]
        ),
        *_reasons("Busy", found["busy"]),
        *_reasons("Unsuitable", found["unsuitable"]),
    ]


def _reasons(heading: str, reasons: Iterable[ReasonJson]) -> list[tuple[str, str]]:
    return [(heading, f"{one['peers']}: {one['reason']}") for one in reasons]


def _problem_json(one: FileProblem) -> FileProblemJson:
    return FileProblemJson(
        file=one.file,
        line=one.line,
        column=one.column,
        field=one.path,
        severity=one.severity.value,
        message=one.message,
    )
