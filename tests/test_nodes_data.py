"""Inputs and publishers through the real program: buckets, URLs, local files, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import wasmtime

from p2pnode.ipfs import cid, unixfs

from .docker_engine import BUSYBOX, require_docker
from .nodes import Node, Nodes, environment, know_each_other, running_nodes
from .programs import JOBS, docker_job, text_of, unique_name
from .s3_server import S3Server, s3  # noqa: F401
from .web_site import Page, Site, running_site

WORDS = {path.name: path.read_bytes() for path in (JOBS / "wordcount-data").iterdir()}
# Makes an empty file `mark` in each directory that it was given and may write to; says so.
MARKING = r"""
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "mark") (data (i32.const 16) "made\n")
  (func (export "_start") (local $directory i32)
    (local.set $directory (i32.const 3))
    (loop $next
      (if (i32.eqz (call $open (local.get $directory) (i32.const 0) (i32.const 0) (i32.const 4)
                     (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 268)))
        (then
          (i32.store (i32.const 256) (i32.const 16)) (i32.store (i32.const 260) (i32.const 5))
          (drop (call $write (i32.const 1) (i32.const 256) (i32.const 1) (i32.const 264)))))
      (local.set $directory (i32.add (local.get $directory) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $directory) (i32.const 8))))))
"""


class Network:
    """A node that submits, two that may use the bucket, the site and a directory, and all that these hold."""

    def __init__(self, nodes: Nodes, bucket: S3Server, site: Site) -> None:
        self.s3, self.site = bucket, site
        self.logs, self.state = nodes.directory / "logs", nodes.directory / "state"
        self.rare = nodes.directory / "rare"
        for directory in (self.logs, self.state, self.rare):
            directory.mkdir()
        (self.logs / "today.txt").write_bytes(b"one two two\n")
        (self.state / "link").symlink_to("/etc")
        allowed = ["--allow-path", str(self.logs), "--allow-path", f"{self.state}:rw"]
        allowed += ["--allow-host", site.host, "--s3-bucket", "texts", "--s3-bucket", "gone"]
        self.a = nodes.start("a", "--no-compute")
        self.b = nodes.new("b", *allowed, peers=(self.a,))
        self.c = nodes.new(
            "c", *allowed, "--allow-path", str(self.rare), "--allow-env", "PATH*", peers=(self.a,)
        )
        for node in (self.b, self.c):
            node.start(ready=False)
        for node in (self.b, self.c):
            node.wait_ready()
        know_each_other(self.a, self.b, self.c)

    def submit(self, directory: Path, job: dict[str, Any]) -> CompletedProcess[str]:
        path = directory / "job.yaml"
        path.write_bytes(text_of(job))
        return self.a.cli("submit", str(path))

    def get(self, cid: str, to: Path) -> dict[str, bytes]:
        got = self.a.cli("get", cid, "-o", str(to))
        assert got.returncode == 0, got.stderr
        return {str(path.relative_to(to)): path.read_bytes() for path in to.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[Network]:  # noqa: F811
    texts = {f"in/{name}": data for name, data in WORDS.items()}
    s3.put("texts", {"code/wordcount.wasm": (JOBS / "wordcount.wasm").read_bytes(), **texts})
    with pytest.MonkeyPatch.context() as patch, running_site() as site:
        for name, value in {**s3.environment, "AWS_ENDPOINT_URL": s3.endpoint}.items():
            patch.setenv(name, value)
        site.pages["/wordcount.wasm"] = Page((JOBS / "wordcount.wasm").read_bytes(), etag='"1"')
        site.pages["/the-book.txt"] = Page(b"to be or not", etag='"2"')
        with running_nodes(tmp_path_factory.mktemp("nodes")) as nodes:
            yield Network(nodes, s3, site)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose operator lets jobs have nothing of what is around it."""
    with running_nodes(tmp_path_factory.mktemp("bare")) as nodes:
        yield nodes.start("bare")


def source(target: str, kind: str, **params: Any) -> dict[str, Any]:
    return {"Target": target, "Source": {"Type": kind, "Params": params}}


def module(code: bytes) -> dict[str, Any]:
    """A program that stands in the job file."""
    return source("/program.wasm", "inline", URL="data:;base64," + base64.b64encode(code).decode())


def job(*inputs: dict[str, Any], publisher: dict[str, Any], count: int = 1, entry: str) -> dict[str, Any]:
    task = {
        "Name": "main",
        "Engine": {"Type": "wasm", "Params": {"EntryModule": entry}},
        "InputSources": list(inputs),
        "Publisher": publisher,
        "ResultPaths": [{"Name": "outputs", "Path": "/outputs"}],
        "Resources": {"CPU": "100m", "Memory": "64mb", "Disk": "20mb"},
        "Timeouts": {"QueueTimeout": 2, "TotalTimeout": 60},
    }
    return {"Name": unique_name(), "Type": "batch", "Count": count, "Tasks": [task]}


def wordcount(*inputs: dict[str, Any], publisher: dict[str, Any], count: int = 1) -> dict[str, Any]:
    code = source("/module", "s3", Bucket="texts", Key="code/wordcount.wasm")
    return job(code, *inputs, publisher=publisher, count=count, entry="/module/wordcount.wasm")


def counting(data: dict[str, Any]) -> dict[str, Any]:
    """The same program in the job file, so that only its data is somewhere."""
    code = module((JOBS / "wordcount.wasm").read_bytes())
    return job(code, data, publisher={"Type": "ipfs"}, entry="/program.wasm")


def counted(files: dict[str, bytes]) -> dict[str, int]:
    lines = files["outputs/counts.csv"].decode().splitlines()[1:]
    return {word: int(count) for word, count in (line.split(",") for line in lines)}


def test_a_job_reads_a_bucket_and_its_result_goes_to_another_place_in_it(
    network: Network, tmp_path: Path
) -> None:
    publisher = {"Type": "s3", "Params": {"Bucket": "texts", "Key": "out/{jobID}/{executionID}"}}
    done = network.submit(
        tmp_path, wordcount(source("/data", "s3", Bucket="texts", Key="in/*"), publisher=publisher)
    )
    assert done.returncode == 0, done.stderr
    files = network.get(done.stdout.strip(), tmp_path / "got")
    assert counted(files)["the"] == 35
    ((key, archive),) = network.s3.objects("texts", "out/").items()
    found = network.a.client.jobs()[0]
    (execution,) = network.a.job(found["id"])["executions"]
    assert key == f"out/{found['id']}/{execution['id']}.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        published = {one.name: tar.extractfile(one) for one in tar if one.isfile()}
        assert {name: file.read() for name, file in published.items() if file} == files


def test_two_replicas_share_the_objects_of_a_bucket(network: Network, tmp_path: Path) -> None:
    data = source("/data", "s3", Bucket="texts", Key="in/*", Filter="txt$", Partition={"Type": "object"})
    done = network.submit(tmp_path, wordcount(data, publisher={"Type": "none"}, count=2))
    assert done.returncode == 0, done.stderr
    shares = [
        counted(network.get(cid, tmp_path / str(index))) for index, cid in enumerate(done.stdout.split())
    ]
    assert sum(share.get("the", 0) for share in shares) == 35
    assert all(share.get("the", 0) < 35 for share in shares)


def test_local_directories_are_read_and_written_as_both_sides_say(network: Network, tmp_path: Path) -> None:
    inputs = [
        module(bytes(wasmtime.wat2wasm(MARKING))),
        source("/app/logs", "localDirectory", SourcePath=str(network.logs)),
        source("/app/state", "localDirectory", SourcePath=str(network.state), ReadWrite=True),
    ]
    done = network.submit(tmp_path, job(*inputs, publisher={"Type": "local"}, entry="/program.wasm"))
    assert done.returncode == 0, done.stderr
    assert (network.state / "mark").exists()
    assert not (network.logs / "mark").exists()
    files = network.get(done.stdout.strip(), tmp_path / "got")
    assert {"stdout", "stderr", "exitCode", "outputs/mark"} == files.keys()
    archives = [path for node in (network.b, network.c) for path in (node.data_dir / "published").glob("*")]
    (archive,) = archives
    with tarfile.open(archive) as tar:
        assert {one.name for one in tar if one.isfile()} == files.keys()


def test_a_wasm_job_that_would_write_to_a_single_file_is_refused(network: Network, tmp_path: Path) -> None:
    (network.state / "one.txt").write_bytes(b"as it was")
    one = source("/data/one.txt", "local", SourcePath=str(network.state / "one.txt"), ReadWrite=True)
    done = network.submit(tmp_path, wordcount(one, publisher={"Type": "none"}))
    assert done.returncode == 3, done.stderr
    assert "one.txt is a file here, and a WASM program can write only below a folder" in done.stderr


def test_a_job_goes_where_its_directory_is(network: Network) -> None:
    logs = source("/data", "localDirectory", SourcePath=str(network.rare))
    for _ in range(3):
        spec = counting(logs)
        ended = network.a.ended(network.a.submit(spec))
        assert [one["peer"] for one in ended["executions"]] == [network.c.peer]


def test_a_job_goes_where_its_large_input_is(network: Network) -> None:
    words = network.rare / "words"
    # Seconds of a line of 100 Mbit/s.
    words.write_bytes(b"here there here\n" * 3_000_000)
    data = source("/data", "ipfs", CID=network.b.add(words))
    # Pinned content is in a node's first advert.
    network.b.end()
    network.b.start()
    know_each_other(network.a, network.b, network.c)
    for _ in range(4):
        spec = counting(data)
        ended = network.a.ended(network.a.submit(spec))
        assert [one["peer"] for one in ended["executions"]] == [network.b.peer]


def test_of_a_path_below_content_a_peer_fetches_the_folders_on_the_way_and_what_it_names(
    network: Network, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "code").mkdir(parents=True)
    (tree / "data" / "many").mkdir(parents=True)
    (tree / "code" / "count.wasm").write_bytes((JOBS / "wordcount.wasm").read_bytes())
    (tree / "data" / "words").write_bytes(b"one two two\n")
    (tree / "data" / "large").write_bytes(random.Random(1).randbytes(1_000_000))
    # A directory in shards: only those on the way are needed.
    for index in range(1200):
        (tree / "data" / "many" / f"{index:0220}").write_bytes(b"%d" % index)
    root = network.a.add(tree)
    before = {node.name: node.stored() for node in (network.b, network.c)}
    code = source("/program.wasm", "ipfs", CID=f"{root}/code/count.wasm")
    data = source("/data", "ipfs", CID=f"{root}/data/words")
    spec = job(code, data, publisher={"Type": "ipfs"}, entry="/program.wasm")
    done = network.submit(tmp_path, spec)
    assert done.returncode == 0, done.stderr
    assert counted(network.get(done.stdout.strip(), tmp_path / "got")) == {"two": 2, "one": 1}
    got = network.c.cli("ipfs", "get", f"{root}/data/many/{7:0220}", "-o", str(tmp_path / "seven"))
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "seven").read_bytes() == b"7"
    blocks: set[str] = set()

    def note(block: bytes, codec: cid.Codec) -> str:
        blocks.add(cid.sha2_256(block).hex())
        return cid.make(block, codec)

    unixfs.add_path(tree, note)
    came = {node.name: (node.stored() - before[node.name]) & blocks for node in (network.b, network.c)}
    # The root, two folders in it, the program, the words; and the root, `data`, `many`, two shards, the file.
    assert len(blocks) > 1000 and 1 < len(came["b"] | came["c"]) <= 10, came

    missing = source("/data", "ipfs", CID=f"{root}/data/wrods")
    done = network.submit(tmp_path, job(code, missing, publisher={"Type": "ipfs"}, entry="/program.wasm"))
    assert done.returncode == 5
    assert f"{root}/data has no entry 'wrods'; it has 'large', 'many', 'words'" in done.stderr
    assert len(network.a.client.jobs()[0]["executions"]) == 1


def test_a_program_and_its_data_come_from_urls_and_local_files(network: Network, tmp_path: Path) -> None:
    inputs = [
        source("/module", "urlDownload", URL=network.site.url("/wordcount.wasm")),
        source("/data", "localDirectory", SourcePath=str(network.logs)),
    ]
    entry = "/module/wordcount.wasm"
    done = network.submit(tmp_path, job(*inputs, publisher={"Type": "ipfs"}, entry=entry))
    assert done.returncode == 0, done.stderr
    assert counted(network.get(done.stdout.strip(), tmp_path / "got")) == {"two": 2, "one": 1}


def test_a_file_from_a_url_is_where_its_target_says_and_hides_nothing_of_the_image(
    network: Network, tmp_path: Path
) -> None:
    require_docker()
    url = network.site.url("/the-book.txt")
    inputs = [source(at, "urlDownload", URL=url) for at in ("/etc", "/data/book.txt", "/data")]
    script = "cat /data/book.txt /etc/the-book.txt /data/the-book.txt; ls /etc/passwd"
    done = network.submit(tmp_path, docker_job(BUSYBOX, script, InputSources=inputs))
    assert done.returncode == 0, done.stderr
    got = network.get(done.stdout.strip(), tmp_path / "got")["stdout"]
    assert got == b"to be or not" * 3 + b"/etc/passwd\n"


@pytest.mark.parametrize(("name", "status"), [("PATH", 0), ("HOME", 3)])
def test_a_variable_of_the_peer_reaches_the_program_where_its_operator_allows_it_and_nothing_else(
    network: Network, tmp_path: Path, name: str, status: int
) -> None:
    require_docker()
    wanted = docker_job(BUSYBOX, 'echo "$MINE"')
    wanted["Tasks"][0]["Env"] = {"MINE": f"env:{name}"}
    done = network.submit(tmp_path, wanted)
    assert done.returncode == status, done.stderr
    if status:
        assert "variable HOME: not among those that this node forwards to jobs" in done.stderr
        return
    got = network.get(done.stdout.strip(), tmp_path / "got")["stdout"].decode().strip()
    assert got == environment(network.c.data_dir)["PATH"]
    (job, *_) = network.a.client.jobs()
    told = json.dumps(network.a.client.job(job["id"])) + network.a.cli("job", "history", job["id"]).stdout
    assert "env:PATH" in told and got not in told


def test_a_result_that_cannot_be_published_is_a_failure_that_says_so_and_is_not_lost(
    network: Network, tmp_path: Path
) -> None:
    publisher = {"Type": "s3", "Params": {"Bucket": "gone", "Key": "x"}}
    data = source("/data", "s3", Bucket="texts", Key="in/*")
    done = network.submit(tmp_path, wordcount(data, publisher=publisher))
    assert done.returncode != 0
    ended = network.a.job(network.a.client.jobs()[0]["id"])
    execution = ended["executions"][0]
    assert execution["exit_code"] == 0
    assert "the result was not published: s3://gone: 404 Not Found: NoSuchBucket" in execution["reason"]
    assert str(execution["result_cid"]) in execution["reason"]
    assert counted(network.get(str(execution["result_cid"]), tmp_path / "got"))["the"] == 35


@pytest.mark.parametrize(
    ("kind", "params", "said"),
    [
        ("localDirectory", {"SourcePath": "{secret}"}, "is not among the paths that this node allows"),
        ("localDirectory", {"SourcePath": "/etc"}, "/etc is not among the paths that this node allows"),
        ("localDirectory", {"SourcePath": "{logs}", "ReadWrite": True}, "for reading only"),
        ("urlDownload", {"URL": "{api}/openapi.json"}, "not a public address"),
        ("urlDownload", {"URL": "http://169.254.169.254/latest/meta-data/"}, "not a public address"),
        ("urlDownload", {"URL": "{site}/none"}, "404 Not Found"),
        ("s3", {"Bucket": "texts", "Key": "none"}, "NoSuchKey"),
        ("s3", {"Bucket": "others", "Key": "x"}, "asked without credentials"),
    ],
)
def test_what_a_job_may_not_have_ends_it_with_the_reason(
    network: Network, tmp_path: Path, kind: str, params: dict[str, Any], said: str
) -> None:
    known = {"logs": network.logs, "secret": network.state / "link", "site": network.site.url("")}
    known["api"] = network.b.client.url
    filled = {
        key: value.format(**known) if isinstance(value, str) else value for key, value in params.items()
    }
    done = network.submit(tmp_path, wordcount(source("/data", kind, **filled), publisher={"Type": "none"}))
    # A lack on each disk is known before a bid; the word of others is known when it is fetched.
    assert done.returncode == (3 if kind == "localDirectory" else 5), done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(
    ("publisher", "inputs", "said"),
    [
        ({"Type": "s3", "Params": {"Bucket": "texts", "Key": "x"}}, [], "no s3 publisher"),
        ({"Type": "none"}, [source("/x", "local", SourcePath="/data")], "no input source of type local"),
    ],
)
def test_what_no_node_offers_is_said_before_anything_runs(
    bare: Node, tmp_path: Path, publisher: dict[str, Any], inputs: list[dict[str, Any]], said: str
) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(text_of(wordcount(*inputs, publisher=publisher)))
    done = bare.cli("submit", str(path))
    assert done.returncode == 3, done.stderr
    assert said in done.stderr


def test_a_container_gets_local_directories_as_both_sides_say(network: Network, tmp_path: Path) -> None:
    require_docker()
    script = "cat /app/logs/today.txt > /app/state/seen; touch /app/logs/mark; echo $?"
    wanted = docker_job(
        BUSYBOX,
        script,
        InputSources=[
            source("/app/logs", "localDirectory", SourcePath=str(network.logs)),
            source("/app/state", "localDirectory", SourcePath=str(network.state), ReadWrite=True),
        ],
    )
    done = network.submit(tmp_path, wanted)
    assert done.returncode == 0, done.stderr
    assert network.get(done.stdout.strip(), tmp_path / "got")["stdout"] == b"1\n"
    assert (network.state / "seen").read_bytes() == b"one two two\n"
    assert not (network.logs / "mark").exists()
