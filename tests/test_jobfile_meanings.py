"""Job files as people have them: what each means here, or what is said of it in its first lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pnode.core.jobfile import parse
from p2pnode.core.jobfile.problems import JobFileError

FILES = sorted((Path(__file__).parent / "jobfiles" / "meanings").iterdir())
_SAYS = "# says: "


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_accepted_or_told_what_to_write_instead(path: Path) -> None:
    text = path.read_text()
    expected = [line.removeprefix(_SAYS) for line in text.splitlines() if line.startswith(_SAYS)]
    try:
        problems = parse(text, "f").warnings
    except JobFileError as refusal:
        problems = refusal.problems
    said = "\n".join(str(one).removeprefix("f:") for one in problems)
    assert [one for one in expected if one not in said] == [], said
    assert bool(problems) == bool(expected), said
