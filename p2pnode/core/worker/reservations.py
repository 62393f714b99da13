"""The reservations of a worker, found by execution, by state and by deadline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import inf

from p2pnode.core.records.events import DropReservation, SaveReservation
from p2pnode.core.records.reservations import Reservation, ReservationState
from p2pnode.core.values.deadlines import Deadlines

HOLDING_NOTHING = (ReservationState.WAITING, ReservationState.ENDED)
_HOLDING = tuple(state for state in ReservationState if state not in HOLDING_NOTHING)


class Reservations(Mapping[str, Reservation]):
    """Reservations by execution. Whatever changes one calls `save`, which keeps the indexes true."""

    def __init__(self, reservations: Iterable[Reservation] = ()) -> None:
        self._all: dict[str, Reservation] = {}
        self._state: dict[str, ReservationState] = {}
        self._by_state: dict[ReservationState, dict[str, Reservation]] = {one: {} for one in ReservationState}
        self._deadlines = Deadlines()
        # How often one was saved or dropped: what is derived from them is true until it grows.
        self.changes = 0
        for reservation in reservations:
            self.save(reservation)

    def __getitem__(self, execution: str) -> Reservation:
        return self._all[execution]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def save(self, reservation: Reservation) -> SaveReservation:
        """Take a reservation that is new or has changed; returns the action that journals it."""
        self.changes += 1
        id, state = reservation.execution, reservation.state
        before = self._state.get(id)
        if before is not state or self._all[id] is not reservation:
            if before is not None:
                del self._by_state[before][id]
            self._by_state[state][id] = reservation
            self._all[id], self._state[id] = reservation, state
        self._deadlines.put(id, inf if reservation.deadline is None else reservation.deadline)
        return SaveReservation(reservation)

    def drop(self, execution: str) -> DropReservation:
        """Forget a reservation; nothing if it is not here. Returns the action that the journal needs."""
        self.changes += 1
        if self._all.pop(execution, None) is not None:
            del self._by_state[self._state.pop(execution)][execution]
            self._deadlines.put(execution, inf)
        return DropReservation(execution)

    def of(self, *states: ReservationState) -> list[Reservation]:
        """The reservations in these states; of each, in the order in which they came to it."""
        return [one for state in states for one in self._by_state[state].values()]

    def by_state(self) -> dict[ReservationState, int]:
        """How many there are in each state."""
        return {state: len(ones) for state, ones in self._by_state.items()}

    @property
    def holding(self) -> list[Reservation]:
        """The reservations that hold resources."""
        return self.of(*_HOLDING)

    @property
    def deadline(self) -> float:
        """When the first of them wants to be looked at."""
        return self._deadlines.first

    def due(self, now: float) -> list[Reservation]:
        """The reservations whose deadline has come, in the order in which they were asked for."""
        due = self._deadlines.due(now)
        return [one for id, one in self._all.items() if id in due] if due else []
