"""The form of an input at its Target: a file or a folder.

Data has its own kind where it is addressed as a whole (ipfs, local, inline, and S3 with many keys). A single
file from a URL or an S3 key lies in the folder Target under its own name, as in Bacalhau, unless
Target names a file: it ends in that name, or in another with the same suffix.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from p2pnode.core.wire.spec import InputSource, Source

# The suffix of a file, by its looks: book.txt and data.csv.gz, not v1.0 and conf.d.
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,7}$")


def is_single(source: Source) -> bool:
    """Whether it is one file that has a name of its own."""
    key = str(source.params.get("Key", ""))
    return source.type == "urldownload" or (source.type == "s3" and not is_many(key))


def is_many(key: str) -> bool:
    """Whether an S3 Key names all objects that begin so: it ends with * or /, or is empty."""
    return not key or key.endswith(("*", "/"))


def is_itself(one: InputSource) -> bool:
    """Whether a single file is to be at Target itself, and not in a folder there."""
    named, target = _name(one.source), _last(one.target)
    return bool(named) and (target == named or _suffix(target) == _suffix(named) != "")


def looks_like_a_file(one: InputSource) -> bool:
    """By its suffix."""
    return _suffix(_last(one.target)) != ""


def _suffix(name: str) -> str:
    found = _SUFFIX.search(name)
    return found[0].lower() if found and found.start() else ""


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _name(source: Source) -> str:
    """By the job file alone: what a server calls it is known only when it is fetched."""
    if source.type == "s3":
        return _last(str(source.params.get("Key", "")))
    try:
        return _last(unquote(urlsplit(str(source.params["URL"])).path))
    except ValueError:
        # No URL that could be fetched either.
        return ""
