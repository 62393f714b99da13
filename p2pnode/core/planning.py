"""What would happen to a job if it were submitted now, from what is known here; nothing is asked or run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from .adverts import Known
from .asking import Asking
from .lifecycle import EVERYWHERE, new_record
from .matching import why_not
from .messages import Advert, Refusing
from .spec import JobSpec
from .wire import Record


class Plan(Record, frozen=True):
    """Whom a job would ask, and why not the others."""

    # How many executions it would begin with.
    needed: int
    # Peers that would be asked, the best first.
    asked: tuple[Advert, ...]
    # Known peers that would bid, by what they advertise.
    would_bid: int
    known: int
    # Reason and number of peers, the most frequent first; of those that only lack room, and of the others.
    busy: tuple[tuple[str, int], ...]
    unsuitable: tuple[tuple[str, int], ...]


def plan(spec: JobSpec, me: str, known: Mapping[str, Known], now: float) -> Plan:
    """The plan for a job that `me` would own, with this table of peers."""
    asking = Asking(new_record("", me, spec, now), known, now)
    found = [why_not(asking.need, one.advert.offer) for one in known.values()]
    counts = {
        refusing: Counter(unfit.reason for unfit in found if unfit is not None and unfit.refusing is refusing)
        for refusing in Refusing
    }
    would_bid = found.count(None)
    everywhere = spec.type in EVERYWHERE
    needed = would_bid if everywhere else spec.count
    return Plan(
        needed=needed,
        asked=tuple(asking.whom_to_ask(needed)),
        would_bid=would_bid,
        known=len(known),
        busy=tuple(counts[Refusing.BUSY].most_common()),
        unsuitable=tuple(counts[Refusing.UNSUITABLE].most_common()),
    )
