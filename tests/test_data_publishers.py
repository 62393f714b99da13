"""Results published: to a real S3 service, into the node's own directory, to IPFS."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.wire.spec import Source
from p2pnode.core.wire.states import Fault
from p2pnode.data import publishers, tries
from p2pnode.data.archive import Tree
from p2pnode.data.failures import DataFailed
from p2pnode.data.inputs import Access
from p2pnode.data.publishers import Publishers, Result
from p2pnode.data.s3_client import S3Account
from p2pnode.data.tries import Tries
from tests.data_support import files_in
from tests.s3_server import PUBLIC_BUCKET, S3Server, s3  # noqa: F401


@pytest.fixture(scope="module")
def server(s3: S3Server) -> S3Server:  # noqa: F811
    s3.client.create_bucket(Bucket="results")
    return s3


@pytest.fixture
def access(server: S3Server) -> Access:
    """The access of a node whose environment names the service, and whose operator opens all buckets."""
    environ = {**server.environment, "AWS_ENDPOINT_URL": server.endpoint}
    return Access(s3=S3Account.of_environment(environ, ("*",)))


@pytest.fixture
def result(tmp_path: Path) -> Result:
    outputs = tmp_path / "results" / "outputs"
    (outputs / "deep").mkdir(parents=True)
    (outputs / "deep" / "table.csv").write_bytes(b"a,b\n")
    (outputs / "link").symlink_to("/etc/passwd")
    (outputs / "empty").mkdir()
    stdout = tmp_path / "stdout"
    stdout.write_bytes(b"said\n")
    return Result(
        tree={"stdout": stdout, "exitCode": b"0", "outputs": outputs},
        job="j-1",
        execution="e-1",
        peer="12D3peer",
        ended_ms=1_700_000_000_123,
        disk_bytes=0,
        scratch=tmp_path,
    )


FILES = {"stdout": b"said\n", "exitCode": b"0", "outputs/deep/table.csv": b"a,b\n"}


def publishing(tmp_path: Path, access: Access) -> Publishers:
    def store(tree: Tree) -> str:
        return "bafy" + "-".join(sorted(tree))

    return Publishers(store, access, tmp_path / "published")


def to_s3(key: str, **params: Any) -> Source:
    return Source(type="s3", params={"Bucket": "results", "Key": key, **params})


async def test_a_result_is_published_as_one_archive(
    server: S3Server, access: Access, tmp_path: Path, result: Result
) -> None:
    publisher = to_s3("one/{jobID}/{executionID}/{nodeID}/{date}-{time}")
    for _ in range(2):
        await publishing(tmp_path, access).publish(publisher, result, print)
    ((key, data),) = server.objects("results", "one/").items()
    assert key == "one/j-1/e-1/12D3peer/20231114-221320.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        names = archive.getnames()
        assert archive.getmember("outputs/link").issym()
        files = {one.name: archive.extractfile(one) for one in archive if one.isfile()}
        assert {name: file.read() for name, file in files.items() if file} == FILES
    assert "outputs/empty" in names


async def test_a_result_is_published_file_by_file(
    server: S3Server, access: Access, tmp_path: Path, result: Result
) -> None:
    await publishing(tmp_path, access).publish(to_s3("plain/{jobID}", Encoding="plain"), result, print)
    assert server.objects("results", "plain/") == {f"plain/j-1/{name}": data for name, data in FILES.items()}


async def test_a_publisher_that_nobody_answers_is_tried_again_and_then_said(
    access: Access, tmp_path: Path, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tries, "PUBLISH_TRIES", Tries(4, 0.01, 1))
    told: list[str] = []
    dead = Access(s3=access.s3, hosts=(AllowedHost("127.0.0.1", None),))
    publisher = to_s3("x", Endpoint="http://127.0.0.1:9")
    with pytest.raises(DataFailed, match=r"cannot be reached.*\(4 tries\)") as failed:
        await publishing(tmp_path, dead).publish(publisher, result, told.append)
    assert failed.value.fault is Fault.NETWORK
    assert sum("trying again" in text for text in told) == 3


@pytest.mark.parametrize(
    ("bucket", "buckets", "fault"), [("no-such-bucket", ("*",), Fault.JOB), ("results", (), Fault.PEER)]
)
async def test_a_bucket_that_is_missing_or_closed_is_not_tried_again(
    server: S3Server, tmp_path: Path, result: Result, bucket: str, buckets: tuple[str, ...], fault: Fault
) -> None:
    environ = {**server.environment, "AWS_ENDPOINT_URL": server.endpoint}
    access = Access(s3=S3Account.of_environment(environ, buckets))
    told: list[str] = []
    publisher = Source(type="s3", params={"Bucket": bucket, "Key": "x"})
    with pytest.raises(DataFailed, match=bucket) as failed:
        await publishing(tmp_path, access).publish(publisher, result, told.append)
    assert failed.value.fault is fault
    assert not any("trying again" in text for text in told)


async def test_publishers_are_offered_where_they_can_be_used(server: S3Server, tmp_path: Path) -> None:
    def offered(environ: dict[str, str], *buckets: str) -> bool:
        access = Access(s3=S3Account.of_environment(environ, buckets))
        return "s3" in publishing(tmp_path, access).types

    assert offered(server.environment, "results")
    assert not offered(server.environment)
    assert not offered({}, "results")


async def test_a_local_result_is_an_archive_on_the_node(tmp_path: Path, result: Result) -> None:
    publisher = Source(type="local")
    for _ in range(2):
        await publishing(tmp_path, Access()).publish(publisher, result, print)
    with tarfile.open(tmp_path / "published" / "e-1.tar.gz") as archive:
        assert {one.name for one in archive if one.isfile()} == set(FILES)


async def test_the_oldest_local_results_make_room(
    tmp_path: Path, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishers, "LOCAL_SIZE_BYTES_MAX", 1)
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "e-0.tar.gz").write_bytes(b"old")
    await publishing(tmp_path, Access()).publish(Source(type="local"), result, print)
    assert sorted(files_in(tmp_path / "published")) == ["e-1.tar.gz"]


async def test_none_and_ipfs_need_no_more_than_the_store(tmp_path: Path, result: Result) -> None:
    own = publishing(tmp_path, Access())
    assert (await own.store(result))[0] == "bafyexitCode-outputs-stdout"
    for publisher in (None, Source(type="none"), Source(type="ipfs")):
        await own.publish(publisher, result, print)
    assert not (tmp_path / "published").exists()
