"""Inputs at their Target, for every kind of source."""

from __future__ import annotations

from typing import Any

import pytest

from p2pnode.core.jobfile import parse
from p2pnode.core.placement import targets
from p2pnode.core.wire.spec import InputSource, Source

URL = "https://example.com/a/book%201.txt?x=y.csv"


@pytest.mark.parametrize(
    ("kind", "params", "target", "single", "itself"),
    [
        ("urldownload", {"URL": URL}, "/inputs", True, False),
        ("urldownload", {"URL": URL}, "/data/book 1.txt", True, True),
        ("urldownload", {"URL": URL}, "/data/all.TXT", True, True),
        ("urldownload", {"URL": URL}, "/data/all.csv", True, False),
        ("urldownload", {"URL": URL}, "/etc/conf.d", True, False),
        ("urldownload", {"URL": "https://example.com/v2.0"}, "/opt/v1.0", True, False),
        ("urldownload", {"URL": "https://example.com/LICENSE"}, "/LICENSE", True, True),
        ("urldownload", {"URL": "https://example.com"}, "/inputs", True, False),
        ("urldownload", {"URL": "http://[/x.txt"}, "/x.txt", True, False),
        ("s3", {"Bucket": "b", "Key": "logs/1.log"}, "/logs", True, False),
        ("s3", {"Bucket": "b", "Key": "logs/1.log"}, "/logs/today.log", True, True),
        ("s3", {"Bucket": "b", "Key": "logs/*"}, "/logs", False, False),
        ("s3", {"Bucket": "b", "Key": "logs/"}, "/logs", False, False),
        ("s3", {"Bucket": "b"}, "/logs", False, False),
        ("local", {"SourcePath": "/a.txt"}, "/a.txt", False, None),
    ],
)
def test_a_single_file_is_in_the_folder_target_unless_that_names_a_file(
    kind: str, params: dict[str, Any], target: str, single: bool, itself: bool | None
) -> None:
    one = InputSource(source=Source(type=kind, params=params), target=target)
    assert targets.is_single(one.source) is single
    if itself is not None and single:
        assert targets.is_itself(one) is itself


@pytest.mark.parametrize(
    ("url", "target", "warned"),
    [
        ("https://example.com/download?id=5", "/data/all.csv", True),
        ("https://example.com/book.txt", "/data/all.csv", True),
        ("https://example.com/book.txt", "/data/book.txt", False),
        ("https://example.com/download?id=5", "/data", False),
        ("https://example.com/download?id=5", "/etc/conf.d", False),
    ],
)
def test_validate_warns_of_a_folder_where_a_file_seems_to_be_meant(
    url: str, target: str, warned: bool
) -> None:
    source = f"{{Target: {target}, Source: {{Type: urlDownload, Params: {{URL: '{url}'}}}}}}"
    text = (
        f"Type: batch\nTasks:\n- Engine: {{Type: docker, Params: {{Image: x}}}}\n  InputSources: [{source}]\n"
    )
    warnings = parse(text, "f").warnings
    assert [one.path for one in warnings] == (["Tasks[0].InputSources[0].Target"] if warned else [])
    assert all("becomes a folder" in one.message for one in warnings)
