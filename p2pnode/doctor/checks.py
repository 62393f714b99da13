"""Decides on what the probes have found: each check makes one finding of facts."""

from __future__ import annotations

import stat
from collections.abc import Collection
from statistics import median

from p2pnode.api.shapes import IdentityJson
from p2pnode.core.link.port_mapping import is_double_nat
from p2pnode.core.placement.adverts import ADVERT_TTL_MS_MAX
from p2pnode.core.values.units import about_bytes
from p2pnode.core.wire import addresses
from p2pnode.system.host_resources import DISK_RESERVE_BYTES

from .findings import Finding, fail, ok, warn
from .probes import ClockFacts, EngineFacts, NetworkFacts, NodeFacts, PathFacts, RouterFacts

# As pyproject.toml has them: the first that works, the first that does not.
PYTHON_FIRST, PYTHON_END = (3, 11), (3, 14)
# A node without peers, jobs and followers has some 40 open.
OPEN_FILES_MIN = 1_024
# Some 300 peers, and a handful for each job.
OPEN_FILES_AMPLE = 4_096
# 2026-01-01: this program is younger. A machine without a battery for its clock starts in 1970 or 2000.
CLOCK_FIRST_S = 1_767_225_600.0
# 2076-01-01: certificates have ended before.
CLOCK_LAST_S = 3_345_062_400.0
YEAR_S = 365.2425 * 86_400
# A peer refuses adverts ten minutes off; what NTP keeps is never a minute.
SKEW_S_MAX = 60.0
# A peer's newest advert may be as old as it lasts.
ADVERT_AGE_S_MAX = ADVERT_TTL_MS_MAX / 1000 + SKEW_S_MAX


def python(version: tuple[int, int, int], program: str) -> Finding:
    shown = ".".join(map(str, version))
    if PYTHON_FIRST <= version[:2] < PYTHON_END:
        return ok("python", f"Python {shown}, {program}")
    return fail("python", f"Python {shown} is none of 3.11 to 3.13", "install p2pnode with one of these")


def data_directory(found: PathFacts, user: int) -> Finding:
    check, path = "data", found.path
    if found.problem:
        return fail(check, f"{path}: {found.problem}", "give it to this user, or name another --data-dir")
    if not found.kind:
        return ok(check, f"{path} is not there yet: serve makes it")
    if found.kind != "directory":
        return fail(check, f"{path} is not a directory", "move it away, or name another --data-dir")
    if found.owner != user:
        return fail(
            check,
            f"{path} belongs to user {found.owner}, and this is user {user}",
            "give it to this user (chown -R), or name another --data-dir",
        )
    if found.mode & (stat.S_IRWXG | stat.S_IRWXO):
        return warn(
            check,
            f"{path} is open to other users (mode {found.mode:o}) until serve closes it",
            f"chmod 700 {path}",
        )
    if found.mode & stat.S_IRWXU != stat.S_IRWXU:
        return fail(check, f"{path} is closed to its own user (mode {found.mode:o})", f"chmod 700 {path}")
    return ok(check, f"{path}, this user's alone")


def disk(check: str, what: str, free_bytes: int | None) -> Finding:
    """The free disk below something, against what a node leaves free."""
    if free_bytes is None:
        return ok(check, f"{what}: on no disk of this machine that can be seen")
    shown = f"{about_bytes(free_bytes)} free at {what}"
    if free_bytes < DISK_RESERVE_BYTES:
        return fail(
            check,
            f"{shown}: no job is taken below {about_bytes(DISK_RESERVE_BYTES)}",
            "free some of the disk",
        )
    if free_bytes < 2 * DISK_RESERVE_BYTES:
        return warn(
            check,
            f"{shown}: near {about_bytes(DISK_RESERVE_BYTES)}, where no job is taken",
            "free some of it",
        )
    return ok(check, shown)


def store_quota(quota_bytes: int | None, total_bytes: int) -> Finding | None:
    """A quota that the disk cannot hold; None where there is no such."""
    if quota_bytes is None or quota_bytes <= total_bytes:
        return None
    return warn(
        "quota",
        f"store_quota is {about_bytes(quota_bytes)}, and the disk {about_bytes(total_bytes)}",
        "p2pnode config set store_quota SIZE",
    )


def policy(problem: str, path: str) -> Finding:
    if problem:
        return fail("policy", problem, "mend the file: serve does not start with it")
    return ok("policy", f"{path} is valid")


def config_file(found: PathFacts, problem: str, user: int) -> Finding:
    check, path = "config", found.path
    if problem:
        return fail(
            check,
            problem,
            "mend the file; p2pnode config set or unset changes a single setting, where the rest can be read",
        )
    if not found.kind:
        return ok(check, f"{path} is not there: defaults, and what the environment says")
    if found.owner == user and found.mode & (stat.S_IWGRP | stat.S_IWOTH):
        return warn(check, f"{path} can be written to by others (mode {found.mode:o})", f"chmod 600 {path}")
    return ok(check, f"{path} is valid")


def containers(found: EngineFacts, chosen: bool) -> Finding:
    """The container engine; one that somebody has `chosen` has to work."""
    where = f"{found.address} ({found.why})"
    if not found.problem:
        return ok("containers", f"{found.version} at {where}")
    advice = "mend that, or choose another (p2pnode config explain docker_host)"
    if chosen:
        return fail("containers", found.problem, advice)
    return warn("containers", f"no containers run here: {found.problem}", advice)


def wasm(problem: str | None) -> Finding:
    if problem is None:
        return ok("wasm", "a module runs")
    return fail("wasm", problem, "install p2pnode anew, on a processor that wasmtime supports")


def port(what: str, number: int, problem: str, held: Collection[int]) -> Finding:
    """A port that a node is to listen at; `held` are those of the node that runs."""
    if number == 0:
        return ok("ports", f"{what}: a free port is taken")
    if not problem:
        return ok("ports", f"{what}: free")
    if problem == "taken" and number in held:
        return ok("ports", f"{what}: held by the node that runs")
    reason = "another program has it" if problem == "taken" else problem
    return fail("ports", f"{what}: {reason}", "end that, or choose another (p2pnode config explain listen)")


def open_files(limit: int | None) -> Finding:
    if limit is None or limit >= OPEN_FILES_AMPLE:
        return ok("files", f"{'any number of' if limit is None else f'{limit:,}'} open files")
    advice = f"raise the hard limit (ulimit -Hn, LimitNOFILE=) to {OPEN_FILES_AMPLE:,}"
    if limit < OPEN_FILES_MIN:
        return fail("files", f"at most {limit:,} open files: a node needs {OPEN_FILES_MIN:,}", advice)
    return warn("files", f"at most {limit:,} open files: strangers are turned away early", advice)


def clock(found: ClockFacts, node: NodeFacts) -> Finding:
    """The clock by itself, and against the adverts of connected peers, which were made just before."""
    advice = "set it, and keep it by NTP (timedatectl set-ntp true)"
    if not found.monotonic:
        return fail("clock", "the monotonic clock runs backwards", "mend this machine, or its hypervisor")
    if not CLOCK_FIRST_S <= found.now < CLOCK_LAST_S:
        return fail("clock", f"the year is {1970 + int(found.now / YEAR_S)}", advice)
    ahead = [one["issued"] - found.now for one in node.nodes if one["connected"] and not one["self"]]
    if not ahead:
        return ok("clock", f"it runs, and the year is {1970 + int(found.now / YEAR_S)}")
    # By half of the peers: a single one may be wrong by itself.
    behind_s = median(ahead)
    if behind_s > SKEW_S_MAX:
        return warn("clock", f"{behind_s:.0f} s behind the adverts of its peers", advice)
    if -behind_s > ADVERT_AGE_S_MAX:
        return warn("clock", f"the adverts of its peers were made {-behind_s:.0f} s ago", advice)
    return ok("clock", f"agrees with the adverts of its peers ({len(ahead)})")


def node(found: NodeFacts, version: str) -> Finding:
    if found.problem:
        return fail("node", found.problem, "end it and start it again: p2pnode serve")
    if found.identity is None:
        return ok("node", "none runs here: p2pnode serve starts one")
    told = found.identity
    if told["version"] != version:
        return warn("node", f"{told['name']} runs version {told['version']}", "start it again for this one")
    return ok("node", f"{told['name']} answers: {told['peer']}")


def network(found: NetworkFacts, node: NodeFacts, now: float) -> Finding:
    """The network of the data directory, which the node that runs should be in."""
    if found.problem:
        return fail("network", found.problem, "p2pnode serve does not start with it")
    told = node.identity and node.identity.get("network")
    if node.identity is not None and (told["operator"] if told else "") != found.operator:
        return warn("network", f"{found.text}, and the node that runs is not in it", "start the node again")
    if found.expires is not None and found.expires <= now:
        return fail("network", found.text, "ask its operator for another token, and join anew")
    if found.of_another:
        said, _, remedy = found.of_another.rpartition(": ")
        return fail("network", said, remedy)
    if found.ends:
        said, _, remedy = found.ends.partition(": ")
        return warn("network", said, remedy)
    return ok("network", found.text)


def peers(found: NodeFacts) -> list[Finding]:
    """The peers of the node that runs: how many, and each that was given and is not connected."""
    others = [one for one in found.nodes if not one["self"]]
    connected = sum(one["connected"] for one in others)
    shown = f"{connected} connected of {len(others)} known"
    advice = "see that it runs and can be reached from here (node list), or name another with --peer"
    lost = [
        warn("peers", f"{one['peer']}: {one['reason'] or 'no answer yet'}", advice) for one in found.unreached
    ]
    if connected:
        first = ok("peers", shown)
    elif found.unreached:
        first = fail("peers", f"{shown}: none of those given is reached", advice)
    else:
        first = warn("peers", f"{shown}: jobs run here alone", "name one with --peer (config set peers)")
    deaf = [
        warn("peers", f"{one['name']}: {one['problem']}", "have it or this node updated")
        for one in others
        if one["problem"]
    ]
    return [first, *lost, *deaf]


def own_addresses(told: IdentityJson) -> Finding:
    """Where the node that runs is now."""
    listens = addresses.understood(told["addresses"])
    wide = [one.transport for one in listens if addresses.scope_of(one.host) and not one.relay]
    return ok("addresses", ", ".join(wide) or "none but those of this machine alone")


def reach(found: NodeFacts) -> Finding | None:
    """How others reach the node that runs; None where nothing is known of it, as alone or on one machine."""
    how = found.identity.get("reach", "unknown") if found.identity else "unknown"
    by_family = found.identity.get("reach_by", {}) if found.identity else {}
    # Said where the families differ.
    differs = addresses.reach_text("", by_family)
    if how == "none":
        return warn(
            "reach",
            differs or "nobody connects to this node from outside, and no neighbour is its relay",
            "have its router forward the port of --listen here, or join through a relay (--peer)",
        )
    says = {"direct": "others connect to this node", "relay": "others reach this node by relays"}
    return ok("reach", differs or says[how]) if how in says else None


def router(found: RouterFacts) -> Finding:
    """The router of a node that is not dialled, which might pass its port on."""
    if found.problem:
        advice = "have it forward the port of --listen here, or let it do so by UPnP"
        return warn("router", found.problem, advice)
    if is_double_nat(found.external):
        return warn(
            "router",
            f"{found.gateway} is behind another router: its own address, {found.external}, is private",
            "have that one forward the port, too, or ask the provider for a public address",
        )
    return ok("router", f"{found.gateway} speaks UPnP, and is {found.external} outside")


def finding(found: NodeFacts) -> Finding | None:
    """The DHT and what others find there of this node; None where it is off."""
    told = found.identity.get("finding") if found.identity else None
    if told is None or told["dht"] == "off":
        return None
    shown = f"{told['dht']}, {told['peers']} peers have answered"
    if told["provided"] or told["waiting"]:
        shown += f"; {told['provided']} roots are provided, {told['waiting']} wait"
    if told["waiting"] and not told["provided"] and not told["peers"]:
        return warn("dht", shown, "name a peer of the DHT that can be reached: config set dht_peers")
    return ok("dht", shown)


def problems(found: NodeFacts) -> Finding:
    aside = [one for one in found.problems if one["aside"]]
    if not aside:
        return ok("problems", "nothing is set aside")
    return warn(
        "problems",
        f"{len(aside)} set aside, such as the {aside[0]['kind']} {aside[0]['subject']}",
        "p2pnode node problems shows them; --retry or --drop each",
    )


def kubo(version: str, problem: str) -> Finding:
    if problem:
        return fail("kubo", problem, "start it, or p2pnode config unset ipfs_api")
    return ok("kubo", f"Kubo {version} answers")
