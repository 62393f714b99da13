"""The settings on how far a node looks for peers and content, and lets others find its own."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class DhtMode(enum.StrEnum):
    """The setting `dht`: whether the node asks the DHT, and answers others there, too."""

    OFF = "off"
    CLIENT = "client"
    SERVER = "server"


class ProvideMode(enum.StrEnum):
    """The setting `provide`: what of its store the node says in the DHT that it has."""

    OFF = "off"
    RESULTS = "results"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class FindingState:
    """How a node finds and is found in the DHT."""

    mode: DhtMode = DhtMode.OFF
    # Peers of the DHT that have answered.
    peers: int = 0
    # Roots in its store that others find, and those that wait to be said.
    provided: int = 0
    waiting: int = 0
