"""`job rerun`, `job wait`, `job history`, `job executions` and `job versions`."""

from __future__ import annotations

import time

import click

from p2pnode.cli import options, submit
from p2pnode.cli.output import (
    answer,
    answer_job_file,
    answer_json,
    clock,
    clock_ms,
    say,
    short_id,
    short_peer,
    table,
)
from p2pnode.cli.requester import running
from p2pnode.cli.status import CommandError, Status
from p2pnode.core.jobfile import yamltree
from p2pnode.core.values.units import parse_duration

# The stream of a job's history cannot be left at a timeout; a look is one small request.
POLL_INTERVAL_S = 0.2


@click.command()
@options.job_id
@click.option("--reason", default="", help="Kept in the job's history.")
@click.option("--wait/--no-wait", default=True, help="Wait as submit does, or return at once.")
@options.as_json
def rerun(job_id: str, reason: str, wait: bool, as_json: bool) -> int:
    """Begin a job again, whether it has ended or not."""
    client = running()
    job = client.job(job_id)
    since = submit.last_event(client, job["id"])
    client.rerun(job["id"], reason)
    waiting = options.Waiting(wait=wait, follow=False, as_json=as_json, peers=(), new=False)
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
@options.as_json
def history(job_id: str, as_json: bool) -> int:
    """Show what happened to a job, in order."""
    client = running()
    events = list(client.job_events(client.job(job_id)["id"]))
    if as_json:
        answer_json({"events": events})
        return Status.OK
    rows = [
        [clock_ms(one["at"]), short_id(one["execution"]), one["topic"], one["state"], one["message"]]
        for one in events
    ]
    for line in table(["TIME", "EXECUTION", "TOPIC", "STATE", "EVENT"], rows):
        answer(line)
    return Status.OK


@click.command()
@options.job_id
@options.as_json
def executions(job_id: str, as_json: bool) -> int:
    """List a job's executions in the order of their awards."""
    found = running().job(job_id)["executions"]
    if as_json:
        answer_json({"executions": found})
        return Status.OK
    rows = [
        [
            one["id"],
            str(one["replica"]),
            str(one["run"]),
            str(one["version"]),
            one["peer_name"] or short_peer(one["peer"]),
            one["state"],
            "" if one["exit_code"] is None else str(one["exit_code"]),
            clock(one["created"]),
            clock(one["modified"]),
            one["reason"],
        ]
        for one in found
    ]
    headings = ["ID", "REPLICA", "RUN", "VERSION", "PEER", "STATE", "EXIT", "CREATED", "MODIFIED", "REASON"]
    for line in table(headings, rows):
        answer(line)
    return Status.OK


@click.command()
@options.job_id
@click.option("--show", type=click.IntRange(1), metavar="VERSION", help="Print the job file of a version.")
@options.as_json
def versions(job_id: str, show: int | None, as_json: bool) -> int:
    """List the versions of a job's file that are kept, the oldest first.

    To go back to one, submit what --show prints.
    """
    client = running()
    job = client.job(job_id)
    if show is not None:
        spec = client.job_version(job["id"], show)
        if as_json:
            answer_json(spec)
        else:
            answer_job_file(yamltree.dump(spec))
        return Status.OK
    if as_json:
        answer_json({"version": job["version"], "versions": job["versions"]})
        return Status.OK
    rows = [
        [
            str(one["version"]),
            clock(one["submitted"]),
            "yes" if one["version"] == job["version"] else "",
            str(sum(execution["version"] == one["version"] for execution in job["executions"])),
        ]
        for one in job["versions"]
    ]
    for line in table(["VERSION", "SUBMITTED", "CURRENT", "EXECUTIONS"], rows):
        answer(line)
    return Status.OK
