"""Problems: what failed on this node and was set aside or refused, as the journal keeps it and people see it.

A problem is named by its compartment and subject: what fails again is the same problem, counted. What
was set aside stays so over restarts, until a person has it tried again or drops it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from p2pnode.core.wire.compartments import Compartment

# A page or two for a person; of those that only tell, the oldest go first.
PROBLEMS_MAX = 1_000
# A traceback's end, which says where.
DETAIL_LENGTH_MAX = 8_000
# A message that failed is kept up to this size, so that it can be tried again.
PAYLOAD_SIZE_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that failed. `aside`: it takes part in nothing until somebody says so."""

    number: int
    compartment: Compartment
    subject: str
    reason: str
    detail: str
    aside: bool
    count: int
    first_at: float
    last_at: float
    # The bytes that a peer sent, where a message failed.
    payload: bytes | None


class JournalError(Exception):
    """The journal cannot be used; the message says why and what helps."""


class Problems:
    """The problems of one node, in the journal's database; see `node.journal`."""

    SCHEMA = """
CREATE TABLE IF NOT EXISTS problems (number INTEGER PRIMARY KEY AUTOINCREMENT, compartment TEXT NOT NULL,
  subject TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, aside INTEGER NOT NULL,
  count INTEGER NOT NULL, first_at REAL NOT NULL, last_at REAL NOT NULL, payload BLOB,
  UNIQUE (compartment, subject));
CREATE TABLE IF NOT EXISTS tried (compartment TEXT NOT NULL, subject TEXT NOT NULL,
  PRIMARY KEY (compartment, subject)) WITHOUT ROWID
"""

    def __init__(
        self, db: sqlite3.Connection, transaction: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._db = db
        self._transaction = transaction

    def add(
        self,
        compartment: Compartment,
        subject: str,
        reason: str,
        detail: str = "",
        *,
        aside: bool,
        payload: bytes | None = None,
    ) -> None:
        """Note that it failed, or failed again."""
        now = time.time()
        kept = payload if payload is not None and len(payload) <= PAYLOAD_SIZE_BYTES_MAX else None
        row = (compartment, subject, reason, detail[-DETAIL_LENGTH_MAX:], int(aside), now, now, kept)
        with self._transaction():
            self._db.execute(
                "INSERT INTO problems (compartment,subject,reason,detail,aside,count,first_at,last_at,"
                " payload) VALUES (?,?,?,?,?,1,?,?,?) ON CONFLICT (compartment, subject) DO UPDATE SET"
                " reason=excluded.reason, detail=excluded.detail, aside=aside OR excluded.aside,"
                " count=count+1, last_at=excluded.last_at, payload=excluded.payload",
                row,
            )
            self._db.execute(
                "DELETE FROM problems WHERE NOT aside AND number NOT IN"
                " (SELECT number FROM problems ORDER BY aside DESC, last_at DESC LIMIT ?)",
                (PROBLEMS_MAX,),
            )

    def all(self) -> list[Problem]:
        """All of them, the newest first."""
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM problems ORDER BY last_at DESC, number DESC")
        return [_problem(row) for row in rows]

    def get(self, number: int) -> Problem | None:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM problems WHERE number=?", (number,)).fetchone()
        return _problem(row) if row else None

    def count(self) -> tuple[int, int]:
        """How many there are, and how many of them are set aside."""
        row = self._db.execute("SELECT count(*), coalesce(sum(aside), 0) FROM problems").fetchone()
        return row[0], row[1]

    def remove(self, number: int) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM problems WHERE number=?", (number,))

    def aside(self, compartment: Compartment) -> frozenset[str]:
        """The subjects of a compartment that are set aside."""
        rows = self._db.execute("SELECT subject FROM problems WHERE compartment=? AND aside", (compartment,))
        return frozenset(subject for (subject,) in rows)

    # Things being tried are noted: left over by a crash, a note names what may have been its cause.

    def trying(self, compartment: Compartment, subject: str) -> None:
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO tried VALUES (?,?)", (compartment, subject))

    def tried(self, compartment: Compartment, subject: str) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM tried WHERE compartment=? AND subject=?", (compartment, subject))

    def take_tried(self) -> list[tuple[Compartment, str]]:
        """Return what was being tried when the node ended, and forget it."""
        rows = self._db.execute("SELECT compartment, subject FROM tried").fetchall()
        with self._transaction():
            self._db.execute("DELETE FROM tried")
        return [(Compartment(kind), subject) for kind, subject in rows]


_COLUMNS = "number,compartment,subject,reason,detail,aside,count,first_at,last_at,payload"


def _problem(row: tuple[int, str, str, str, str, int, int, float, float, bytes | None]) -> Problem:
    number, kind, subject, reason, detail, aside, count, first_at, last_at, payload = row
    where = Compartment(kind)
    return Problem(number, where, subject, reason, detail, bool(aside), count, first_at, last_at, payload)
