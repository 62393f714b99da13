"""The guides in docs/ as tests read them: their commands, what these print, and the files that they name.

    ```console
    ada$ p2pnode node list          a command for the shell of the machine `ada`; `$ ` is the reader's own
    > and the line after it
    NAME ...                        a line that it prints; `...` stands for any text
    ```

A block that is YAML, TOML or Python and begins with `# file: NAME` is a file for the next command.
Commands in a block `sh` are not run: each has its reason in `test_guides.NOT_RUN`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
_FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"^([a-z]*)\$ (.*)$")
_FILE = re.compile(r"^# file: (\S+)\n")


@dataclass
class GuideCommand:
    machine: str
    text: str
    line: int
    shown: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class GuideFile:
    name: str
    text: str
    line: int


def blocks(guide: Path) -> Iterator[tuple[str, str, int]]:
    """Each fenced block's language, text, and the line that it begins at."""
    text = guide.read_text()
    for found in _FENCE.finditer(text):
        yield found[1], found[2], text.count("\n", 0, found.start(2)) + 1


def steps(guide: Path) -> list[GuideCommand | GuideFile]:
    """The commands and files of a guide, in order."""
    found: list[GuideCommand | GuideFile] = []
    for language, text, line in blocks(guide):
        if language == "console":
            found += _commands(text, line)
        elif language in ("yaml", "toml", "python") and (named := _FILE.match(text)):
            found.append(GuideFile(named[1], text[named.end() :], line))
    return found


def not_run(guide: Path) -> list[str]:
    """The commands of a guide that no test runs."""
    lines = [line for language, text, _ in blocks(guide) if language == "sh" for line in text.splitlines()]
    return [line.partition(" #")[0].strip() for line in lines if line and not line.startswith("#")]


def _commands(text: str, first: int) -> list[GuideCommand]:
    found: list[GuideCommand] = []
    for number, line in enumerate(text.splitlines(), first):
        if prompt := _PROMPT.match(line):
            found.append(GuideCommand(prompt[1], prompt[2], number))
        elif line.startswith("> "):
            found[-1].text += "\n" + line[2:]
        else:
            found[-1].shown.append(line)
    return found


def first_missing(shown: list[str], printed: str) -> str | None:
    """The first line of `shown` that is not printed, in their order; None: all are."""
    lines = iter(printed.splitlines())
    for line in filter(str.strip, shown):
        pattern = ".*".join(re.escape(" ".join(part.split())) for part in line.split("..."))
        if not any(re.fullmatch(pattern.replace(r"\ ", r"\s*"), one.strip()) for one in lines):
            return line
    return None
