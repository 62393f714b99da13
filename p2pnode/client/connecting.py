"""The way from a program to its node."""

from __future__ import annotations

import os
from pathlib import Path

from p2pnode.config import ConfigError, place_of, profile_place

from .calls import Client
from .finding import find, trust
from .node_client import NodeClient


def connect(
    url: str = "",
    token: str = "",
    *,
    profile: str = "",
    data_dir: str | os.PathLike[str] = "",
    ca_file: str | os.PathLike[str] = "",
) -> NodeClient:
    """The node that runs here, or the one that is named.

    Without arguments as the command line finds it: by `P2PNODE_API`, `P2PNODE_TOKEN`, `P2PNODE_PROFILE` and
    `P2PNODE_DATA_DIR`, or in the data directory of this user. With `profile` or `data_dir` the one that
    runs there; with `url` (http://127.0.0.1:4701) and `token` that one, and `ca_file` are the authorities
    to trust where the URL begins with https. Raises `NodeUnreachable`, and `ValueError` for arguments that
    do not go together.
    """
    return NodeClient(_client(url, token, profile, os.fspath(data_dir), os.fspath(ca_file)))


def _client(url: str, token: str, profile: str, data_dir: str, ca_file: str) -> Client:
    if bool(url) != bool(token):
        raise ValueError("a url and a token go together")
    if sum(map(bool, (url, profile, data_dir))) > 1:
        raise ValueError("a url, a profile and a data_dir each name a node: give one of them")
    if url:
        return Client(url, token, trust(ca_file, "ca_file") if ca_file else None)
    if ca_file:
        raise ValueError("a ca_file is for a url")
    try:
        if profile:
            return find(profile_place(profile).data_dir, {})
        if data_dir:
            return find(Path(data_dir).expanduser().absolute(), {})
        return find(place_of(os.environ).data_dir, os.environ)
    except ConfigError as error:
        raise ValueError(str(error)) from error
