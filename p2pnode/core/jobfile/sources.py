"""Where a job's inputs come from and its results go: the types there are, and the parameters of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from p2pnode.core.values.units import AMOUNT_MAX
from p2pnode.core.wire.spec import InputSource, Source

from . import yamltree
from .converters import (
    CONTENT_ADDRESS,
    Choice,
    Integer,
    absolute_path,
    content_address,
    cut,
    data_url,
    pattern,
    some_text,
    url,
)
from .kinds import BOOLEAN, NAME, SOME_TEXT, TEXT, Field, ObjectOf, Raw, Value, when
from .problems import Path, Report


@dataclass(frozen=True)
class Variant:
    """One `Type` of several: what it is called in a spec, and its parameters."""

    # "": as if nothing had been written.
    name: str
    params: ObjectOf
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
        others = {name: one for name, one in variants.items() if name not in current}
        self.variants = variants
        self._head = ObjectOf(
            Field(
                "Type",
                Value(Choice(current, what, others), what),
                required=True,
                hint="one of " + ", ".join(current),
            ),
            Field("Params", Raw()),
            slips={
                field.name: ("", "it belongs into Params")
                for variant in variants.values()
                for field in variant.params.fields
            },
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
        none = yamltree.MappingNode(node.line, node.column)
        params = variant.params.read(head.get("Params", none), (*path, "Params"), report)
        return (variant.name, params) if variant.name and params is not None else None


class SourceKind(Typed):
    """A publisher or the Source of an input."""

    def read(self, node: yamltree.Node, path: Path, report: Report) -> Any:
        found = super().read(node, path, report)
        return found and Source(type=found[0], params=found[1])


PATH = Value(absolute_path, "a path", r"^/+[^/]")


def _partition(values: dict[str, Any], path: Path, report: Report) -> None:
    match values.get("Type"):
        case "regex" if not values.get("Pattern"):
            report.error((*path, "Pattern"), "missing: a partition by regex needs it")
        case "substring" if not values.get("StartIndex", 0) < values.get("EndIndex", 0):
            report.error((*path, "EndIndex"), "must be greater than StartIndex")
        case "date" if not values.get("DateFormat"):
            report.error((*path, "DateFormat"), "missing: a partition by date needs it")


def _words(*words: str) -> Mapping[str, str]:
    return {word: word for word in words}


# Placeholders of a publisher's Key, in braces as in Bacalhau.
KEY_VARIABLES = ("jobID", "executionID", "nodeID", "date", "time")

# S3 parameters: what the peer's or the node's own configuration says where they are left out.
_BUCKET = Field("Bucket", SOME_TEXT, required=True, hint="the bucket's name", example="data")
_URL_VALUE = Value(url, "a URL", r"^[hH][tT][tT][pP][sS]?://[^\s/?#]+")
_PLACE = (
    Field("Region", NAME, about="The region of the bucket.", example="us-east-1"),
    Field(
        "Endpoint",
        _URL_VALUE,
        about="The URL of the service, where it is not Amazon's.",
        example="http://127.0.0.1:9000",
    ),
)
_INDEX = Value(Integer(0, AMOUNT_MAX), "a whole number")
_REGEX = Value(pattern, "a regular expression")
_NOTHING = ObjectOf()

_PARTITION = ObjectOf(
    Field(
        "Type",
        Value(Choice(_words("none", "object", "regex", "substring", "date"), "a way to partition"), "a word"),
        required=True,
        hint="none, object, regex, substring or date",
        about="How objects are shared out among the replicas: none, or by object, regex, substring or date.",
        example="object",
    ),
    Field("Pattern", _REGEX, about="With regex: the part of a key that counts.", example="[0-9]+"),
    Field("StartIndex", _INDEX, about="With substring: where in the key it begins, from 0.", example=0),
    Field("EndIndex", _INDEX, about="With substring: where in the key it ends.", example=4),
    Field("DateFormat", TEXT, about="With date: how the key writes it.", example="2006-01-02"),
    rules=(
        when("Type", ["regex"], needs=["Pattern"]),
        when("Type", ["substring"], needs=["EndIndex"]),
        when("Type", ["date"], needs=["DateFormat"]),
    ),
    check=_partition,
)
_S3_INPUT = ObjectOf(
    _BUCKET,
    Field(
        "Key", TEXT, about="The object, or, with * at its end, all objects that begin so.", example="logs/*"
    ),
    Field("Filter", _REGEX, about="Only the keys that match it.", example="\\.csv$"),
    *_PLACE,
    Field("VersionID", TEXT, about="The version of the object.", example="3HL4kqtJlcpXroDTDmJ"),
    Field("ChecksumSHA256", TEXT, about="What the object must hash to, in base64.", example="uU0nuZNNPgil="),
    Field(
        "Partition",
        _PARTITION,
        about="Which objects each replica gets; else all.",
        example={"Type": "object"},
    ),
)
_LOCAL_INPUT = ObjectOf(
    Field("SourcePath", PATH, required=True, hint="an absolute path on the peer", example="/data/logs"),
    Field("ReadWrite", BOOLEAN, about="Whether the task may write there too.", example=True),
    Field(
        "CreateAs",
        Value(Choice(_words("dir", "file", "noCreate"), "a way to create"), "a word"),
        about="What to make of a path that is not there: a folder, a file, or nothing.",
        example="noCreate",
    ),
)
_PLACEHOLDER = re.compile(r"\{([^{}/]*)\}")


def _key(text: str) -> str:
    """An S3 key, whose placeholders are filled in when the result is published."""
    for name in _PLACEHOLDER.findall(some_text(text)):
        if name not in KEY_VARIABLES:
            known = ", ".join(f"{{{one}}}" for one in KEY_VARIABLES)
            raise ValueError(f"{cut('{' + name + '}')} is nothing that is filled in; known: {known}")
    return text


_S3_PUBLISHER = ObjectOf(
    _BUCKET,
    Field(
        "Key",
        Value(_key, "text", rf"^(?:[^{{]|\{{(?:{'|'.join(KEY_VARIABLES)})\}}|\{{(?![^{{}}/]*\}}))*$"),
        required=True,
        hint="where in the bucket; {jobID}, {executionID}, {nodeID}, {date} and {time} are filled in",
        example="results/{jobID}/{executionID}",
    ),
    *_PLACE,
    Field(
        "Encoding",
        Value(Choice(_words("gzip", "plain"), "an encoding"), "a word"),
        about="Whether the result is one compressed archive or plain files.",
        example="gzip",
    ),
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
        # The reference writes this for a task without publisher.
        "": Variant("", _NOTHING),
    }
)

INPUTS: Mapping[str, Variant] = MappingProxyType(
    {
        "ipfs": Variant(
            "ipfs",
            ObjectOf(
                Field(
                    "CID",
                    Value(content_address, "a CID, or CID/PATH", CONTENT_ADDRESS),
                    required=True,
                    hint="the address of the data, or of a folder that it is below (CID/PATH)",
                    example="bafkreigeud3jwrymzwafqso23lhb3246k4oy5ynntpn5f3f77tclflrcde",
                )
            ),
        ),
        "s3": Variant("s3", _S3_INPUT),
        "local": Variant("local", _LOCAL_INPUT),
        "localDirectory": Variant("local", _LOCAL_INPUT, deprecated="localDirectory is called local now"),
        "urlDownload": Variant(
            "urldownload",
            ObjectOf(
                Field(
                    "URL",
                    _URL_VALUE,
                    required=True,
                    hint="an http or https URL",
                    example="https://example.com/data.csv",
                )
            ),
        ),
        "inline": Variant(
            "inline",
            ObjectOf(
                Field(
                    "URL",
                    Value(data_url, "a data URL", r"^[dD][aA][tT][aA]:[^,\s]*,"),
                    required=True,
                    hint="a data URL",
                    about="The data itself, as a data URL.",
                    example="data:text/plain;base64,aGVsbG8=",
                )
            ),
        ),
    }
)

PUBLISHER = SourceKind(PUBLISHERS, "a type of publisher")
SOURCE = SourceKind(INPUTS, "a type of input source")


def _input(values: dict[str, Any], path: Path, report: Report) -> InputSource:
    return InputSource(source=values["Source"], target=values["Target"], alias=values.get("Alias", ""))


INPUT = ObjectOf(
    Field(
        "Source",
        SOURCE,
        required=True,
        hint="a map of Type and Params",
        about="Where it comes from.",
        example={"Type": "urlDownload", "Params": {"URL": "https://example.com/data.csv"}},
    ),
    Field(
        "Target",
        PATH,
        required=True,
        hint="where the task finds it, an absolute path",
        about="Where the task finds it, an absolute path: of a file or a folder, as told below.",
        example="/data",
    ),
    Field(
        "Alias", NAME, about="Another name for people; no two the same.", default="", example="measurements"
    ),
    slips={
        **dict.fromkeys(("TargetPath", "Path", "MountPoint"), ("Target", "did you mean Target?")),
        **dict.fromkeys(
            ("Type", "Params", "StorageSource", "CID", "URL", "SourcePath"),
            ("Source", "it belongs into Source: {Type: ..., Params: {...}}"),
        ),
    },
    build=_input,
)
