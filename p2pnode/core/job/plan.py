"""The plan of a job as if it were submitted now, from what is known here; nothing is asked or run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from p2pnode.core.placement import forwarding
from p2pnode.core.placement.adverts import Known
from p2pnode.core.placement.matching import Infeasible
from p2pnode.core.records import mandate
from p2pnode.core.records.lifecycle import EVERYWHERE, new_record
from p2pnode.core.values.trust import ANYBODY, Trust
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import Record
from p2pnode.core.wire.mandates import NONCE_SIZE_BYTES, Mandate
from p2pnode.core.wire.messages import Advert, Requirements
from p2pnode.core.wire.signing import Signed
from p2pnode.core.wire.spec import JobSpec
from p2pnode.core.wire.states import RefusalKind

from .asking import Asking


class Plan(Record, frozen=True):
    """The peers that a job would ask, and why not the others."""

    # How many executions it would begin with.
    needed: int
    # Peers that would be asked, the best first.
    asked: tuple[Advert, ...]
    # Known peers that would bid, by what they advertise.
    would_bid: int
    known: int
    # Requirements that peers look up only when they are asked, and may refuse for then.
    looked_up: tuple[str, ...]
    # Reason and number of peers, the most frequent first; of those that only lack room, and of the others.
    busy: tuple[tuple[str, int], ...]
    unsuitable: tuple[tuple[str, int], ...]


# The id of the job that is planned, which is asked nothing about.
_NO_JOB = "j-" + "0" * 32


def plan(
    spec: JobSpec, me: str, known: Mapping[str, Known], now: float, lacks: str = "", trust: Trust = ANYBODY
) -> Plan:
    """The plan for a job that `me` would own, with this table of peers, and `trust` in some.

    `lacks` is why `me` itself does not have what peers look up when they are asked; "" if it has.
    """
    table = {peer: one for peer, one in known.items() if not (lacks and peer == me)}
    charter = mandate.first_charter(_NO_JOB, bytes(NONCE_SIZE_BYTES), me, spec, ANYBODY)
    unsigned = Mandate(charter=Signed(body=codec.encode(charter), signature=bytes(64)))
    asking = Asking(new_record(unsigned, spec, now), table, now, trust)
    found = [asking.why_not(one.advert) for one in table.values()]
    if len(table) < len(known):
        infeasible = asking.why_not(known[me].advert)
        found.append(Infeasible(RefusalKind.UNSUITABLE, lacks) if infeasible is None else infeasible)
    counts = {
        refusal_kind: Counter(
            infeasible.reason
            for infeasible in found
            if infeasible is not None and infeasible.refusal_kind is refusal_kind
        )
        for refusal_kind in RefusalKind
    }
    would_bid = found.count(None)
    everywhere = spec.type in EVERYWHERE
    needed = would_bid if everywhere else spec.count
    return Plan(
        needed=needed,
        asked=tuple(asking.whom_to_ask(needed)),
        would_bid=would_bid,
        known=len(known),
        looked_up=_looked_up(asking.need, spec),
        busy=tuple(counts[RefusalKind.BUSY].most_common()),
        unsuitable=tuple(counts[RefusalKind.UNSUITABLE].most_common()),
    )


def _looked_up(need: Requirements, spec: JobSpec) -> tuple[str, ...]:
    variables = forwarding.wanted(spec.task.environment).values()
    return (
        *(f"path {one.path}" + " for writing" * one.writable for one in need.directories),
        *(f"variable {name}" for name in variables),
    )
