"""`job rerun`, `job wait`, `job history`, `job executions` and `job versions`."""

from __future__ import annotations

import time

import click

from p2pnode.cli import jobcolumns, options, submit
from p2pnode.cli.forms import OutputForm, answer_form, listing, takes_form
from p2pnode.cli.output import answer_job_file, answer_json, say, short_id
from p2pnode.cli.requester import running
from p2pnode.cli.status import CommandError, Status
from p2pnode.core.jobfile import yamltree
from p2pnode.core.values.units import parse_duration

# The stream of a job's history cannot be left at a timeout; a look is one small request.
POLL_INTERVAL_S = 0.2


@click.command()
@options.job_id
@click.option("--reason", default="", show_default=False, help="Kept in the job's history.")
@click.option("--wait/--no-wait", default=True, help="Wait as submit does, or return at once.")
@takes_form(names="the job's id alone", wide="its executions")
def rerun(job_id: str, reason: str, wait: bool, form: OutputForm) -> int:
    """Begin a job again, whether it has ended or not."""
    client = running()
    job = client.job(job_id)
    since = submit.last_event(client, job["id"])
    client.rerun(job["id"], reason)
    waiting = options.Waiting(wait=wait, follow=False, form=form, peers=(), new=False)
    return submit.wait_for(client, job["id"], waiting, since)


@click.command()
@options.job_id
@click.option(
    "--for",
    "state",
    type=click.Choice(["ended", "running"]),
    default="ended",
    help="Running: all that it wants runs, at its newest version.",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="TIME",
    type=options.ParsedValue("duration", parse_duration),
    help="Give up after it: seconds, or such as 5m.",
)
def wait(job_id: str, state: str, timeout_s: int | None) -> int:
    """Wait until a job has ended, or runs; the exit status is as that of submit."""
    client = running()
    began = time.monotonic()
    while True:
        job = client.job(job_id)
        if state == "running" and submit.runs(job):
            return Status.OK
        if job["outcome"]:
            say(f"{short_id(job['id'])} {job['state']}")
            return submit.status_of(job)
        if timeout_s is not None and time.monotonic() - began >= timeout_s:
            what = "has not ended" if state == "ended" else "does not run"
            raise CommandError(
                Status.FAILED, f"{short_id(job['id'])} {what} after {timeout_s} s: it is {job['state']}"
            )
        time.sleep(POLL_INTERVAL_S)


@click.command()
@options.job_id
@takes_form()
def history(job_id: str, form: OutputForm) -> int:
    """Show what happened to a job, in order."""
    client = running()
    events = list(client.job_events(client.job(job_id)["id"]))
    answer_form(form, {"events": events}, listing(jobcolumns.EVENTS, events))
    return Status.OK


@click.command()
@options.job_id
@takes_form(names="ids alone")
def executions(job_id: str, form: OutputForm) -> int:
    """List a job's executions in the order of their awards."""
    found = running().job(job_id)["executions"]
    lines = listing(jobcolumns.EXECUTIONS, found, prose_last=True)
    answer_form(form, {"executions": found}, lines, (one["id"] for one in found))
    return Status.OK


@click.command()
@options.job_id
@click.option("--show", type=click.IntRange(1), metavar="VERSION", help="Print the job file of a version.")
@takes_form(names="numbers alone")
def versions(job_id: str, show: int | None, form: OutputForm) -> int:
    """List the versions of a job's file that are kept, the oldest first.

    To go back to one, submit what --show prints.
    """
    client = running()
    job = client.job(job_id)
    if show is not None:
        spec = client.job_version(job["id"], show)
        if form is OutputForm.JSON:
            answer_json(spec)
        else:
            answer_job_file(yamltree.dump(spec))
        return Status.OK
    value = {"version": job["version"], "versions": job["versions"]}
    numbers = (str(one["version"]) for one in job["versions"])
    answer_form(form, value, listing(jobcolumns.versions(job), job["versions"]), numbers)
    return Status.OK
