"""How long to wait before a peer is dialled again."""

from __future__ import annotations

# A peer that was killed or restarted is back within seconds, if at all: until then look often.
SOON_S_MIN = 0.1
SOON_S_MAX = 2.0
SOON_COUNT = 40
LATER_S_MAX = 30.0
# A peer that is only one of many to know is worth less.
CASUAL_S_MIN = 2.0
CASUAL_S_MAX = 60.0


def redial_s(failures: int, jitter: float) -> float:
    """The wait after so many failures for a peer that is needed; `jitter` is within 0 and 1."""
    if failures > SOON_COUNT:
        return LATER_S_MAX * (0.5 + jitter / 2)
    return float(min(SOON_S_MAX, SOON_S_MIN * 2 ** min(failures, 10)) * (0.5 + jitter / 2))


def casual_redial_s(failures: int, jitter: float) -> float:
    """The wait after so many failures for any other peer; `jitter` is within 0 and 1."""
    return float(min(CASUAL_S_MAX, CASUAL_S_MIN * 2 ** min(failures, 10)) * (0.5 + jitter / 2))
