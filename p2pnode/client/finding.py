"""Which node a program talks to, by its environment and the data directories here."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path

from p2pnode.api.shapes import NODE_FILE, TOKEN_FILE, Json, token_of

from .calls import Client
from .errors import NodeUnreachable


def find(data_dir: Path, environ: Mapping[str, str]) -> Client:
    """The node to talk to: `P2PNODE_API` names it, or else the one that runs on `data_dir`.

    The token is `P2PNODE_TOKEN`, or else the data directory's. Raises `NodeUnreachable`.
    """
    url = environ.get("P2PNODE_API") or _running(data_dir)
    given = environ.get("P2PNODE_TOKEN")
    text = given or _read(data_dir / TOKEN_FILE)
    if text is None:
        raise NodeUnreachable(
            f"no token for {url}: set P2PNODE_DATA_DIR to the node's data directory (now {data_dir})"
            " or P2PNODE_TOKEN"
        )
    token = token_of(text)
    if token is None:
        where = "P2PNODE_TOKEN" if given else str(data_dir / TOKEN_FILE)
        hint = "it lies in the node's data directory" if given else "start the node again for a new one"
        raise NodeUnreachable(f"{where} holds no token: {hint}")
    return Client(url, token, _trusted(url, data_dir, environ))


def _trusted(url: str, data_dir: Path, environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """Trust in the authorities of `P2PNODE_API_CA`; or in just the certificate that the node here wrote down.

    None: as the machine does.
    """
    if not url.startswith("https:"):
        return None
    if path := environ.get("P2PNODE_API_CA"):
        return trust(path, "P2PNODE_API_CA")
    node = running_node(data_dir)
    if node is None or node["api"] != url or "certificate" not in node:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Trust in this certificate alone: it need not name the address at which it is reached here.
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=str(node["certificate"]))
    return context


def trust(path: str, where: str) -> ssl.SSLContext:
    """Trust in the authorities of a PEM file; `where` its path stands. Raises `NodeUnreachable`."""
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        # `SSLError` is one.
        reason = error.strerror or "it holds no certificate in PEM"
        raise NodeUnreachable(f"{where}: {path} cannot be used: {reason}") from error


def running_node(data_dir: Path) -> Json | None:
    """`{api, pid, peer, name}` as the node on a data directory wrote it; it may have died since."""
    text = _read(data_dir / NODE_FILE)
    try:
        node = json.loads(text) if text else None
    except ValueError:
        return None
    return node if isinstance(node, dict) and {"api", "pid", "peer", "name"} <= node.keys() else None


def _running(data_dir: Path) -> str:
    node = running_node(data_dir)
    if node is None:
        raise NodeUnreachable(f"no node runs on {data_dir}; start one with: p2pnode serve")
    return str(node["api"])


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NodeUnreachable(f"{path} cannot be read: {error.strerror}") from error
