"""Where a job's inputs come from and its results go: the types there are, and the parameters of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from . import yamltree
from .kinds import BOOLEAN, NAME, SOME_TEXT, TEXT, Field, Object, Raw, Value, choice, integer, one_line
from .problems import Path, Report
from .spec import InputSource, Source
from .units import AMOUNT_MAX

# Longer patterns are slow to compile, and nobody filters keys with them.
_PATTERN_CHARS_MAX = 500

# CIDv0, and CIDv1 in base32, which is what all our tools print: shape only, as decoding is
# the block store's. A CIDv1 has at least version, codec, hash and length, and one byte.
_CID = re.compile(r"Qm[1-9A-HJ-NP-Za-km-z]{44}|b[a-z2-7]{8,200}")
_URL = re.compile(r"https?://[^\s/?#]+(?:[/?#]\S*)?", re.IGNORECASE)
_DATA_URL = re.compile(r"data:[^,\s]*,.*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Variant:
    """One `Type` of several: what it is called in a spec, and its parameters."""

    # "": as if nothing had been written.
    name: str
    params: Object
    deprecated: str = ""
    # Known, but not to be had here, and why.
    refused: str = ""


class Typed:
    """A map of Type and Params, where Type says which Params there are."""

    def __init__(self, variants: Mapping[str, Variant], what: str) -> None:
        # Messages name what a new file should use.
        current = {
            name: one for name, one in variants.items() if name and not one.refused and not one.deprecated
        }
        known = choice(current, what)

        def convert(text: str) -> Any:
            word = text.strip().lower()
            return variants[word] if word in variants else known(text)

        self._head = Object(
            Field(
                "Type",
                Value(convert, what),
                required=True,
                hint="one of " + ", ".join(current),
            ),
            Field("Params", Raw()),
        )

    def read(self, node: yamltree.Node, path: Path, report: Report) -> tuple[str, Any] | None:
        """The type's name and what its parameters build; None if it is not to be had, or is nothing."""
        head = self._head.read(node, path, report)
        if head is None:
            return None
        variant: Variant = head["Type"]
        if variant.refused:
            report.error((*path, "Type"), variant.refused)
            return None
        if variant.deprecated:
            report.warning((*path, "Type"), variant.deprecated)
        none = yamltree.Mapping(node.line, node.column)
        params = variant.params.read(head.get("Params", none), (*path, "Params"), report)
        return (variant.name, params) if variant.name and params is not None else None


class SourceKind(Typed):
    """A publisher or the Source of an input."""

    def read(self, node: yamltree.Node, path: Path, report: Report) -> Any:
        found = super().read(node, path, report)
        return found and Source(type=found[0], params=found[1])


def absolute_path(text: str) -> str:
    """A path inside the task in its shortest form.

    Raises `ValueError` where it is not absolute, climbs with `..`, or is the root.
    """
    parts = [part for part in one_line(text).split("/") if part not in ("", ".")]
    if not text.startswith("/"):
        raise ValueError(f'"{text[:80]}" must be an absolute path, such as /{text[:80].lstrip("./")}')
    if ".." in parts or not parts:
        raise ValueError(f'"{text[:80]}" must be a folder or file below /, without ..')
    return "/" + "/".join(parts)


def _cid(text: str) -> str:
    if not _CID.fullmatch(text):
        hint = "; give the CID alone" if "/" in text else ""
        raise ValueError(
            f'"{text[:80]}" is not a CID; allowed: CIDv0 (Qm...) and CIDv1 in base32 (b...){hint}'
        )
    return text


def _url(text: str) -> str:
    if not _URL.fullmatch(text):
        raise ValueError(f'"{text[:80]}" is not an http or https URL')
    return text


def _data_url(text: str) -> str:
    if not _DATA_URL.fullmatch(text):
        raise ValueError(f'"{text[:80]}" is not a data URL, such as data:text/plain;base64,aGVsbG8=')
    return text


def _pattern(text: str) -> str:
    if len(text) > _PATTERN_CHARS_MAX:
        raise ValueError(f"{len(text)} characters; allowed: a regular expression of {_PATTERN_CHARS_MAX}")
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as exc:
        raise ValueError(f'"{text[:80]}" is not a regular expression: {exc}') from exc
    return text


def _partition(values: dict[str, Any], path: Path, report: Report) -> None:
    match values.get("Type"):
        case "regex" if not values.get("Pattern"):
            report.error((*path, "Pattern"), "missing: a partition by regex needs it")
        case "substring" if not values.get("StartIndex", 0) < values.get("EndIndex", 0):
            report.error((*path, "EndIndex"), "must be greater than StartIndex")
        case "date" if not values.get("DateFormat"):
            report.error((*path, "DateFormat"), "missing: a partition by date needs it")


def _words(*words: str) -> dict[str, str]:
    return {word.lower(): word for word in words}


_BUCKET = Field("Bucket", SOME_TEXT, required=True, hint="the bucket's name")
_PLACE = (Field("Region", NAME), Field("Endpoint", Value(_url, "a URL")))
_INDEX = Value(integer(0, AMOUNT_MAX), "a whole number")
_NOTHING = Object()

_PARTITION = Object(
    Field(
        "Type",
        Value(choice(_words("none", "object", "regex", "substring", "date"), "a way to partition"), "a word"),
        required=True,
        hint="none, object, regex, substring or date",
    ),
    Field("Pattern", Value(_pattern, "a regular expression")),
    Field("StartIndex", _INDEX),
    Field("EndIndex", _INDEX),
    Field("DateFormat", TEXT),
    check=_partition,
)
_S3_INPUT = Object(
    _BUCKET,
    Field("Key", TEXT),
    Field("Filter", Value(_pattern, "a regular expression")),
    *_PLACE,
    Field("VersionID", TEXT),
    Field("ChecksumSHA256", TEXT),
    Field("Partition", _PARTITION),
)
_LOCAL_INPUT = Object(
    Field("SourcePath", Value(absolute_path, "a path"), required=True, hint="an absolute path on the peer"),
    Field("ReadWrite", BOOLEAN),
    Field("CreateAs", Value(choice(_words("dir", "file", "noCreate"), "a way to create"), "a word")),
)
_S3_PUBLISHER = Object(
    _BUCKET,
    Field("Key", SOME_TEXT, required=True, hint="where in the bucket, such as results/{jobID}/{executionID}"),
    *_PLACE,
    Field("Encoding", Value(choice(_words("gzip", "plain"), "an encoding"), "a word")),
)

PUBLISHERS: Mapping[str, Variant] = MappingProxyType(
    {
        "ipfs": Variant("ipfs", _NOTHING),
        "s3": Variant("s3", _S3_PUBLISHER),
        "local": Variant("local", _NOTHING),
        "none": Variant("none", _NOTHING),
        "noop": Variant("none", _NOTHING, deprecated="noop is called none now"),
        "s3managed": Variant(
            "", _NOTHING, refused="s3managed needs an orchestrator, and this network has none; use s3 or ipfs"
        ),
        # What the reference writes for a task without publisher.
        "": Variant("", _NOTHING),
    }
)

INPUTS: Mapping[str, Variant] = MappingProxyType(
    {
        "ipfs": Variant(
            "ipfs",
            Object(Field("CID", Value(_cid, "a CID"), required=True, hint="the address of the data")),
        ),
        "s3": Variant("s3", _S3_INPUT),
        "local": Variant("local", _LOCAL_INPUT),
        "localdirectory": Variant("local", _LOCAL_INPUT, deprecated="localDirectory is called local now"),
        "urldownload": Variant(
            "urldownload",
            Object(Field("URL", Value(_url, "a URL"), required=True, hint="an http or https URL")),
        ),
        "inline": Variant(
            "inline", Object(Field("URL", Value(_data_url, "a data URL"), required=True, hint="a data URL"))
        ),
    }
)

PUBLISHER = SourceKind(PUBLISHERS, "a type of publisher")
SOURCE = SourceKind(INPUTS, "a type of input source")


def _input(values: dict[str, Any], path: Path, report: Report) -> InputSource:
    return InputSource(source=values["Source"], target=values["Target"], alias=values.get("Alias", ""))


INPUT = Object(
    Field("Source", SOURCE, required=True, hint="a map of Type and Params"),
    Field(
        "Target",
        Value(absolute_path, "a path"),
        required=True,
        hint="where the task finds it, an absolute path",
    ),
    Field("Alias", NAME),
    build=_input,
)
