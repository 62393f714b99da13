"""A job that does nothing, from `submit` to Completed, on three peers.

Yardsticks in the same run: one bare request and its answer on a kept libp2p stream between two
processes, and the same module run alone by the engine, without a network.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from p2pnode import identity
from p2pnode.client.calls import Client
from p2pnode.client.finding import find
from p2pnode.core import jobfile
from p2pnode.engines.wasm.engine import WasmEngine
from p2pnode.engines.workload import Mount, Workload
from p2pnode.ipfs import car, unixfs
from p2pnode.ipfs.blocks import BlockStore
from p2pnode.network.host import open_host
from p2pnode.network.streams import Stream

from .figures import ROOT, devnet, options, percentile, show

JOBS = 60
REQUESTS = 300
RUNS = 30
MESSAGE_SIZE_BYTES = 300
PROTOCOL = "/p2pnode-bench/echo/1"
LISTEN = ["/ip4/127.0.0.1/tcp/0"]


async def _echo(directory: Path) -> None:
    """The other process: answers each message with itself, until its stdin ends."""

    async def serve(stream: Stream) -> None:
        while data := await stream.read_some(MESSAGE_SIZE_BYTES, 60):
            await stream.write(data, 10)

    async with open_host(identity.load_or_create(directory), LISTEN) as host:
        host.handle(PROTOCOL, serve)
        print(host.addresses()[0], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


async def _requests(address: str, directory: Path) -> list[float]:
    times = []
    async with open_host(identity.load_or_create(directory), LISTEN) as host:
        peer = address.rpartition("/")[2]
        await host.connect(peer, [address], 10)
        async with await host.open_stream(peer, [PROTOCOL], 10) as stream:
            for _ in range(REQUESTS):
                start = time.perf_counter()
                await stream.write(bytes(MESSAGE_SIZE_BYTES), 10)
                await stream.read_exactly(MESSAGE_SIZE_BYTES, 10)
                times.append(time.perf_counter() - start)
    return times


def bare_requests() -> list[float]:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", __spec__.name, "echo", scratch]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            address = other.stdout.readline().strip()
            return trio.run(_requests, address, Path(scratch) / "other")


async def _module_alone(directory: Path) -> list[float]:
    spec = jobfile.parse((ROOT / "devnet/jobs/noop.yaml").read_bytes(), "noop.yaml").spec
    engine = WasmEngine(directory / "cache")
    times = []
    for number in range(RUNS + 1):
        place = directory / str(number)
        place.mkdir()
        workload = Workload(
            execution_id=f"e-{number}",
            task=spec.task,
            job_id="j",
            replica=0,
            replica_count=1,
            directory=place,
            inputs=(Mount(host_path=ROOT / "devnet/jobs/noop.wasm", target="/noop.wasm"),),
            stdout=place / "stdout",
            stderr=place / "stderr",
        )
        start = time.perf_counter()
        ended = await engine.run(workload, lambda: None, lambda text: None)
        assert ended.exit_code == 0, ended
        times.append(time.perf_counter() - start)
    # The first compiles the module.
    return times[1:]


def add_to(client: Client, path: Path) -> str:
    """Give a file to a node; its CID."""
    with tempfile.TemporaryDirectory() as scratch:
        store = BlockStore(Path(scratch))
        return client.import_car(car.write_car(unixfs.add_path(path, store.put), store.get))


def jobs() -> list[float]:
    """Seconds from the request that submits to the event that says Completed, one job after the other."""
    times = []
    job_file = (ROOT / "devnet/jobs/noop.yaml").read_bytes()
    with devnet(3) as directory:
        client = find(directory / "node-1", {})
        add_to(client, ROOT / "devnet/jobs/noop.wasm")
        for _ in range(JOBS + 3):
            start = time.perf_counter()
            job = client.submit(job_file, "noop.yaml")
            for _ in client.job_events(job, follow=True):
                pass
            times.append(time.perf_counter() - start)
            assert client.job(job)["state"] == "Completed"
    # The first on each peer fetches and compiles the module.
    return times[3:]


def main() -> None:
    request = percentile(bare_requests(), 50)
    with tempfile.TemporaryDirectory() as scratch:
        alone = percentile(trio.run(_module_alone, Path(scratch)), 50)
    times = jobs()
    print(f"noop WASM job on 3 peers, {JOBS} in a row")
    for percent in (50, 99):
        value = percentile(times, percent)
        aims = (25, 2.5) if percent == 50 else (None, None)
        what = f"noop WASM job on 3 nodes, submit to Completed, p{percent}"
        show(what, value, "a bare request", request, aims[0])
        show(what, value, "the module alone", alone, aims[1])
    show("(a bare request, p50)", request, "itself", request)
    show("(the module alone, p50)", alone, "itself", alone)


if __name__ == "__main__":
    if sys.argv[1:2] == ["echo"]:
        trio.run(_echo, Path(sys.argv[2]))
    else:
        options("jobs", __doc__).parse_args()
        main()
