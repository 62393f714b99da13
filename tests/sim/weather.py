"""Weather of a simulated network, and the time at which its clock starts."""

from __future__ import annotations

from dataclasses import dataclass

EPOCH = 1_700_000_000.0


@dataclass(frozen=True)
class Weather:
    """Kinds of trouble, and how often each comes."""

    loss: float = 0.0
    replay: float = 0.0
    delay_s: tuple[float, float] = (0.001, 0.2)
    # Lost messages are really lost; otherwise the link sends them again.
    lossy: bool = False
    crashes: int = 0
    # Shares of the crashes that lose the disk, or never come back.
    disk_loss: float = 0.0
    final: float = 0.0
    partitions: int = 0
    failures: float = 0.1
    # Nodes that are shut down in good order, and come back.
    leaves: int = 0
