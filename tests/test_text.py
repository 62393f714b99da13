"""Text of others, made visible: each character that fools a reader is spelt out, others stay."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.core.jobfile import yamltree
from p2pnode.core.values.text import (
    cut,
    ljust,
    visible,
    visible_lines,
    width,
)
from p2pnode.system.log_lines import TextLines


@pytest.mark.parametrize(
    ("what", "text", "shown"),
    [
        ("plain text stays", "a b~", "a b~"),
        ("letters of all scripts stay", "añ 名前 עברית café\u3000!", "añ 名前 עברית café\u3000!"),
        ("an emoji stays", "\U0001f600", "\U0001f600"),
        ("a backslash stays, so that twice is as once", "\\x1b", "\\x1b"),
        ("an escape sequence", "\x1b[2J", "\\x1b[2J"),
        ("a line break", "a\nb\r\n", "a\\nb\\r\\n"),
        ("a tab, which shifts columns", "a\tb", "a\\tb"),
        ("NUL, backspace and DEL", "\0\b\x7f", "\\x00\\x08\\x7f"),
        ("C1, which some terminals obey", "\x9b2J\x85", "\\x9b2J\\x85"),
        ("bidi overrides and isolates", "\u202a\u202e\u2066\u2069", "\\u202a\\u202e\\u2066\\u2069"),
        ("bidi marks", "\u200e\u200f\u061c", "\\u200e\\u200f\\u061c"),
        ("no width", "\u200b\u200c\u200d\u2060\ufeff\u00ad", "\\u200b\\u200c\\u200d\\u2060\\ufeff\\xad"),
        ("separators of lines and paragraphs", "\u2028\u2029", "\\u2028\\u2029"),
        ("tags", "\U000e0001\U000e0041", "\\U000e0001\\U000e0041"),
        ("fillers and variation selectors", "\u115f\u3164\u034f\ufe0f", "\\u115f\\u3164\\u034f\\ufe0f"),
        ("a lone surrogate, as in a file's name that is no UTF-8", "\udcff", "\\udcff"),
        ("private use and unassigned", "\ue000\u0378", "\\ue000\\u0378"),
    ],
)
def test_what_cannot_be_seen_is_spelt_out(what: str, text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


@given(st.text())
def test_any_text_becomes_one_line_that_can_be_printed(text: str) -> None:
    shown = visible(text)
    assert shown.replace("\u3000", "").splitlines() in ([], [shown.replace("\u3000", "")])
    assert visible(shown) == shown
    shown.encode()


def test_lines_and_tabs_of_programs_are_kept() -> None:
    assert visible_lines("a\tb\n\x1b[2J\r\n") == "a\tb\n\\x1b[2J\\r\n"


def test_columns_are_counted_as_a_terminal_does() -> None:
    assert [width(text) for text in ("abc", "名前", "e\u0301")] == [3, 4, 1]
    assert ljust("名", 4) + "|" == "名  |"
    assert [cut("名前a", columns) for columns in (1, 2, 3, 5)] == ["", "名", "名", "名前a"]


_HIDDEN = ["\x1b[2J", "a\u202eb", "\u200b", "\x7f", "a\nb\tc\r", "\x85", "é", "\U000e0041"]


@pytest.mark.parametrize("text", _HIDDEN)
def test_yaml_carries_no_invisible_character_and_means_the_same(text: str) -> None:
    written = yamltree.dump({"Name": text, "Labels": {text: "x"}})
    assert visible_lines(written) == written
    tree = yamltree.compose(written.encode())
    assert isinstance(tree, yamltree.MappingNode)
    ((_, name), (_, labels)) = tree.entries
    assert isinstance(name, yamltree.Scalar) and isinstance(labels, yamltree.MappingNode)
    assert (name.text, labels.entries[0][0].text) == (text, text)


def test_a_peers_words_cannot_forge_a_line_of_the_log() -> None:
    forged = "x\n2026-01-01 00:00:00,000 INFO p2pnode.node.node: all is well\x1b[1A\u202e"
    try:
        raise ValueError(forged)
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("p2pnode", logging.INFO, "", 0, "refused: %s", (forged,), info)
    first, *traceback = TextLines("%(levelname)s %(message)s").format(record).split("\n")
    assert first.startswith("INFO refused: x\\n2026") and "\\x1b[1A\\u202e" in first
    assert traceback and all(line.startswith("  | ") and visible(line) == line for line in traceback)
