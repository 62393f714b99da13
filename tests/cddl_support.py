"""The schemas of `protocols/`, as pycddl reads them."""

from __future__ import annotations

import re
from pathlib import Path

PROTOCOLS = Path(__file__).parent.parent / "protocols"


def definitions(*names: str) -> str:
    """The schemas of these names, in one text.

    `.regexp` takes XSD's expressions (RFC 8610), which match whole texts; pycddl looks for them anywhere
    in a text.
    """
    text = "\n".join((PROTOCOLS / f"{name}.cddl").read_text() for name in names)
    assert not re.search(r'\.regexp "\^|\$"', text), "XSD's expressions have no anchors"
    return re.sub(r'\.regexp "([^"]*)"', r'.regexp "^(\1)$"', text)
