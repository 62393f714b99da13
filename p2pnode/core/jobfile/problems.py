"""Problems of a job file, each with a place, a field and a remedy, all of them at once."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .yamltree import MappingNode, Node, Sequence

# A person mends a few at a time; a hostile file must not fill the terminal.
PROBLEMS_MAX = 100
_STEP_CHARS_MAX = 60

# Where a field is: ("Tasks", 0, "Resources", "CPU").
Path = tuple[str | int, ...]


class Severity(enum.StrEnum):
    ERROR = "error"
    # The file is accepted, but perhaps not with the meaning that its author thinks of.
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class FileProblem:
    """One thing wrong with a job file; `str()` is the line that a person sees."""

    file: str
    # Both from 1.
    line: int
    column: int
    # Tasks[0].Resources.CPU; "" for the file as a whole.
    path: str
    severity: Severity
    # The text says what was found and what is allowed.
    message: str

    def __str__(self) -> str:
        field = f" {self.path}:" if self.path else ""
        return f"{self.file}:{self.line}:{self.column}: {self.severity.value}:{field} {self.message}"


class JobFileError(Exception):
    """A job file has errors; `problems` has them and the warnings, in the order of the file."""

    def __init__(self, problems: tuple[FileProblem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Report:
    """Collects the problems of one file."""

    def __init__(self, file: str, root: Node) -> None:
        self._file, self._root = file, root
        self._problems: list[FileProblem] = []
        self._left_out = 0
        self._error_paths: set[Path] = set()

    @property
    def has_errors(self) -> bool:
        return bool(self._error_paths)

    def has_error_under(self, path: Path) -> bool:
        """Whether this field, or one in it, is wrong, so that what depends on it cannot be judged."""
        return any(found[: len(path)] == path for found in self._error_paths)

    @property
    def is_full(self) -> bool:
        """Whether another problem would only be counted."""
        return len(self._problems) >= PROBLEMS_MAX

    def error(self, path: Path, message: str, at: Node | None = None) -> None:
        """Something that must be mended; its place is `at`, or else what the path leads to."""
        self._error_paths.add(path)
        self._add(Severity.ERROR, path, message, at)

    def warning(self, path: Path, message: str, at: Node | None = None) -> None:
        self._add(Severity.WARNING, path, message, at)

    def problems(self) -> tuple[FileProblem, ...]:
        """All of them, in the order of the file; a last one tells how many were left out."""
        found = sorted(self._problems, key=lambda one: (one.line, one.column))
        if self._left_out:
            last = found[-1]
            more = f"{self._left_out} more problems are not shown"
            found.append(FileProblem(self._file, last.line, last.column, "", Severity.ERROR, more))
        return tuple(found)

    def _add(self, severity: Severity, path: Path, message: str, at: Node | None) -> None:
        if self.is_full:
            self._left_out += 1
            return
        node = at or _nearest(self._root, path)
        self._problems.append(
            FileProblem(self._file, node.line, node.column, path_text(path), severity, message),
        )


def path_text(path: Path) -> str:
    """`Tasks[0].Resources.CPU`"""
    # A key of a free map can be long.
    parts = (f"[{step}]" if isinstance(step, int) else f".{step[:_STEP_CHARS_MAX]}" for step in path)
    return "".join(parts).removeprefix(".")


def _nearest(node: Node, path: Path) -> Node:
    """The node that a path leads to, or the last one on the way that the file has."""
    for step in path:
        if isinstance(node, MappingNode) and isinstance(step, str):
            found = [value for key, value in node.entries if key.text.lower() == step.lower()]
        elif isinstance(node, Sequence) and isinstance(step, int):
            found = node.items[step : step + 1]
        else:
            found = []
        if not found:
            break
        node = found[0]
    return node
