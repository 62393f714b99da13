"""Job files as a node takes them: checked, and without templates."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from p2pnode.core import jobfile
from p2pnode.core.jobfile.template.variables import spread
from p2pnode.core.jobfile.yamltree import TEXT_SIZE_BYTES_MAX
from p2pnode.core.wire.spec import JobSpec

# A path, the text itself, or its content; a text of one line is a path.
JobSource: TypeAlias = "str | os.PathLike[str] | bytes | Mapping[str, Any]"
# The name that problems of a text call it by.
TEXT_NAME = "job"


@dataclass(frozen=True, slots=True)
class JobFile:
    """A job file that is valid."""

    # The name that its problems give it.
    name: str
    # As a node takes it: without templates.
    text: bytes
    parsed: jobfile.ParsedJob

    @property
    def spec(self) -> JobSpec:
        return self.parsed.spec


def read_text(text: bytes, name: str, variables: Mapping[str, str] | None) -> JobFile:
    """The job that a text describes, its templates filled in; None: it has none, and braces are text.

    Raises `JobFileError`.
    """
    if variables is None:
        parsed = jobfile.parse(text, name, literal_braces=True)
    else:
        spread_out = spread(variables, text.decode(errors="replace"))
        parsed = jobfile.parse_template(text, spread_out, name)
    return JobFile(name, for_a_node(text, parsed.spec), parsed)


def for_a_node(text: bytes, spec: JobSpec) -> bytes:
    """A job file as a node takes it, which knows no templates: the file itself, unless it has braces."""
    if b"{{" not in text:
        return text
    # In JSON every text is quoted, so that braces which are meant are not taken for a template.
    return json.dumps(jobfile.render(spec), ensure_ascii=False).encode()


def read_file(path: Path) -> bytes:
    """A file's bytes, up to one more than a job file may have; raises `OSError`."""
    with path.open("rb") as file:
        return file.read(TEXT_SIZE_BYTES_MAX + 1)


def read_source(source: JobSource, variables: Mapping[str, str] | None, template: bool) -> JobFile:
    """The job that a program gives; raises `JobFileError`, and `OSError` for a file that can't be read."""
    filled = (variables or {}) if template else None
    if isinstance(source, bytes):
        return read_text(source, TEXT_NAME, filled)
    if isinstance(source, Mapping):
        # In values of a program braces are text, unless it names variables.
        return read_text(
            json.dumps(source, ensure_ascii=False).encode(), TEXT_NAME, filled if variables else None
        )
    if isinstance(source, str) and "\n" in source:
        return read_text(source.encode(), TEXT_NAME, filled)
    return read_text(read_file(Path(source)), os.fspath(source), filled)
