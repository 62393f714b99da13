"""Which objects a replica gets: as Bacalhau shares them out."""

from __future__ import annotations

from typing import Any

import pytest

from p2pnode.core.wire.states import Fault
from p2pnode.data.failures import DataFailed
from p2pnode.data.s3_selection import S3Object, _fnv1a, relative_path, select

KEYS = [f"logs/2024-0{month}-{day:02}/host{host}.log" for month in (1, 2) for day in (1, 2) for host in "ab"]


def objects(*keys: str) -> list[S3Object]:
    return [S3Object(key, '"etag"', 1) for key in keys]


def shares(keys: list[str], count: int, **params: Any) -> list[list[str]]:
    return [[one.key for one in select(objects(*keys), params, replica, count)] for replica in range(count)]


@pytest.mark.parametrize(("text", "value"), [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)])
def test_the_hash_is_fnv1a_with_its_published_values(text: str, value: int) -> None:
    assert _fnv1a(text.encode()) == value


def test_without_a_partition_each_replica_gets_all() -> None:
    assert shares(KEYS, 2, Key="logs/*") == [KEYS, KEYS]
    assert shares(KEYS, 2, Key="logs/*", Partition={"Type": "none"}) == [KEYS, KEYS]


@pytest.mark.parametrize(
    "partition",
    [
        {"Type": "object"},
        {"Type": "regex", "Pattern": "host(.)"},
        {"Type": "regex", "Pattern": r"(\d+)-(\d+)-(\d+)"},
        {"Type": "substring", "StartIndex": 8, "EndIndex": 10},
        {"Type": "date", "DateFormat": "2006-01-02"},
    ],
)
def test_each_object_goes_to_one_replica(partition: dict[str, Any]) -> None:
    for count in (1, 2, 3, 5):
        found = shares(KEYS, count, Key="logs/*", Partition=partition)
        assert sorted(key for share in found for key in share) == KEYS


@pytest.mark.parametrize(
    ("partition", "decides"),
    [
        ({"Type": "object"}, lambda key: key),
        ({"Type": "regex", "Pattern": "host(.)"}, lambda key: key[-5]),
        ({"Type": "regex", "Pattern": "host."}, lambda key: key[-9:-4]),
        ({"Type": "regex", "Pattern": r"(\d+)-(\d+)-(x?)"}, lambda key: key[5:12].replace("-", "\x1f")),
        ({"Type": "substring", "StartIndex": 8, "EndIndex": 10}, lambda key: key[13:15]),
        ({"Type": "date", "DateFormat": "2006-01-02"}, lambda key: key[5:15]),
        ({"Type": "date", "DateFormat": "2006-01"}, lambda key: key[5:12]),
    ],
)
def test_what_decides_is_hashed(partition: dict[str, Any], decides: Any) -> None:
    found = shares(KEYS, 3, Key="logs/*", Partition=partition)
    for replica, share in enumerate(found):
        assert all(_fnv1a(decides(key).encode()) % 3 == replica for key in share)


@pytest.mark.parametrize(
    "partition",
    [
        {"Type": "regex", "Pattern": "no such thing"},
        {"Type": "regex", "Pattern": "x*"},
        {"Type": "substring", "StartIndex": 0, "EndIndex": 100},
        {"Type": "date", "DateFormat": "02/01/2006"},
    ],
)
def test_what_has_nothing_that_decides_goes_to_the_first_replica(partition: dict[str, Any]) -> None:
    assert shares(KEYS, 3, Key="logs/*", Partition=partition) == [KEYS, [], []]


def test_a_replica_beyond_the_count_gets_all() -> None:
    partition = {"Key": "logs/*", "Partition": {"Type": "object"}}
    assert select(objects(*KEYS), partition, 7, 1) == objects(*KEYS)


def test_the_filter_looks_behind_the_prefix_and_folders_are_no_objects() -> None:
    keys = ["data.csv/", "data.csv/a.txt", "data.csv/b.csv"]
    assert shares(keys, 1, Key="data.csv/", Filter=r"\.csv$") == [["data.csv/b.csv"]]
    assert shares(keys, 1, Key="data.csv/", Filter="^a") == [["data.csv/a.txt"]]


@pytest.mark.parametrize("params", [{"Filter": "(?=x)"}, {"Partition": {"Type": "regex", "Pattern": "(a"}}])
def test_a_pattern_that_is_none_is_the_jobs_fault(params: dict[str, Any]) -> None:
    with pytest.raises(DataFailed, match="RE2") as failed:
        select(objects("a"), {"Key": "*", **params}, 0, 2)
    assert failed.value.fault is Fault.JOB


@pytest.mark.parametrize(
    ("key", "prefix", "path"),
    [
        ("logs/2024/a.txt", "logs/", "2024/a.txt"),
        ("logs/2024/a.txt", "logs/20", "2024/a.txt"),
        ("logs/2024/a.txt", "logs/2024/a", "a.txt"),
        ("a.txt", "", "a.txt"),
    ],
)
def test_an_object_lies_where_its_key_says_behind_the_last_folder(key: str, prefix: str, path: str) -> None:
    assert relative_path(key, prefix) == path


@pytest.mark.parametrize(
    "key", ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/\0", "a/" + "x" * 256, ""]
)
def test_a_key_that_leads_out_or_nowhere_is_refused(key: str) -> None:
    with pytest.raises(DataFailed) as failed:
        relative_path(key, "")
    assert failed.value.fault is Fault.JOB
