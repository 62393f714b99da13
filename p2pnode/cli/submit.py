"""`submit`: a job file checked, sent, and watched until the job has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import click

from p2pnode.api.client import Client, NodeUnreachable
from p2pnode.api.service import JobJson, ServiceError
from p2pnode.cli import jobfiles, options, results
from p2pnode.cli.options import Given, Waiting
from p2pnode.cli.output import answer, answer_json, say, short_id, state
from p2pnode.cli.progress import Progress
from p2pnode.cli.requester import Door, any_node
from p2pnode.cli.results import final_executions
from p2pnode.cli.status import CommandError, Status
from p2pnode.core.spec import JobType
from p2pnode.core.states import Outcome

# What a program wrote last may still be on its way when its job ends.
LAST_LOGS_TIMEOUT_S = 10.0
_LONG_RUNNING = (JobType.SERVICE, JobType.DAEMON)
_STATUS_OF_OUTCOME = {
    Outcome.COMPLETED: Status.OK,
    Outcome.NO_PEER: Status.NO_PEER,
    Outcome.PROGRAM: Status.PROGRAM,
}


@click.command()
@options.job_file
@options.waiting
def submit(given: Given, waiting: Waiting) -> int:
    """Submit a job and wait for its results.

    SPEC is a job file; without it, or with -, standard input is read. Prints the CID of each
    result; of a service or daemon its id, as soon as it runs. Without a running node it starts one for as
    long as the job goes on.
    """
    job = jobfiles.read_valid(given)
    return run(job.text, job.name, waiting)


def run(job_file: bytes, name: str, waiting: Waiting, files: Sequence[Path] = ()) -> int:
    """Send a job and, unless told otherwise, wait for its end; the status says how it ended.

    `files` are added to the node's store first, as the job has their CIDs among its inputs.
    """
    with any_node(waiting.peers, keeps_on=not waiting.wait) as door:
        for path in files:
            results.add(door.client, path)
        job_id = door.client.submit(job_file, name)
        if not waiting.wait:
            _answer_unwaited(door.client, job_id, waiting.as_json)
            return Status.OK
        try:
            elapsed_s = _watch(door.client, job_id, waiting.follow)
        except KeyboardInterrupt:
            _interrupted(door, job_id)
            return Status.INTERRUPTED
        except NodeUnreachable as error:
            raise CommandError(Status.UNREACHABLE, str(error), _look(job_id)) from error
        job = door.client.job(job_id)
        if job["outcome"] is None and job["type"] in _LONG_RUNNING:
            _answer_unwaited(door.client, job_id, waiting.as_json)
            return Status.OK
    return _report(job, elapsed_s, waiting.as_json)


def _answer_unwaited(client: Client, job_id: str, as_json: bool) -> None:
    if as_json:
        answer_json(client.job(job_id))
    else:
        answer(job_id)
    say(_look(job_id))


def _watch(client: Client, job_id: str, follow: bool) -> float:
    """Show what happens until the job has ended; gives the seconds that it took."""
    say(f"job {job_id}")
    with Progress() as progress:
        logs = threading.Thread(target=_follow_logs, args=(client, job_id, progress), daemon=True)
        if follow:
            logs.start()
        for event in client.job_events(job_id, follow=True):
            progress.show(
                f"{short_id(event['execution'] or job_id)}  {event['message']}", _clock_ms(event["at"])
            )
            if event["state"] == "Running" and not follow and _runs_for_ever(client.job(job_id)):
                break
        if follow:
            logs.join(LAST_LOGS_TIMEOUT_S)
        return progress.elapsed_s


def _runs_for_ever(job: JobJson) -> bool:
    """Is it a job that does not end by itself, and does all of it run that was asked for?"""
    running = sum(one["state"] == "Running" for one in job["executions"])
    wanted = job["count"] if job["type"] == JobType.SERVICE else 1
    return job["type"] in _LONG_RUNNING and running >= wanted


def _follow_logs(client: Client, job_id: str, progress: Progress) -> None:
    try:
        for chunk in client.logs(job_id, follow=True):
            progress.above(chunk["data"])
    except (NodeUnreachable, ServiceError) as error:
        progress.above(f"the output cannot be followed: {error}\n".encode())


def _interrupted(door: Door, job_id: str) -> None:
    if door.lent:
        door.client.stop(job_id, "interrupted by its owner")
        say(f"\nstopped {job_id}, as the node that looks after it ends with this command")
    else:
        say(f"\n{job_id} goes on.")
        say(_look(job_id))
        say(f"  stop it:     p2pnode job stop {short_id(job_id)}")


def _look(job_id: str) -> str:
    short = short_id(job_id)
    return f"  look at it:  p2pnode job describe {short}\n  its output:  p2pnode job logs -f {short}"


def _report(job: JobJson, elapsed_s: float, as_json: bool) -> int:
    finals = final_executions(job)
    if as_json:
        answer_json(job)
    else:
        for execution in finals:
            if execution["result_cid"]:
                answer(execution["result_cid"])
    reason = f": {job['reason']}" if job["reason"] else ""
    say(f"{short_id(job['id'])} {state(job['state'])} after {elapsed_s:.1f} s{reason}")
    if any(execution["result_cid"] for execution in finals):
        say(f"  fetch it:    p2pnode get {short_id(job['id'])}")
    status = (
        _STATUS_OF_OUTCOME.get(Outcome(job["outcome"]), Status.FAILED) if job["outcome"] else Status.FAILED
    )
    if status is not Status.OK:
        say(_look(job["id"]))
    return status


def _clock_ms(at: float) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(at))}.{int(at % 1 * 1000):03d}"
