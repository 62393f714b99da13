"""`job list`, `job describe`, `job logs` and `job stop`; the other commands of `job` are in `control`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from p2pnode.api.shapes import (
    PAGE_ROWS_MAX,
    Code,
    EventJson,
    ExecutionJson,
    JobJson,
    MemberJson,
    ServiceError,
)
from p2pnode.cli import control, exec, jobcolumns, options
from p2pnode.cli.forms import OutputForm, answer_form, labels_text, listing, takes_form
from p2pnode.cli.groups import Group
from p2pnode.cli.jobcolumns import named
from p2pnode.cli.output import (
    ProgramOutput,
    answer_job_file,
    clock,
    fields,
    rfc3339,
    say,
    short_id,
)
from p2pnode.cli.requester import running
from p2pnode.cli.status import CommandError, Status
from p2pnode.core.jobfile import yamltree
from p2pnode.core.records.lifecycle import LIVE, OPEN, ExecutionState
from p2pnode.core.wire.spec import WITHOUT_DEPUTIES, JobType
from p2pnode.core.wire.states import JobState


class _Jobs(Group):
    def invoke(self, ctx: click.Context) -> int:
        """Run a command; where there is no such job, say how one is named and where to look."""
        try:
            return int(super().invoke(ctx))
        except ServiceError as error:
            # An execution or a version may be what is not there.
            if error.code is not Code.NOT_FOUND or "no job " not in error.message:
                raise
            raise CommandError(Status.FAILED, error.message, options.HOW_JOBS_ARE_NAMED) from error


@click.group(cls=_Jobs)
def job() -> None:
    """Look at jobs, rerun and stop them.

    A job is named by its id or a unique prefix of it, or by its Name: the last job that has it.
    """


@job.command("list")
@click.option("--network", is_flag=True, help="The jobs of all nodes that this one knows, unfiltered.")
@click.option(
    "--state",
    multiple=True,
    type=click.Choice(list(JobState), case_sensitive=False),
    help="In this state, or one of these.",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    type=click.Choice(list(JobType), case_sensitive=False),
    help="Of this type, or one of these.",
)
@click.option("--label", "labels", multiple=True, metavar="KEY[=VALUE]", help="With all of these labels.")
@click.option("--namespace", default="", show_default=False, help="Of this namespace only.")
@click.option(
    "--text", default="", show_default=False, help="With this text in id, name or reason, in any case."
)
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), metavar="N", default=PAGE_ROWS_MAX, help="The newest N."
)
@takes_form(names="ids alone")
def list_jobs(
    network: bool,
    state: tuple[JobState, ...],
    types: tuple[JobType, ...],
    labels: tuple[str, ...],
    namespace: str,
    text: str,
    limit: int,
    form: OutputForm,
) -> int:
    """List the jobs that this node owns or keeps a copy of, newest first.

    Filters narrow the list; an option that is given twice means either, --label both.
    """
    if network:
        if state or types or labels or namespace or text:
            raise click.UsageError(
                "the jobs of other nodes cannot be filtered: leave out --network, or filters"
            )
        return _list_network(form)
    jobs = running().jobs(state=state, type=types, label=labels, namespace=namespace, text=text, limit=limit)
    lines = listing(jobcolumns.JOBS, jobs, prose_last=True)
    answer_form(form, {"jobs": jobs}, lines, (one["id"] for one in jobs))
    return Status.OK


def _list_network(form: OutputForm) -> int:
    found = running().network_jobs()
    lines = listing(jobcolumns.NETWORK_JOBS, found["jobs"], prose_last=True)
    answer_form(form, found, lines, (one["id"] for one in found["jobs"]))
    if found["silent"]:
        say(f"{len(found['silent'])} of the known nodes did not answer: {', '.join(found['silent'])}")
    return Status.OK


@job.command()
@options.job_id
@takes_form(names="its id", yaml="a job file that can be submitted again")
def describe(job_id: str, form: OutputForm) -> int:
    """Show a job, its executions and its history.

    As JSON it is the object that `submit --json` gives.
    """
    client = running()
    found = client.job(job_id)
    if form is OutputForm.YAML:
        answer_job_file(yamltree.dump(found["spec"]))
        return Status.OK
    events = client.job_events(found["id"])
    answer_form(form, found, lambda wide: _described(found, events, wide), [found["id"]])
    return Status.OK


def _described(job: JobJson, events: Iterable[EventJson], wide: bool) -> Iterator[str]:
    yield from fields(_header(job, wide))
    if job["executions"]:
        yield ""
        yield "Executions"
        yield from listing(jobcolumns.EXECUTIONS_BRIEFLY, job["executions"])(wide)
    if results := [one for one in job["executions"] if one["result_cid"] or one["receipt_cid"]]:
        yield ""
        yield "Results"
        yield from listing(jobcolumns.RESULTS, results)(wide)
    yield ""
    yield "History"
    yield from listing(jobcolumns.EVENTS_BRIEFLY, events)(wide)


@job.command()
@options.job_id
@click.option("-e", "--execution", metavar="ID", help="Of this execution only.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--stream", type=click.Choice(["stdout", "stderr", "both"]), default="both")
@click.option("--raw", is_flag=True, help="Show control characters to the terminal as they are.")
def logs(job_id: str, execution: str | None, follow: bool, stream: str, raw: bool) -> int:
    """Show what a job's programs wrote.

    Their stdout goes to stdout and their stderr to stderr: to a file or pipe as they wrote it, to a
    terminal with control characters spelt out (\\x1b).
    """
    client = running()
    found = client.job(job_id)
    targets = {"stdout": ProgramOutput("stdout", raw), "stderr": ProgramOutput("stderr", raw)}
    seen = set()
    for chunk in client.logs(found["id"], execution, stream, follow):
        seen.add(chunk["execution"])
        targets[chunk["stream"]].write(chunk["data"])
    for one in client.job(found["id"])["executions"]:
        wanted = one["id"].startswith(execution or "")
        if wanted and one["id"] not in seen and (reason := _no_output(one)):
            say(f"{short_id(one['id'])}: no output: {reason}")
    return Status.OK


def _no_output(one: ExecutionJson) -> str:
    """Why there is none of an execution that has ended, or "" where nothing was written or may yet come."""
    if one["result_cid"] or ExecutionState(one["state"]) in (*OPEN, *LIVE):
        return ""
    state = f"{one['state']}: {one['reason']}" if one["reason"] else one["state"]
    if one["receipt_cid"]:
        return f"its peer kept none ({state})"
    return f"its peer has told of none ({state})"


@job.command()
@options.job_id
@click.option("--reason", default="", help="Kept with the job.  [default: who stopped it]")
def stop(job_id: str, reason: str) -> int:
    """Stop a job; one that has ended stays as it is."""
    client = running()
    found = client.job(job_id)
    if found["outcome"]:
        say(f"{found['id']} has ended already: {found['state']}")
        return Status.OK
    stopped = client.stop(found["id"], reason)
    say(f"{stopped['id']} {stopped['state']}")
    return Status.OK


def _header(job: JobJson, wide: bool) -> list[tuple[str, str]]:
    at = rfc3339 if wide else clock
    return [
        ("ID", job["id"]),
        ("Name", job["name"]),
        ("Type", job["type"]),
        ("Namespace", job["namespace"]),
        ("Labels", labels_text(job["spec"].get("Labels", {}))),
        ("State", job["state"]),
        ("Reason", job["reason"]),
        ("First failure", job["first_failure"]),
        ("Priority", str(job["priority"])),
        ("Count", "" if job["type"] in ("ops", "daemon") else str(job["count"])),
        ("Created", at(job["created"])),
        ("Modified", at(job["modified"])),
        ("Version", str(job["version"])),
        ("Run", str(job["run"])),
        ("Owner", named(job["owner_name"], job["owner"])),
        ("Charter", f"number {job['serial']} of its requester"),
        *(("Member", _member(one, job["owner"])) for one in job["members"]),
        *(("Controller", named(one["name"], one["peer"])) for one in job["controllers"]),
        ("Deputies", "" if job["deputies_wanted"] else f"0: {WITHOUT_DEPUTIES}"),
    ]


def _member(one: MemberJson, owner: str) -> str:
    role = "requester" if one["rank"] == 0 else f"deputy {one['rank']}"
    return f"{named(one['name'], one['peer'])}, {role}{', acts now' * (one['peer'] == owner)}"


for _command in (
    control.rerun,
    control.wait,
    control.history,
    control.executions,
    control.versions,
    exec.exec,
):
    job.add_command(_command)
