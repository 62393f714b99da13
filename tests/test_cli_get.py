"""`get` and `ipfs`: folders, merged trees, CAR files, receipts, limits, and what was there before."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from p2pnode.cli.main import main
from p2pnode.core.wire import codec
from p2pnode.core.wire.signing import RECEIPT_DOMAIN
from p2pnode.core.wire.states import Fault
from p2pnode.identity import Identity
from p2pnode.ipfs import car, cid, unixfs
from p2pnode.ipfs.partial import partial_folder
from tests.fake_node import PEER, Served
from tests.fake_receipts import SIGNER, a_receipt, signed

from .test_cli import Output, job_file


def a_job(served: Served, capfd: Output, count: int = 1) -> str:
    """The id of a job that has ended."""
    main(["submit", job_file("works", count=count)])
    capfd.readouterr()
    return next(reversed(served.node.records))


def test_get_writes_the_files_of_a_result(served: Served, capfd: Output) -> None:
    main(["submit", job_file("works")])
    job = next(iter(served.node.records))
    assert main(["get", job[:10], "-o", "out"]) == 0
    assert Path("out/outputs/answer.txt").read_bytes() == b"forty-two"
    assert Path("out/stdout").read_bytes() == b"42\n"
    assert served.node.hints == [PEER]


def test_get_makes_a_folder_for_each_of_several_executions(served: Served, capfd: Output) -> None:
    main(["submit", job_file("works", count=2)])
    job = next(iter(served.node.records))
    assert main(["get", job, "-o", "out"]) == 0
    assert sorted(path.name[:2] for path in Path("out").iterdir()) == ["e-", "e-"]


def test_get_overwrites_nothing(served: Served, capfd: Output) -> None:
    Path("out").mkdir()
    Path("out/precious").write_text("x")
    Path("file.car").write_text("x")
    assert main(["get", served.node.result, "-o", "out"]) == 5
    assert main(["get", served.node.result, "--car", "file.car"]) == 5
    assert [path.name for path in Path("out").iterdir()] == ["precious"]
    assert Path("file.car").read_text() == "x"


def test_a_damaged_block_is_noticed_and_nothing_is_left(served: Served, capfd: Output) -> None:
    good = served.node.export_car

    async def damaged(cid: str, hints: list[str]):  # type: ignore[no-untyped-def]
        async for chunk in good(cid, hints):
            yield chunk.replace(b"forty-two", b"forty-one")

    served.node.export_car = damaged  # type: ignore[method-assign]
    assert main(["ipfs", "get", served.node.result, "-o", "out"]) == 5
    assert "not the block" in capfd.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["data"]


def test_what_is_no_cid_is_wrong_usage(served: Served, capfd: Output) -> None:
    assert main(["get", "nonsense"]) == 2


def test_a_directory_added_can_be_fetched_again(served: Served, capfd: Output) -> None:
    Path("tree/deep").mkdir(parents=True)
    Path("tree/deep/file").write_bytes(os.urandom(600_000))
    assert main(["ipfs", "add", "tree"]) == 0
    added = capfd.readouterr().out.strip()
    assert main(["ipfs", "add", "--only-hash", "tree"]) == 0
    assert capfd.readouterr().out.strip() == added
    assert main(["ipfs", "get", added, "-o", "back"]) == 0
    assert Path("back/deep/file").read_bytes() == Path("tree/deep/file").read_bytes()


def test_only_hash_needs_no_node(capfd: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PNODE_DATA_DIR", str(tmp_path / "none"))
    (tmp_path / "empty").touch()
    assert main(["ipfs", "add", "--only-hash", str(tmp_path / "empty")]) == 0
    assert capfd.readouterr().out == "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku\n"


def test_adding_what_is_not_there_is_wrong_usage(served: Served, capfd: Output) -> None:
    assert main(["ipfs", "add", "absent"]) == 2
    assert "absent: No such file" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("path", "options", "place", "content"),
    [
        ("outputs/answer.txt", [], "answer.txt", b"forty-two"),
        ("outputs/answer.txt", ["-o", "out"], "out/answer.txt", b"forty-two"),
        ("outputs", ["-o", "out/deep"], "out/deep/outputs/answer.txt", b"forty-two"),
        ("outputs/", [], "outputs/answer.txt", b"forty-two"),
        ("stdout", [], "stdout", b"42\n"),
    ],
)
def test_a_path_of_a_job_or_cid_fetches_what_it_names_alone(
    path: str, options: list[str], place: str, content: bytes, served: Served, capfd: Output
) -> None:
    job = a_job(served, capfd)
    for what in (job[:10], served.node.result, f"ipfs://{served.node.result}"):
        served.node.fetched.clear()
        assert main(["get", f"{what}/{path}", *options]) == 0
        assert Path(place).read_bytes() == content
        assert capfd.readouterr().out.strip() in (place, str(Path(place).parent))
        # The file that is there already is left; nothing else was fetched, and nothing else written.
        assert served.node.result not in served.node.fetched
        written = [one for one in Path().rglob("*") if one.is_file() and "data" not in one.parts]
        assert sorted(map(str, written)) == sorted([place, "works.yaml"])


def test_a_path_that_is_not_there_is_told_with_what_is_there_instead(served: Served, capfd: Output) -> None:
    job = a_job(served, capfd)
    for what in (job, served.node.result, f"/ipfs/{served.node.result}"):
        assert main(["get", f"{what}/outputs/modle.bin", "-o", "out"]) == 5
        said = capfd.readouterr().err
        assert f"{served.node.result}/outputs has no entry 'modle.bin'; it has 'answer.txt'" in said
    assert main(["get", f"{job}/../../etc/passwd"]) == 2
    assert "has the part .." in capfd.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["data", "works.yaml"]


def test_names_that_strangers_gave_are_shown_visibly_and_a_few_of_them(served: Served, capfd: Output) -> None:
    tree: unixfs.Tree = {"\x1b[31m": b"", "\u202etxt": b"", **{f"n{index:03}": b"" for index in range(100)}}
    root = unixfs.add_directory(tree, served.node.blocks.put)
    assert main(["ipfs", "get", f"{root}/none"]) == 5
    said = capfd.readouterr().err
    assert "it has '\\x1b[31m', 'n000'" in said and said.rstrip().endswith("'n008' and 92 more")
    assert "\x1b[31m" not in said and len(said) < 400


@pytest.mark.parametrize(
    ("output", "place"),
    [(None, "answer.txt"), ("there.txt", "there.txt"), ("folder/", "folder/answer.txt")],
)
@pytest.mark.parametrize("prefix", ["", "ipfs://", "/ipfs/"])
def test_ipfs_get_puts_what_a_path_names_where_it_is_told(
    prefix: str, output: str | None, place: str, served: Served, capfd: Output
) -> None:
    options = [] if output is None else ["-o", output]
    assert main(["ipfs", "get", f"{prefix}{served.node.result}/outputs/answer.txt", *options]) == 0
    assert Path(place).read_bytes() == b"forty-two"
    assert served.node.fetched == [cid.make(b"forty-two", "raw")]


def test_a_path_of_several_results_has_a_folder_for_each_that_has_it(served: Served, capfd: Output) -> None:
    put = served.node.blocks.put
    served.node.results[1] = unixfs.add_directory({"outputs": {"answer.txt": b"other", "more": b""}}, put)
    served.node.results[2] = unixfs.add_directory({"stdout": b""}, put)
    job = a_job(served, capfd, count=3)
    assert main(["get", f"{job}/outputs/answer.txt", "-o", "out"]) == 0
    assert "has no entry 'outputs'; it has 'stdout'" in capfd.readouterr().err
    found = [path for path in Path("out").rglob("*") if path.is_file()]
    assert sorted(path.read_bytes() for path in found) == [b"forty-two", b"other"]
    assert all(path.parts[1].startswith("e-") and path.name == "answer.txt" for path in found)
    assert main(["get", f"{job}/outputs/answer.txt", "-o", "out"]) == 0
    assert "is there already, and verified" in capfd.readouterr().err
    assert main(["get", f"{job}/outputs", "--merge", "-o", "merged"]) == 0
    assert "outputs/answer.txt differs between executions" in capfd.readouterr().err
    assert {path.name[:10] for path in Path("merged/outputs").iterdir()} == {"answer.txt", "more"}
    assert main(["get", f"{job}/outputs", "--car", "some.car"]) == 0
    assert b"forty-two" in Path("some.car").read_bytes() and b"42\n" not in Path("some.car").read_bytes()
    assert main(["get", f"{job}/nowhere"]) == 5
    assert capfd.readouterr().err.count("has no entry 'nowhere'") == 3


def test_what_was_fetched_already_is_verified_and_left_alone(served: Served, capfd: Output) -> None:
    job = a_job(served, capfd, count=3)
    assert main(["get", job, "-o", "out"]) == 0
    first, second, third = sorted(Path("out").iterdir())
    # As if it had been interrupted after one of them, and another was changed since.
    before = first.stat().st_mtime_ns
    second.rename("elsewhere")
    assert main(["get", job, "-o", "out"]) == 0
    assert "is there already, and verified" in capfd.readouterr().err
    assert first.stat().st_mtime_ns == before
    assert (second / "stdout").read_bytes() == b"42\n"
    (third / "stdout").write_bytes(b"43\n")
    assert main(["get", job, "-o", "out"]) == 5
    assert "not an empty directory" in capfd.readouterr().err
    assert (third / "stdout").read_bytes() == b"43\n"


def test_what_a_killed_get_left_is_cleared_and_two_at_once_do_not_mix(served: Served, capfd: Output) -> None:
    Path(".out.0123abcd.partial/root").mkdir(parents=True)
    Path(".out.0123abcd.partial/root/stdout").write_text("half")
    with partial_folder(Path("out").absolute()):
        assert main(["get", served.node.result, "-o", "out"]) == 5
        assert "another command is writing" in capfd.readouterr().err
    assert main(["get", served.node.result, "-o", "out"]) == 0
    assert Path("out/stdout").read_bytes() == b"42\n"
    assert not list(Path().glob(".out*"))


def test_merged_results_are_one_tree_and_clashes_are_named(served: Served, capfd: Output) -> None:
    blocks = served.node.blocks
    trees: list[unixfs.Tree] = [
        {"stdout": b"same", "out": {"a": b"1", "both": b"first", "dir": {}}},
        {"stdout": b"same", "out": {"b": b"2", "both": b"second", "dir": b"no directory"}},
    ]
    served.node.results = {at: unixfs.add_directory(tree, blocks.put) for at, tree in enumerate(trees)}
    job = a_job(served, capfd, count=2)
    assert main(["get", job, "--merge", "-o", "out"]) == 0
    out, err = capfd.readouterr()
    found = {
        str(path.relative_to("out")): path.read_bytes() for path in Path("out").rglob("*") if path.is_file()
    }
    second = next(name.removeprefix("out/both.") for name in found if name.startswith("out/both."))
    assert found == {
        "stdout": b"same",
        "out/a": b"1",
        "out/b": b"2",
        "out/both": b"first",
        f"out/both.{second}": b"second",
        f"out/dir.{second}": b"no directory",
    }
    assert out == "out\n"
    assert f"out/both differs between executions: that of {second} is out/both.{second}" in err
    assert "stdout" not in err
    assert main(["get", job, "--merge", "-o", "out"]) == 5


def test_a_car_holds_all_results_verified(served: Served, capfd: Output) -> None:
    served.node.results = {1: unixfs.add_directory({"stdout": b"other"}, served.node.blocks.put)}
    job = a_job(served, capfd, count=2)
    assert main(["get", job, "--car", "all.car"]) == 0
    found = list(car.read_car_untrusted([Path("all.car").read_bytes()]))
    assert {served.node.result, served.node.results[1]} <= {address for address, _ in found}
    assert main(["ipfs", "get", served.node.result, "--car", "one.car"]) == 0
    one = Path("one.car").read_bytes()
    assert one == b"".join(car.write_car(served.node.result, served.node.blocks.get))
    served.node.blocks.remove(cid.make(b"forty-two", "raw"))
    assert main(["ipfs", "get", served.node.result, "--car", "two.car"]) != 0
    assert not Path("two.car").exists()


@pytest.mark.parametrize("flags", [["--max-size", "10B"], ["--max-files", "3"]])
def test_what_is_larger_than_allowed_is_refused_with_the_flag_that_allows_it(
    served: Served, capfd: Output, flags: list[str]
) -> None:
    assert main(["get", served.node.result, "-o", "out", *flags]) == 5
    err = capfd.readouterr().err
    assert "allowed" in err and "--max-size and --max-files allow more" in err
    assert not Path("out").exists()


OTHER_SIGNER = Identity(bytes([1] * 32))


def test_whose_word_a_result_is_is_said_in_one_line(served: Served, capfd: Output) -> None:
    job = a_job(served, capfd, count=2)
    assert main(["get", job, "-o", "out"]) == 0
    told = f"results of 2 executions by the signed word of alpha\\x1b[31m ({PEER[-8:]})"
    assert told in capfd.readouterr().err.splitlines()
    assert main(["get", job, "-o", "one", "-e", served.node.records[job]["executions"][0]["id"]]) == 0
    assert "result by the signed word of alpha" in capfd.readouterr().err


def test_of_many_peers_that_vouch_for_results_some_are_named(served: Served, capfd: Output) -> None:
    job = a_job(served, capfd, count=5)
    for number, one in enumerate(served.node.records[job]["executions"]):
        signer = Identity(bytes([number + 1] * 32))
        one["peer"], one["peer_name"] = signer.peer_id, f"node{number}"
        told = a_receipt(job, one["id"], served.node.result, replica=number, peer=signer.peer_id)
        served.node.signed[one["id"]] = signed(told, signer)
    assert main(["get", job, "-o", "out"]) == 0
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "signed word" in line]
    assert [name in line for name in ("node0 (", "node2 (", "node3 (", " and 2 others")] == [
        True,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("changes", "signer", "domain", "reason"),
    [
        ({}, None, RECEIPT_DOMAIN, "has no receipt of its peer"),
        ({}, OTHER_SIGNER, RECEIPT_DOMAIN, "not signed by"),
        ({}, SIGNER, b"another domain", "not signed by"),
        ({"job": "j-" + "1" * 32}, SIGNER, RECEIPT_DOMAIN, "of another execution"),
        ({"execution": "e-" + "1" * 32}, SIGNER, RECEIPT_DOMAIN, "of another execution"),
        ({"replica": 7}, SIGNER, RECEIPT_DOMAIN, "of another execution"),
        ({"peer": OTHER_SIGNER.peer_id}, SIGNER, RECEIPT_DOMAIN, "of another execution or peer"),
        ({"result_cid": "bafyother"}, SIGNER, RECEIPT_DOMAIN, "of another result"),
        ({"result_cid": None}, SIGNER, RECEIPT_DOMAIN, "of another result"),
        ({"exit_code": 3, "fault": Fault.JOB}, SIGNER, RECEIPT_DOMAIN, "of another result or exit code"),
        ({"exit_code": 3, "fault": None}, SIGNER, RECEIPT_DOMAIN, "did not exit 0"),
        ({"spec_hash": "1" * 64}, SIGNER, RECEIPT_DOMAIN, "of another file than version 1"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str | dict) else "",
)
@pytest.mark.parametrize(
    "flags",
    [["-o", "out"], ["--car", "out"], ["-o", "out", "--merge"], ["-o", "out", "--receipt", "out.json"]],
    ids=["files", "CAR", "merged", "receipts"],
)
def test_a_result_that_its_peer_does_not_vouch_for_is_refused_and_nothing_is_written(
    served: Served,
    capfd: Output,
    changes: dict[str, Any],
    signer: Identity | None,
    domain: bytes,
    reason: str,
    flags: list[str],
) -> None:
    job = a_job(served, capfd, count=2)
    _, last = served.node.records[job]["executions"]
    if signer is None:
        del served.node.signed[last["id"]]
    else:
        told = a_receipt(job, last["id"], served.node.result, replica=last["replica"])
        told = codec.replace(told, **changes)
        served.node.signed[last["id"]] = signed(told, signer, domain)
    before = sorted(path.name for path in Path().iterdir())
    assert main(["get", job, *flags]) == 5
    said = capfd.readouterr().err
    assert reason in said and "--no-verify fetches it all the same" in said
    assert sorted(path.name for path in Path().iterdir()) == before
    if "--receipt" not in flags:
        assert main(["get", job, *flags, "--no-verify"]) == 0
        assert "receipts are not verified" in capfd.readouterr().err
        assert Path("out").exists()


def test_receipts_are_verified_and_written(served: Served, capfd: Output) -> None:
    job = a_job(served, capfd)
    assert main(["get", job, "-o", "out", "--receipt", "receipts.json"]) == 0
    (found,) = json.loads(Path("receipts.json").read_text())
    assert found["receipt"]["result_cid"] == served.node.result and found["verified"]
    assert found["cid"] == served.node.records[job]["executions"][0]["receipt_cid"]
    assert capfd.readouterr().out == "out\n"
    assert main(["get", job, "-o", "again", "--receipt", "-"]) == 0
    assert '"exit_code": 0' in capfd.readouterr().out
    assert main(["get", job, "--receipt", "-", "--no-verify"]) == 2


def test_a_directory_is_listed(served: Served, capfd: Output) -> None:
    assert main(["ipfs", "ls", f"/ipfs/{served.node.result}/outputs"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "CID"]
    assert lines[1].split() == ["answer.txt", "9", "B", cid.make(b"forty-two", "raw")]
    assert main(["ipfs", "ls", served.node.result, "--json"]) == 0
    names = [entry["name"] for entry in json.loads(capfd.readouterr().out)]
    assert sorted(names) == ["exitCode", "outputs", "stderr", "stdout"]
    assert main(["ipfs", "ls", "nonsense"]) == 2


def test_pins_are_added_listed_and_removed(served: Served, capfd: Output) -> None:
    assert main(["ipfs", "pin", "add", served.node.result]) == 0
    assert served.node.fetched == served.node.pinned == [served.node.result]
    assert main(["ipfs", "pin", "ls"]) == 0
    out = capfd.readouterr().out
    assert served.node.result in out and "result" in out and "\x1b" not in out
    assert main(["ipfs", "pin", "ls", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)[0]["cid"] == served.node.result
    assert main(["ipfs", "pin", "rm", served.node.result]) == 0
    assert main(["ipfs", "pin", "rm", served.node.result]) == 5
    assert "is not pinned" in capfd.readouterr().err
