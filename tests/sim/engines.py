"""Engines of simulated cores: programs take the time and come to the ends that the seed says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2pnode.core.records.events import Finished, Kill, Progressed
from p2pnode.core.records.lifecycle import LONG_RUNNING
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import Award, Receipt
from p2pnode.core.wire.signing import RECEIPT_DOMAIN, Signed
from p2pnode.core.wire.states import Fault, Stage

if TYPE_CHECKING:
    from .network import Node, Simulation


class SimEngines:
    def __init__(self, sim: Simulation) -> None:
        self._sim = sim

    def execute(self, node: Node, reservation: Reservation, award: Award) -> None:
        rng, id, life = self._sim.random, reservation.execution, node.incarnation
        prepared = rng.uniform(0, 1)
        ran = prepared + rng.expovariate(1 / 5)
        published = ran + rng.uniform(0, 0.5)
        self._sim.at(prepared, self.progress, node, life, id, Stage.RUNNING)
        chance = rng.random() / max(self._sim.weather.failures, 1e-9)
        if award.spec.type in LONG_RUNNING:
            ran = published = prepared + rng.expovariate(1 / 60)
            if self._sim.now + ran > self._sim.quiet_from:
                return
        if chance < 0.3:
            self._sim.at(ran, self.finish, node, life, id, 3, Fault.JOB, "exit status 3")
        elif chance < 1:
            self._sim.at(ran, self.finish, node, life, id, None, Fault.PEER, "the engine failed")
        else:
            self._sim.at(ran, self.progress, node, life, id, Stage.PUBLISHING)
            self._sim.at(published, self.finish, node, life, id, 0, None, "")

    def progress(self, node: Node, life: int, id: str, stage: Stage) -> None:
        if node.incarnation == life and id in node.running:
            self._sim.give(node, life, Progressed(id, stage, ""))

    def end(self, node: Node, kill: Kill, id: str, reason: str, fault: Fault) -> None:
        """A program ends as it likes within its grace, and what it left is stored, or that takes too long."""
        rng = self._sim.random
        exit_code = rng.choice([None, 0, 143]) if kill.ending.keep else None
        if kill.ending.keep and rng.random() < 0.05:
            return
        took = rng.uniform(0, rng.choice([0.3, kill.grace_s])) if kill.ending.keep else rng.uniform(0, 0.3)
        self._sim.at(took, self.finish, node, node.incarnation, id, exit_code, fault, reason)

    def finish(
        self, node: Node, life: int, id: str, exit_code: int | None, fault: Fault | None, reason: str
    ) -> None:
        if node.incarnation != life or id not in node.running:
            return
        reservation, award = node.running.pop(id)
        receipt = Receipt(
            job=reservation.job,
            execution=id,
            round=reservation.round,
            replica=award.replica,
            peer=node.peer,
            requester=reservation.owner,
            spec_hash=reservation.spec_hash,
            program="",
            inputs=(),
            exit_code=exit_code,
            fault=fault,
            reason=reason,
            result_cid=None if exit_code is None else "bafy",
            started_ms=0,
            ended_ms=0,
            cpu_ms=0,
            memory_bytes=0,
        )
        body = codec.encode(receipt)
        signed = Signed(body=body, signature=node.core.keys.sign(RECEIPT_DOMAIN, body))
        self._sim.give(node, life, Finished(id, signed))
