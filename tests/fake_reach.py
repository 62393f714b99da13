"""Reach of a node that knows no others: the jobs that there are are its own."""

from __future__ import annotations

from p2pnode.api.shapes import JobJson


class FakeReach:
    """Implements `api.services.ReachService`."""

    def job(self, id_or_name: str) -> JobJson:
        raise NotImplementedError

    async def find(self, id_or_name: str) -> str:
        return self.job(id_or_name)["id"]

    async def find_named(self, namespace: str, name: str) -> None:
        """Nobody else has one."""

    async def keep(self, job: str) -> None:
        """All that changes is told anyway."""
