"""Makes entries of what a node tells: nodes with their bars, and jobs."""

from __future__ import annotations

from collections import Counter, defaultdict

from p2pnode.api.shapes import JobJson, NodeJson
from p2pnode.cli.output import state as state_of
from p2pnode.client.shortening import short_id, short_peer
from p2pnode.core.records.lifecycle import LIVE
from p2pnode.core.records.reservations import STAGES
from p2pnode.core.values.units import about_bytes
from p2pnode.core.wire.spec import JobType
from p2pnode.core.wire.states import Scheduling

from .columns import Cell, Entry, PaneColumn
from .seen import Seen, running

NODE_COLUMNS = (
    PaneColumn("NAME", 0, 8, 28),
    PaneColumn("STATE", 0, 8, 11),
    PaneColumn("CPU", 0, 11, 11),
    PaneColumn("MEMORY", 0, 11, 11),
    PaneColumn("EXECS", 1, 5, 6),
    PaneColumn("RUNS", 2, 10, 60),
    PaneColumn("ENGINES", 3, 7, 24),
    PaneColumn("CPU USED", 4, 8, 16),
    PaneColumn("MEMORY USED", 5, 11, 22),
    PaneColumn("PEER", 6, 8, 8),
)
JOB_COLUMNS = (
    PaneColumn("ID", 0, 10, 10),
    PaneColumn("NAME", 0, 8, 32),
    PaneColumn("TYPE", 3, 7, 7),
    PaneColumn("STATE", 0, 9, 9),
    PaneColumn("RUNNING", 1, 7, 9),
    PaneColumn("AGE", 2, 4, 5),
    PaneColumn("OWNER", 4, 6, 20),
    PaneColumn("REASON", 5, 10, 200),
)
# The orders that a pane can be in; the first is that of the beginning.
NODE_ORDERS = ("name", "state", "cpu", "memory", "executions")
JOB_ORDERS = ("age", "name", "state", "running", "owner")
# Marks that mean more than colours: they are there without any, too.
GONE, UNUSABLE, SELF, READY = "gone", "unusable", "self", "ready"
_COLOURS = {
    GONE: "red",
    UNUSABLE: "red",
    Scheduling.DRAINING.value: "yellow",
    Scheduling.CORDONED.value: "yellow",
    READY: "green",
    SELF: "green",
}
# Everywhere or nowhere: how many that is, only its owner's peers decide.
_UNCOUNTED = (JobType.OPS, JobType.DAEMON)
FULL = 0.9


def node_entries(seen: Seen) -> list[Entry]:
    """The network, the node that answers first."""
    runs = _known_to_run(seen)
    return [_node(one, runs[one["peer"]]) for one in seen.nodes]


def job_entries(seen: Seen, now: float) -> list[Entry]:
    """Live jobs, then those that ended lately, both the newest first."""
    return [_job(one, now, ended=False) for one in seen.live] + [
        _job(one, now, ended=True) for one in seen.ended
    ]


def age(seconds: float) -> str:
    """`45s`, `12m`, `5h`, `3d`: the one unit that matters."""
    for size, unit, limit in ((1, "s", 120), (60, "m", 120), (3600, "h", 48)):
        if seconds < size * limit:
            return f"{max(0, int(seconds)) // size}{unit}"
    return f"{int(seconds) // 86_400}d"


def node_state(one: NodeJson) -> str:
    """The one word that says most about a node."""
    if not one["self"] and not one["connected"]:
        return GONE
    if one["problem"]:
        return UNUSABLE
    if one["scheduling"] != Scheduling.SCHEDULABLE:
        return one["scheduling"]
    return SELF if one["self"] else READY


def _known_to_run(seen: Seen) -> defaultdict[str, Counter[str]]:
    """Jobs by name, of each peer: of the jobs that are known here, and of all that this node runs itself."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for job in seen.live:
        for one in job["executions"]:
            if one["state"] in LIVE and one["peer"] != seen.identity["peer"]:
                found[one["peer"]][job["name"] or short_id(job["id"])] += 1
    for held in seen.hosted:
        if held["state"] in STAGES:
            found[seen.identity["peer"]][held["name"] or short_id(held["job"])] += 1
    return found


def _node(one: NodeJson, runs: Counter[str]) -> Entry:
    free, total, state = one["free"], one["total"], node_state(one)
    cpu, memory = (
        max(0.0, 1 - free[kind] / total[kind]) if total[kind] else 0.0
        for kind in ("cpu_millis", "memory_bytes")
    )
    cores, all_cores = total["cpu_millis"] - free["cpu_millis"], total["cpu_millis"]
    used_bytes = total["memory_bytes"] - free["memory_bytes"]
    cells = (
        Cell(one["name"]),
        Cell(state, _COLOURS.get(state, "yellow")),
        _share(cpu),
        _share(memory),
        Cell(str(runs.total())),
        Cell(", ".join(name if count == 1 else f"{name} ×{count}" for name, count in sorted(runs.items()))),
        Cell(",".join(one["engines"])),
        Cell(f"{cores / 1000:g} of {all_cores / 1000:g}"),
        Cell(f"{about_bytes(max(0, used_bytes))} of {about_bytes(total['memory_bytes'])}"),
        Cell(short_peer(one["peer"])),
    )
    first, name = not one["self"], one["name"].casefold()
    keys = {
        "name": (first, name),
        "state": (state, name),
        "cpu": (-cpu, name),
        "memory": (-memory, name),
        "executions": (-runs.total(), name),
    }
    return Entry(cells, keys)


def _share(share: float) -> Cell:
    return Cell(f"{share:.0%}", "yellow" if share >= FULL else "", share)


def _job(one: JobJson, now: float, *, ended: bool) -> Entry:
    count = running(one)
    wanted = "" if one["type"] in _UNCOUNTED else f"/{one['count']}"
    owner = one["owner_name"] or short_peer(one["owner"])
    cells = (
        Cell(short_id(one["id"])),
        Cell(one["name"]),
        Cell(one["type"]),
        Cell(one["state"], state_of(one["state"]).colour),
        Cell("-" if ended else f"{count}{wanted}"),
        Cell(age(now - one["created"])),
        Cell(owner),
        Cell(one["reason"]),
    )
    newest = -one["created"]
    keys = {
        "age": (ended, newest),
        "name": (ended, one["name"].casefold(), newest),
        "state": (ended, one["state"], newest),
        "running": (ended, -count, newest),
        "owner": (ended, owner.casefold(), newest),
    }
    return Entry(cells, keys)
