"""`submit`: a job file checked, sent, and watched until the job has ended.

What reads and writes content is imported by what needs it: a tenth of the start of a command that only sends.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from p2pnode.api.shapes import Change, JobJson
from p2pnode.cli import differences, jobcolumns, jobfiles, options
from p2pnode.cli.forms import OutputForm, answer_form, listing, takes_form
from p2pnode.cli.jobblock import JobBlock
from p2pnode.cli.jobprogress import JobProgress
from p2pnode.cli.options import GivenFile, Waiting
from p2pnode.cli.output import answer, say, short_id, state
from p2pnode.cli.requester import Requester, any_node, own_node
from p2pnode.cli.status import CommandError, Status
from p2pnode.client.calls import Client
from p2pnode.client.errors import ClientError, NodeUnreachable
from p2pnode.client.jobs import SubmittedJob
from p2pnode.core.records.lifecycle import LONG_RUNNING
from p2pnode.core.wire.spec import JobType
from p2pnode.core.wire.states import ExecutionState, Outcome

# A program's last output may still be on its way when its job ends.
LAST_LOGS_TIMEOUT_S = 10.0
# Events of a job of a thousand executions come in bursts, and its record is large.
PEERS_INTERVAL_S = 1.0
_BEFORE_RUNNING = (ExecutionState.AWARDED, ExecutionState.PREPARING)
_STATUS_OF_OUTCOME = {
    Outcome.COMPLETED: Status.OK,
    Outcome.NO_PEER: Status.NO_PEER,
    Outcome.PROGRAM: Status.PROGRAM,
}


@click.command()
@options.job_file
@options.waiting(takes_form(names="the job's id alone", wide="its executions"))
@click.option("--dry-run", is_flag=True, help="Show what would change, and send nothing.")
def submit(given: GivenFile, waiting: Waiting, dry_run: bool) -> int:
    """Submit a job and wait for its results.

    SPEC is a job file; without it, or with -, standard input is read. Prints the CID of each
    result, or the id of a daemon or service as soon as it runs. A file with the name and type of a job
    that is there changes that job. Without a running node it starts one for as long as the job goes on.
    With --here it needs no peers, and prints the directory that the results are in.
    """
    job = jobfiles.read_valid(given)
    if dry_run and waiting.here:
        raise click.UsageError("a node of --here has no jobs that this one could change: leave --dry-run out")
    if dry_run:
        return differences.show(job.spec, waiting.new)
    return run(job.text, job.spec.type, job.name, waiting)


def run(job_file: bytes, kind: JobType, name: str, waiting: Waiting, files: Sequence[Path] = ()) -> int:
    """Send a job and, unless told otherwise, wait for its end; the status says how it ended.

    `files` are added to the node's store first, as the job has their CIDs among its inputs.
    """
    outlives = not waiting.wait or (kind in LONG_RUNNING and not waiting.follow)
    if waiting.here and outlives:
        raise CommandError(
            Status.USAGE,
            f"a {kind} goes on until it is stopped, and a node of --here ends with the command",
            "with --follow it runs until Ctrl-C",
        )
    with own_node() if waiting.here else any_node(waiting.peers, outlives, has_here=True) as requester:
        _add(requester.client, files)
        submitted = requester.client.submit_job(job_file, name, waiting.new)
        job_id, since = submitted["id"], 0
        if submitted["change"] != Change.NEW:
            say(f"{job_id} {submitted['change']}: version {submitted['version']}")
            since = last_event(requester.client, job_id)
        try:
            return wait_for(requester.client, job_id, waiting, since)
        except KeyboardInterrupt:
            _interrupted(requester, job_id)
            return Status.INTERRUPTED


def _add(client: Client, files: Sequence[Path]) -> None:
    if files:
        from p2pnode.cli import results

        for path in files:
            results.add(client, path)


def wait_for(client: Client, job_id: str, waiting: Waiting, since: int) -> int:
    """Show what happens to a job after event number `since` until it has ended, or runs if it never ends."""
    if not waiting.wait:
        _answer_unwaited(client, job_id, waiting.form)
        return Status.OK
    try:
        elapsed_s = _watch(client, job_id, waiting.follow, since)
        job = client.job(job_id)
    except NodeUnreachable as error:
        raise CommandError(Status.UNREACHABLE, str(error), *_look(job_id)) from error
    if not job["outcome"]:
        _answer_unwaited(client, job_id, waiting.form)
        return Status.OK
    if waiting.here:
        return _report_here(client, job, elapsed_s, waiting.form)
    return _report(job, elapsed_s, waiting.form)


def last_event(client: Client, job_id: str) -> int:
    """The number of the newest line of a job's history."""
    return max((event["number"] for event in client.job_events(job_id)), default=0)


def runs(job: JobJson) -> bool:
    """Whether all that a job wants now runs, at the newest version of its file."""
    if job["outcome"]:
        return False
    current = [one["state"] for one in job["executions"] if one["current"]]
    running = current.count(ExecutionState.RUNNING)
    if job["type"] == JobType.SERVICE:
        return running >= job["count"]
    return running > 0 and not any(state in _BEFORE_RUNNING for state in current)


def status_of(job: JobJson) -> Status:
    """The exit status for a job that has ended."""
    outcome = job["outcome"]
    return _STATUS_OF_OUTCOME.get(Outcome(outcome), Status.FAILED) if outcome else Status.FAILED


def _answer_unwaited(client: Client, job_id: str, form: OutputForm) -> None:
    if form in (OutputForm.TABLE, OutputForm.NAME):
        answer(job_id)
    else:
        _answer_job(client.job(job_id), form, [job_id])
    _say_all(_look(job_id))


def _watch(client: Client, job_id: str, follow: bool, since: int) -> float:
    """Show what happens until the job has ended, or runs for good; gives the seconds that it took."""
    say(f"job {job_id}")
    job = SubmittedJob(client, client.job(job_id))
    until_runs = job.record["type"] in LONG_RUNNING and not follow
    with JobProgress(job_id, JobBlock(job.record)) as progress:
        logs = threading.Thread(target=_follow_logs, args=(job, progress), daemon=True)
        if follow:
            logs.start()
        if until_runs and runs(job.record):
            return progress.elapsed_s
        looked_s = -PEERS_INTERVAL_S
        for event in job.history(since=since, follow=True):
            progress.note(event)
            looked_s = _learn(job, progress, looked_s)
            if until_runs and runs(job.refresh().record):
                return progress.elapsed_s
        if follow:
            logs.join(LAST_LOGS_TIMEOUT_S)
        return progress.elapsed_s


def _learn(job: SubmittedJob, progress: JobProgress, looked_s: float) -> float:
    """Look who runs what is new, unless that was looked for just now; gives when it was last looked for."""
    if not progress.lacks_a_peer or progress.elapsed_s - looked_s < PEERS_INTERVAL_S:
        return looked_s
    progress.learn(job.refresh().executions)
    return progress.elapsed_s


def _follow_logs(job: SubmittedJob, progress: JobProgress) -> None:
    try:
        for line in job.logs(follow=True):
            progress.above(short_id(line.execution), line.data)
    except ClientError as error:
        progress.say(f"the output cannot be followed: {error}")


def _interrupted(requester: Requester, job_id: str) -> None:
    if requester.ephemeral and requester.client.job(job_id)["outcome"]:
        say()
        say(f"{job_id} has ended already")
    elif requester.ephemeral:
        requester.client.stop(job_id, "interrupted by its owner")
        say()
        say(f"stopped {job_id}, as the node that looks after it ends with this command")
    else:
        say()
        say(f"{job_id} goes on.")
        _say_all(_look(job_id))
        say(f"  stop it:     p2pnode job stop {short_id(job_id)}")


def _look(job_id: str) -> tuple[str, ...]:
    short = short_id(job_id)
    return f"  look at it:  p2pnode job describe {short}", f"  its output:  p2pnode job logs -f {short}"


def _say_all(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)


def _answer_job(job: JobJson, form: OutputForm, short: Sequence[str]) -> None:
    """Print a job in a form; `short`: as a table, what a script goes on with."""

    def lines(wide: bool) -> Iterable[str]:
        return listing(jobcolumns.EXECUTIONS, job["executions"])(True) if wide else short

    answer_form(form, job, lines, [job["id"]])


def _report(job: JobJson, elapsed_s: float, form: OutputForm) -> int:
    from p2pnode.client.executions import final_executions

    finals = final_executions(job)
    _answer_job(job, form, [one["result_cid"] for one in finals if one["result_cid"]])
    _say_end(job, elapsed_s)
    if any(execution["result_cid"] for execution in finals):
        say(f"  fetch it:    p2pnode get {short_id(job['id'])}")
    status = status_of(job)
    if status is not Status.OK:
        _say_all(_look(job["id"])[: 2 if job["executions"] else 1])
    return status


def _report_here(client: Client, job: JobJson, elapsed_s: float, form: OutputForm) -> int:
    """As `_report`, with the results fetched: they go with the node."""
    from p2pnode.cli.get import get_results
    from p2pnode.client.executions import final_executions
    from p2pnode.client.unfolding import Unfolding

    directory = None
    if any(execution["result_cid"] for execution in final_executions(job)):
        # The results are of this user's program, on this disk already.
        directory = get_results(client, job, Unfolding(None, None, yes=True))
    _answer_job(job, form, [str(directory)] if directory else [])
    _say_end(job, elapsed_s)
    if directory:
        say(f"  its results: {directory}")
    return status_of(job)


def _say_end(job: JobJson, elapsed_s: float) -> None:
    reason = f": {job['reason']}" if job["reason"] else ""
    say(f"{short_id(job['id'])} ", state(job["state"]), f" after {elapsed_s:.1f} s{reason}")
