"""The notices that are still to be told, in the journal's database: what a restart must find again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from p2pnode.core.records.lifecycle import JobRecord
from p2pnode.core.wire import codec

from .plan import Delivery


@dataclass(frozen=True, slots=True)
class KeptNotice:
    """A job as it was when its end became known here; `id` is the same at each try."""

    id: str
    record: JobRecord
    ended_at: float


class NoticeTable:
    """The notices of one node, and their deliveries; see `node.journal`."""

    SCHEMA = """
CREATE TABLE IF NOT EXISTS notices (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  ended_at REAL NOT NULL, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (notice INTEGER NOT NULL, target TEXT NOT NULL, tries INTEGER NOT NULL,
  due REAL NOT NULL, PRIMARY KEY (notice, target)) WITHOUT ROWID
"""

    def __init__(
        self, db: sqlite3.Connection, transaction: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._db = db
        self._transaction = transaction
        self._targets: tuple[str, ...] = ()
        self._woken: Callable[[], None] = lambda: None

    def serve(self, targets: Sequence[str], woken: Callable[[], None]) -> None:
        """Keep for these targets what is added from now on, and call `woken` each time."""
        self._targets, self._woken = tuple(targets), woken

    @property
    def is_wanted(self) -> bool:
        """Whether anybody is to be told."""
        return bool(self._targets)

    def add(self, record: JobRecord, now: float) -> None:
        """Note that a job has ended; a run that ends once more is the same notice."""
        id = f"{record.id}-{record.run}"
        with self._transaction():
            (number,) = self._db.execute(
                "INSERT INTO notices (id, ended_at, record) VALUES (?,?,?) ON CONFLICT (id) DO UPDATE"
                " SET ended_at=excluded.ended_at, record=excluded.record RETURNING number",
                (id, now, codec.pack(record)),
            ).fetchone()
            rows = [(number, target, now) for target in self._targets]
            self._db.executemany("INSERT OR IGNORE INTO deliveries VALUES (?,?,0,?)", rows)
        # In the middle of a transaction: whoever is woken runs after it.
        self._woken()

    def get(self, number: int) -> KeptNotice | None:
        """Return a notice; raises `Unreadable` for one that another version has written."""
        row = self._db.execute(
            "SELECT id, record, ended_at FROM notices WHERE number=?", (number,)
        ).fetchone()
        return KeptNotice(row[0], codec.decode(row[1], JobRecord), row[2]) if row else None

    def after(self, number: int) -> list[Delivery]:
        """The deliveries of the notices beyond this one, the oldest first."""
        rows = self._db.execute(
            "SELECT notice, target, due, tries FROM deliveries WHERE notice>? ORDER BY notice", (number,)
        )
        return [Delivery(*row) for row in rows]

    def postpone(self, one: Delivery) -> None:
        """Keep when a delivery is tried again."""
        with self._transaction():
            self._db.execute(
                "UPDATE deliveries SET due=?, tries=? WHERE notice=? AND target=?",
                (one.due, one.tries, one.notice, one.target),
            )

    def forget(self, number: int, target: str) -> None:
        """Take out a delivery, and its notice with the last."""
        with self._transaction():
            self._db.execute("DELETE FROM deliveries WHERE notice=? AND target=?", (number, target))
            self._db.execute(
                "DELETE FROM notices WHERE number=?1 AND NOT EXISTS"
                " (SELECT * FROM deliveries WHERE notice=?1)",
                (number,),
            )
