"""Marks of what a job uses and a peer has: the same for the same thing, and few enough for an advert."""

from __future__ import annotations

import pytest

from p2pnode.core.placement import locality
from p2pnode.core.wire.fields import CACHE_KEYS_MAX
from p2pnode.core.wire.spec import (
    DockerTask,
    InputSource,
    Source,
    Task,
    WasmTask,
)

CID = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"


def task(*sources: Source, image: str = "") -> Task:
    engine = DockerTask(image=image) if image else WasmTask(entry_module="/m")
    return Task(engine=engine, inputs=tuple(InputSource(source=one, target="/in") for one in sources))


@pytest.mark.parametrize("image", ["busybox:latest", "docker.io/busybox", "library/busybox"])
def test_an_image_has_one_mark_however_its_name_is_written(image: str) -> None:
    assert locality.cache_keys_of(task(image=image)) == (locality.image_cache_key("busybox"),)


def test_an_input_is_marked_by_what_it_is_and_not_by_where_it_is_put() -> None:
    content = Source(type="ipfs", params={"CID": CID})
    bucket = Source(type="s3", params={"Bucket": "texts", "Key": "a*"})
    other = Source(type="s3", params={"Bucket": "texts", "Key": "b*"})
    marks = {locality.source_cache_key(one) for one in (content, bucket, other)}
    assert len(marks) == 3 and locality.cid_cache_key(CID) in marks
    assert set(locality.cache_keys_of(task(content, bucket, content, image="x"))) == {
        locality.cid_cache_key(CID),
        locality.source_cache_key(bucket),
        locality.image_cache_key("x"),
    }


def test_a_path_below_content_has_the_mark_of_the_root_that_a_peer_has_whole() -> None:
    below = Source(type="ipfs", params={"CID": f"{CID}/bin/run.sh"})
    assert locality.source_cache_key(below) == locality.cid_cache_key(CID)


@pytest.mark.parametrize("type", ["inline", "local"])
def test_what_is_never_fetched_has_no_mark(type: str) -> None:
    assert locality.cache_keys_of(task(Source(type=type, params={"SourcePath": "/data"}))) == ()


def test_each_kind_is_told_in_equal_parts_and_what_comes_first_before_the_rest() -> None:
    many, few = dict.fromkeys(range(1000, 2000), 5), {3: 7, 1: 0}
    told = locality.advertised(many, few)
    assert len(told) == CACHE_KEYS_MAX and told == tuple(sorted(told))
    assert {1, 3, *range(1000, 1000 + CACHE_KEYS_MAX - 2)} == {cache_key for cache_key, _ in told}
    assert locality.advertised({}, {2: 4, 1: 0}) == ((1, 0), (2, 4))
