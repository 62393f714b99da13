"""The lanes of the tests, and what those of the command line share: a fake node in a directory of its own."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.fake_node import Served
from tests.lanes import STARTS_A_PROCESS, is_quick

_quick_tests_now: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only what needs no process, engine or root")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        left_out = [item for item in items if not is_quick(item.nodeid)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if is_quick(item.nodeid)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    _quick_tests_now[:] = [item.nodeid] if is_quick(item.nodeid) else []
    try:
        return (yield)
    finally:
        _quick_tests_now.clear()


def _no_process_in_the_quick_lane(event: str, arguments: object) -> None:
    if event in STARTS_A_PROCESS and _quick_tests_now:
        raise RuntimeError(f"{_quick_tests_now[0]} starts a process: name it in NOT_QUICK of tests/lanes.py")


sys.addaudithook(_no_process_in_the_quick_lane)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    monkeypatch.delenv("P2PNODE_API", raising=False)
    monkeypatch.setenv("P2PNODE_DATA_DIR", str(data_dir))
    monkeypatch.chdir(tmp_path)
    with Served(data_dir).running() as running:
        yield running
