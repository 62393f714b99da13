"""YAML text as a tree of nodes that know their line and column, and back. The only importer of yaml.

Nodes are made from libyaml's parser events in a loop, not by PyYAML's composer, which
recurses and could be made to overflow the C stack. A scalar keeps its text as written:
what it means is for the reader of the field to say, so that `1.10` stays a version and
`no` stays a word. JSON is read too, as it is (nearly) a subset of YAML.

Aliases, anchors, tags, keys that are not text and second documents are refused: a job
file has no use for them, and each is a way to say something other than what one reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from p2pnode.core.values.text import visible_lines

# A frame holds at most 1 MiB, and an award carries the spec and other fields.
TEXT_SIZE_BYTES_MAX = 256 * 1024
# The deepest field, Tasks[0].InputSources[0].Source.Params.Partition.Type, is 8 deep.
DEPTH_MAX = 24
# Keeps the worst text of 256 KiB well under a second; the job-type page's example has 100.
NODES_MAX = 20_000

# The characters that YAML 1.1 forbids in a stream, and the byte order mark in the middle of it. Those,
# not the others: a class of nearly all characters takes 4 ms to compile.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
# JSON writes what lies above U+FFFF as two escapes, which YAML does not know. The first
# branch steps over an escaped backslash, so that "\\\\ud83d" stays text.
_SURROGATE_PAIR = re.compile(r"\\\\|\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class BadYaml(Exception):
    """The text is not a tree that we read; says where (both from 1) and why."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line, self.column, self.message = line, column, message


@dataclass(slots=True)
class Scalar:
    text: str
    line: int
    column: int
    # Written in quotes or as a block, so that it is text whatever it looks like.
    quoted: bool = False

    @property
    def is_null(self) -> bool:
        return not self.quoted and self.text in _NULLS


@dataclass(slots=True)
class Sequence:
    line: int
    column: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class MappingNode:
    line: int
    column: int
    # In the order of the text; a key may occur twice, which is for the reader to refuse.
    entries: list[tuple[Scalar, Node]] = field(default_factory=list)


Node = Scalar | Sequence | MappingNode


def compose(text: str | bytes, *, literal_braces: bool = False) -> Node:
    """The tree of one YAML or JSON document. Raises `BadYaml`, whatever the text is.

    `{{` outside of quotes is refused, as nobody filled in the template, unless braces are literal.
    """
    readable = _readable(text)
    try:
        return _Composer(yaml.CBaseLoader(readable), literal_braces).compose()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if mark and readable[mark.index : mark.index + 1] == "\t":
            raise BadYaml(line, column, "found a tab, and YAML indents with blanks only") from exc
        why = ", ".join(part for part in (exc.context, exc.problem) if part)
        raise BadYaml(line, column, f"not YAML: {why}") from exc
    except yaml.YAMLError as exc:
        raise BadYaml(1, 1, f"not YAML: {exc}") from exc


def nulls(root: Node) -> Iterator[str]:
    """How the nothings of a tree are written: ~, null."""
    return (text for text, is_null in _scalars(root) if is_null)


def texts(root: Node) -> Iterator[str]:
    """All the scalars and keys of a tree, as they are after YAML's quotes are gone."""
    return (text for text, _ in _scalars(root))


def _scalars(root: Node) -> Iterator[tuple[str, bool]]:
    """The text of each, and whether it stands for nothing."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Scalar):
            yield node.text, node.is_null
        elif isinstance(node, Sequence):
            waiting += node.items
        else:
            for key, value in node.entries:
                waiting += (key, value)


def dump(value: Any) -> str:
    """Dicts, lists and scalars as YAML that `compose` reads as the same."""
    text = str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100))
    # An unusual break inside quotes would be read as a blank, unless it is escaped; and what can't be
    # seen is not to reach a terminal.
    if visible_lines(text) != text:
        text = str(yaml.safe_dump(value, sort_keys=False, width=100))
    return text


def from_plain(value: Any) -> Node:
    """Dicts, lists and scalars as a tree, as if a file held them, all at line 1."""
    if isinstance(value, AbstractMapping):
        return MappingNode(
            1, 1, [(Scalar(str(key), 1, 1, True), from_plain(item)) for key, item in value.items()]
        )
    if isinstance(value, list | tuple):
        return Sequence(1, 1, [from_plain(item) for item in value])
    if value is None:
        return Scalar("", 1, 1)
    if isinstance(value, bool):
        return Scalar("true" if value else "false", 1, 1)
    return Scalar(str(value), 1, 1, quoted=isinstance(value, str))


def _readable(text: str | bytes) -> str:
    """The text with its encoding, size and characters checked."""
    size_bytes = len(text) if isinstance(text, bytes) else len(text.encode(errors="surrogatepass"))
    if size_bytes > TEXT_SIZE_BYTES_MAX:
        raise BadYaml(1, 1, f"{size_bytes} bytes, over the limit of {TEXT_SIZE_BYTES_MAX}")
    if isinstance(text, bytes):
        text = decode(text)
    text = text.removeprefix("\ufeff")
    if unprintable := _UNPRINTABLE.search(text):
        line, column = _position(text, unprintable.start())
        raise BadYaml(line, column, f"character U+{ord(unprintable[0]):04X} is not allowed in a job file")
    if text.lstrip()[:1] in ("{", "["):
        text = _SURROGATE_PAIR.sub(_joined, text)
    return text


def decode(data: bytes) -> str:
    """UTF-8 as text. Raises `BadYaml` saying where it is none."""
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        before = data[: exc.start].decode()
        line, column = _position(before, len(before))
        raise BadYaml(line, column, f"not UTF-8 text: byte 0x{data[exc.start]:02x}") from exc


def _joined(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0]
    high, low = int(match[1], 16), int(match[2], 16)
    if high > 0xDBFF:
        return match[0]
    return f"\\U{0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF):08x}"


def _position(text: str, index: int) -> tuple[int, int]:
    """Line and column, from 1, of a character."""
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


class _Composer:
    """Turns the events of one document into nodes, with an explicit stack of open collections."""

    def __init__(self, parser: yaml.CBaseLoader, literal_braces: bool) -> None:
        self._parser = parser
        self._literal_braces = literal_braces
        self._open: list[Sequence | MappingNode] = []
        # Beside each open mapping: the key that waits for its value.
        self._keys: list[Scalar | None] = []
        self._root: Node | None = None

    def compose(self) -> Node:
        nodes = 0
        for event in self._events():
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._put(self._scalar(event))
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._open.pop()
                self._keys.pop()
                continue
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._begin(event, MappingNode if kind is yaml.MappingStartEvent else Sequence)
            elif kind is yaml.AliasEvent:
                raise _bad(event, f"alias *{event.anchor[:40]} is not allowed; write the value out")
            elif kind is yaml.DocumentStartEvent and self._root is not None:
                raise _bad(event, "a second document begins here; a file holds one job")
            nodes += 1
            if nodes > NODES_MAX:
                raise _bad(event, f"more than {NODES_MAX} values")
        if self._root is None:
            raise BadYaml(1, 1, "the file is empty; a job file has at least Type and Tasks")
        return self._root

    def _events(self) -> Iterator[Any]:
        get = self._parser.get_event
        while (event := get()) is not None:
            yield event

    def _scalar(self, event: Any) -> Scalar:
        _refuse_properties(event)
        mark, quoted = event.start_mark, event.style != ""
        if not quoted and "{{" in event.value and not self._literal_braces:
            # Left by a template that nobody filled in: "A={{.query}}" is text to YAML.
            raise _bad(event, "{{ in text without quotes")
        return Scalar(event.value, mark.line + 1, mark.column + 1, quoted)

    def _begin(self, event: Any, kind: type[MappingNode] | type[Sequence]) -> None:
        _refuse_properties(event)
        if self._open and self._awaits_key():
            braces = "; a template has no blanks between its braces: {{.name}}" if kind is MappingNode else ""
            raise _bad(event, f"a key must be text, found a list or a map{braces}")
        node = kind(event.start_mark.line + 1, event.start_mark.column + 1)
        self._put(node)
        self._open.append(node)
        self._keys.append(None)
        if len(self._open) > DEPTH_MAX:
            raise _bad(event, f"nested more than {DEPTH_MAX} deep")

    def _awaits_key(self) -> bool:
        return type(self._open[-1]) is MappingNode and self._keys[-1] is None

    def _put(self, node: Node) -> None:
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        if type(parent) is Sequence:
            parent.items.append(node)
        elif type(parent) is MappingNode:
            key = self._keys[-1]
            if key is None and type(node) is Scalar:
                self._keys[-1] = node
            elif key is not None:
                parent.entries.append((key, node))
                self._keys[-1] = None


def _refuse_properties(event: Any) -> None:
    if event.anchor is not None:
        raise _bad(
            event, f"anchor &{event.anchor[:40]} is not allowed; write the value out where it is needed"
        )
    if event.tag is not None:
        raise _bad(event, f"tag {event.tag[:60]} is not allowed; quote the value if it is text")


def _bad(event: Any, message: str) -> BadYaml:
    return BadYaml(event.start_mark.line + 1, event.start_mark.column + 1, message)
