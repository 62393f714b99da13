"""Makes the table of docs/settings.md of the settings that the program has.

.venv/bin/python -m scripts.settings_page
"""

from __future__ import annotations

from pathlib import Path

from p2pnode.cli.config import explained
from p2pnode.config.settings import SETTINGS

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
MARK = "<!-- made by scripts/settings_page.py -->\n"


def table() -> str:
    """A row for each setting."""
    rows = ["| Setting | Flag of `serve` | Meaning | Form | Default |", "|---|---|---|---|---|"]
    for name, setting in SETTINGS.items():
        found = explained(name)
        form = found["form"].replace("|", "\\|")
        rows.append(f"| `{name}` | `{setting.flag}` | {found['meaning']} | {form} | {found['default']} |")
    return "\n".join(rows) + "\n"


def renewed(page: str) -> str:
    """The page with the table as it is now."""
    head, _, _ = page.partition(MARK)
    return f"{head}{MARK}\n{table()}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
