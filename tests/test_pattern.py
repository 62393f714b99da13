"""Patterns of strangers."""

from __future__ import annotations

import time

import pytest

from p2pnode.core.values import pattern


def test_a_match_is_its_text_and_its_groups() -> None:
    search = pattern.parse(r"(\d+)-(x)?")
    assert search("a12-") == ("12-", "12", None)
    assert search("a") is None


@pytest.mark.parametrize("text", ["(a+)+$", "(a|aa)+$", "(.*a){20}$"])
def test_no_pattern_runs_away(text: str) -> None:
    begun = time.monotonic()
    pattern.parse(text)("a" * 1_000 + "!")
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("text", ["(a", "(?=x)", r"(a)\1", "((a{999}){999}){999}", "a{2000}"])
def test_what_cannot_be_matched_in_linear_time_and_little_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a regular expression of RE2"):
        pattern.parse(text)
