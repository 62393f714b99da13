"""The process of the enemies: `python -m tests.misdeeds.attack SETTINGS`, until its stdin ends.

SETTINGS is JSON: seed, only (the name of a misdeed or null), targets (pairs of peer id and address). In the
end it prints how often each misdeed was done, as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import Counter
from random import Random
from typing import Any

import trio

from p2pnode.network.gossip import open_gossip
from p2pnode.network.streams import NetworkError

from .acts import ACTS, Act, Attack
from .enemy import open_enemy

ENEMIES = 3
# The measure is what the attacked nodes do, not who wins the processors of this machine.
NICENESS = 19
RETRY_S = 0.2


async def _again_and_again(act: Act, attack: Attack) -> None:
    while True:
        try:
            await act(attack)
        except (NetworkError, trio.TooSlowError):
            await trio.sleep(RETRY_S)


async def _one_enemy(number: int, settings: dict[str, Any], done: Counter[str]) -> None:
    only = settings["only"]
    acts = [act for name, (act, who) in ACTS.items() if name == only or (only is None and number in who)]
    async with open_enemy() as enemy:
        async with open_gossip(enemy.inner.host, lambda data, forwarder: True) as gossip:
            targets = [(peer, address) for peer, address in settings["targets"]]
            attack = Attack(enemy, gossip, targets, Random(f"{settings['seed']} {number}"), done)
            for peer, address in targets:
                await enemy.meet_at(peer, address)
            async with trio.open_nursery() as nursery:
                for act in acts:
                    nursery.start_soon(_again_and_again, act, attack)


async def _attack(settings: dict[str, Any], done: Counter[str]) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(ENEMIES):
            nursery.start_soon(_one_enemy, number, settings, done)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logging.disable()
    os.nice(NICENESS)
    done: Counter[str] = Counter()
    trio.run(_attack, json.loads(sys.argv[1]), done)
    print(json.dumps(done), flush=True)  # noqa: T201
    os._exit(0)
