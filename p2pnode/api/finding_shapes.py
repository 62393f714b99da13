"""How a node looks beyond its own network, as the API has it."""

from __future__ import annotations

from typing import Annotated, TypedDict


class FindingJson(TypedDict):
    """How the node looks beyond its own network, and is found there."""

    dht: Annotated[str, "Its part in the DHT: 'off', 'client' or 'server'."]
    peers: Annotated[int, "Peers of the DHT that have answered it."]
    provided: Annotated[int, "Results and other roots in its store that the DHT says it has."]
    waiting: Annotated[int, "Those that the DHT is yet to be told of."]
