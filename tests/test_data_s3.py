"""Inputs from a real S3 service."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
import trio

from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.wire.states import Fault
from p2pnode.data import s3_client, tries
from p2pnode.data.failures import DataFailed, Retryable
from p2pnode.data.inputs import Access
from p2pnode.data.s3_client import S3Account
from p2pnode.data.tries import Tries
from tests.data_support import Execution, files_in
from tests.s3_server import PUBLIC_BUCKET, S3Server, s3  # noqa: F401

LOGS = {f"logs/2024-0{month}/host-{host}.log": f"{month}{host}".encode() for month in (1, 2) for host in "ab"}


@pytest.fixture(scope="module")
def server(s3: S3Server) -> S3Server:  # noqa: F811
    s3.put("inputs", {**LOGS, "logs/readme.txt": b"read me", "odd/ä b+c=d&%41.txt": b"odd"})
    return s3


@pytest.fixture
def access(server: S3Server) -> Access:
    """The access of a node whose environment names the service, and whose operator opens all buckets."""
    environ = {**server.environment, "AWS_ENDPOINT_URL": server.endpoint}
    return Access(s3=S3Account.of_environment(environ, ("*",)))


@pytest.fixture
def node(tmp_path: Path, access: Access, monkeypatch: pytest.MonkeyPatch) -> Execution:
    monkeypatch.setattr(tries, "FETCH_TRIES", Tries(5, 0.01, 1))
    return Execution(tmp_path, access)


def of(key: str, bucket: str = "inputs", **params: Any) -> tuple[str, dict[str, Any]]:
    return "s3", {"Bucket": bucket, "Key": key, **params}


async def test_one_object_is_a_file_in_the_input(node: Execution) -> None:
    (one,) = await node.fetch(of("logs/readme.txt"))
    assert files_in(one.path) == {"readme.txt": b"read me"}


async def test_a_key_of_any_characters_is_found(node: Execution) -> None:
    for key in ("odd/ä b+c=d&%41.txt", "odd/*"):
        (one,) = await node.fetch(of(key))
        assert files_in(one.path) == {"ä b+c=d&%41.txt": b"odd"}
        node.name = "e-2"


async def test_a_prefix_is_all_objects_that_begin_so(node: Execution) -> None:
    (one,) = await node.fetch(of("logs/2024*"))
    assert files_in(one.path) == {key.removeprefix("logs/"): data for key, data in LOGS.items()}
    assert node.told[-1].startswith("fetching /input0: 4 of 4 objects")


async def test_a_filter_leaves_objects_out(node: Execution) -> None:
    (one,) = await node.fetch(of("logs/", Filter="host-a"))
    assert sorted(files_in(one.path)) == ["2024-01/host-a.log", "2024-02/host-a.log"]


async def test_replicas_share_the_objects(node: Execution) -> None:
    shares = []
    for replica in range(2):
        node.name = f"e-{replica}"
        source = of("logs/2024*", Partition={"Type": "regex", "Pattern": "host-(.)"})
        (one,) = await node.fetch(source, replica=replica, count=2)
        shares.append({path[-5] for path in files_in(one.path)})
    assert sorted("".join(sorted(share)) for share in shares) in (["", "ab"], ["a", "b"])


async def test_a_listing_of_several_pages_is_read_to_its_end(server: S3Server, node: Execution) -> None:
    server.put("many", {f"k/{number:04}": b"" for number in range(1_020)})
    (one,) = await node.fetch(of("k/*", "many", Filter="^..[01]7$"))
    assert len(files_in(one.path)) == 22


async def test_more_objects_than_the_limit_are_refused(
    node: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "OBJECTS_MAX", 3)
    with pytest.raises(DataFailed, match="more than 3 objects"):
        await node.fetch(of("logs/*"))


async def test_an_older_version_is_fetched_by_its_id(server: S3Server, node: Execution) -> None:
    client = server.client
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    first = client.put_object(Bucket="versioned", Key="x", Body=b"first")["VersionId"]
    client.put_object(Bucket="versioned", Key="x", Body=b"second")
    (old,) = await node.fetch(of("x", "versioned", VersionID=first))
    node.name = "e-2"
    (new,) = await node.fetch(of("x", "versioned"))
    assert (files_in(old.path), files_in(new.path)) == ({"x": b"first"}, {"x": b"second"})


async def test_a_checksum_is_held_against_what_came(node: Execution) -> None:
    right = base64.b64encode(hashlib.sha256(b"read me").digest()).decode()
    await node.fetch(of("logs/readme.txt", ChecksumSHA256=right))
    node.name = "e-2"
    with pytest.raises(DataFailed, match="ChecksumSHA256") as failed:
        await node.fetch(of("logs/readme.txt", ChecksumSHA256=right.replace(right[0], "_")))
    assert failed.value.fault is Fault.JOB


@pytest.mark.parametrize(
    ("source", "said", "fault"),
    [
        (of("logs/none.txt"), "NoSuchKey", Fault.JOB),
        (of("none/*"), "no key begins with 'none/'", Fault.JOB),
        (of("x", "no-such-bucket"), "NoSuchBucket|NoSuchKey", Fault.JOB),
        (of("x", "a/../b"), "no bucket", Fault.JOB),
        (of("x", "inputs", Region="evil.example/"), "no bucket", Fault.JOB),
        (of("logs/*", VersionID="1"), "of one object", Fault.JOB),
    ],
)
async def test_what_is_not_there_is_the_jobs_fault(
    node: Execution, source: tuple[str, dict[str, Any]], said: str, fault: Fault
) -> None:
    with pytest.raises(DataFailed, match=said) as failed:
        await node.fetch(source)
    assert failed.value.fault is fault


@pytest.mark.parametrize("buckets", [(), ("others",)])
async def test_credentials_are_used_for_buckets_that_the_operator_names_and_public_ones_need_none(
    server: S3Server, node: Execution, buckets: tuple[str, ...]
) -> None:
    environ = {**server.environment, "AWS_ENDPOINT_URL": server.endpoint}
    node.access = Access(s3=S3Account.of_environment(environ, buckets))
    with pytest.raises(DataFailed, match="asked without credentials") as failed:
        await node.fetch(of("logs/readme.txt"))
    # Another peer may have the credentials.
    assert failed.value.fault is Fault.PEER
    (one,) = await node.fetch(of("hello.txt", PUBLIC_BUCKET))
    assert files_in(one.path) == {"hello.txt": b"hello"}


async def test_wrong_credentials_are_the_peers_fault(server: S3Server, node: Execution) -> None:
    environ = {**server.environment, "AWS_SECRET_ACCESS_KEY": "wrong", "AWS_ENDPOINT_URL": server.endpoint}
    node.access = Access(s3=S3Account.of_environment(environ, ("*",)))
    with pytest.raises(DataFailed, match="SignatureDoesNotMatch") as failed:
        await node.fetch(of("logs/readme.txt"))
    assert failed.value.fault is Fault.PEER


async def test_an_endpoint_that_the_job_names_must_be_public_or_allowed(
    server: S3Server, node: Execution
) -> None:
    source = of("logs/readme.txt", Endpoint=server.endpoint)
    account = S3Account.of_environment(server.environment, ("*",))
    node.access = Access(s3=account)
    with pytest.raises(DataFailed, match="not a public address") as failed:
        await node.fetch(source)
    assert failed.value.fault is Fault.JOB
    node.access = Access(s3=account, hosts=(AllowedHost.parse(server.endpoint.removeprefix("http://")),))
    (one,) = await node.fetch(source)
    assert files_in(one.path) == {"readme.txt": b"read me"}


@pytest.mark.parametrize(
    ("bucket", "endpoint", "signed"),
    [
        ("mine", "", True),
        ("mine", "https://s3.eu-west-1.amazonaws.com", True),
        ("mine", "http://minio.lan:9000", True),
        ("mine", "http://other.lan:9000", True),
        ("theirs", "", False),
        ("mine", "https://evil.example", False),
        ("mine", "https://s3.amazonaws.com.evil.example", False),
        ("mine", "http://s3.amazonaws.com", False),
        ("mine", "http://minio.lan:9001", False),
    ],
)
def test_a_service_that_only_the_job_names_learns_nothing_of_credentials(
    bucket: str, endpoint: str, signed: bool
) -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": "http://minio.lan:9000/",
    }
    account = S3Account.of_environment(environ, ("mine",))
    hosts = (AllowedHost.parse("other.lan"), *account.hosts)
    assert (account.credentials_for(bucket, endpoint, hosts) is not None) is signed


async def test_objects_are_taken_from_the_cache_while_they_are_the_same(
    server: S3Server, node: Execution
) -> None:
    server.put("inputs", {"cached": b"v1"})
    (first,) = await node.fetch(of("cached"))
    node.name = "e-2"
    (second,) = await node.fetch(of("cached"))
    assert first.path.samefile(second.path)
    server.put("inputs", {"cached": b"v2"})
    node.name = "e-3"
    (third,) = await node.fetch(of("cached"))
    assert files_in(third.path) == {"cached": b"v2"}


async def test_an_input_that_is_cancelled_half_way_goes_on_there(server: S3Server, node: Execution) -> None:
    data = bytes(range(256)) * 100_000
    server.put("inputs", {"big": data})

    class Cancelling(list[str]):
        def append(self, text: str) -> None:
            scope.cancel()

    with trio.CancelScope() as scope:
        node.told = Cancelling()
        await node.fetch(of("big"))
    assert scope.cancelled_caught
    (part,) = (node.inputs / ".0.parts").iterdir()
    assert 0 < part.stat().st_size < len(data)
    node.told = []
    (one,) = await node.fetch(of("big"))
    assert files_in(one.path) == {"big": data}


async def test_many_tiny_objects_count_as_what_they_take_on_disk(server: S3Server, node: Execution) -> None:
    server.put("inputs", {f"tiny/{at}/{at}": b"" for at in range(20)})
    source = ("s3", {"Bucket": "inputs", "Key": "tiny/"})
    with pytest.raises(DataFailed, match="take more than") as caught:
        await node.fetch(source, disk_bytes=30 * 4096)
    assert caught.value.fault is Fault.JOB
    assert (await node.fetch(source, disk_bytes=40 * 4096))[0].path.is_dir()
    # After a restart of the node as before it.
    assert (await node.fetch(source, disk_bytes=40 * 4096))[0].path.is_dir()


LISTING = (
    '<ListBucketResult><Contents><Key>a</Key><ETag>"1"</ETag><Size>1</Size></Contents></ListBucketResult>'
)
BOMB = '<!DOCTYPE x [<!ENTITY a "1"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("a DOCTYPE", (BOMB + LISTING).encode()),
        ("a DOCTYPE behind a declaration", ('<?xml version="1.0"?>' + BOMB + LISTING).encode()),
        (
            "a DOCTYPE in UTF-16",
            ('<?xml version="1.0" encoding="UTF-16"?>' + BOMB + LISTING).encode("utf-16"),
        ),
        ("a DOCTYPE in UTF-16 without a mark", (BOMB + LISTING).encode("utf-16-le")),
        ("a DOCTYPE in UTF-16, the other way round", (BOMB + LISTING).encode("utf-16-be")),
        ("a DOCTYPE in UTF-32", (BOMB + LISTING).encode("utf-32")),
        (
            "a DOCTYPE in an encoding that Python knows and expat asks it for",
            (b'<?xml version="1.0" encoding="cp037"?>') + (BOMB + LISTING).encode("cp037"),
        ),
        (
            "a DOCTYPE in UTF-7 that is plain ASCII",
            ('<?xml version="1.0" encoding="utf-7"?>' + LISTING).encode() + b"+ADw-+ACE-DOCTYPE x+AD4-",
        ),
        ("a listing in UTF-16", LISTING.encode("utf-16")),
        (
            "a listing in Latin-1",
            ('<?xml version="1.0" encoding="latin-1"?>' + LISTING.replace("a<", "\xe4<")).encode("latin-1"),
        ),
        ("an entity of its own", b"<!ENTITY a '1'>" + LISTING.encode()),
        ("no XML", b"\xff\xfe"),
        ("nothing", b""),
    ],
)
def test_xml_of_a_service_that_could_define_entities_is_refused(what: str, answer: bytes) -> None:
    with pytest.raises(Retryable):
        s3_client._parse_listing_untrusted(answer)
    assert s3_client._parse_error_untrusted(answer) == ("", "")


@pytest.mark.parametrize(
    "answer",
    [
        LISTING.encode(),
        b"\xef\xbb\xbf" + LISTING.encode(),
        b'<?xml version="1.0" encoding="UTF-8"?>' + LISTING.encode(),
    ],
)
def test_a_listing_in_utf_8_is_read(answer: bytes) -> None:
    objects, token = s3_client._parse_listing_untrusted(answer)
    assert [one.key for one in objects] == ["a"] and token == ""
