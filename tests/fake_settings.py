"""Settings of a node, as one has them that was started with a flag and a file."""

from __future__ import annotations

from collections.abc import Sequence

from p2pnode.api.execution_shapes import HostedJson
from p2pnode.api.shapes import ResourcesJson, SettingJson
from p2pnode.core.records.reservations import ReservationState


class FakeSettings:
    """Implements `settings` and `hosted` of `api.services.NodeService`."""

    def __init__(self) -> None:
        self.runs_here = [
            HostedJson(
                id="e-" + 32 * "a",
                job="j-" + 32 * "b",
                name="a stranger's",
                type="batch",
                engine="wasm",
                state=state,
                owner="12D3KooWStranger",
                owner_name="",
                priority=0,
                resources=ResourcesJson(cpu_millis=500, memory_bytes=10**8, disk_bytes=0, gpus=0),
                created=1_700_000_000.0,
            )
            for state in (ReservationState.RUNNING, ReservationState.WAITING)
        ]
        self.set_up = [
            SettingJson(name="name", value="here", origin="flag", where="--name"),
            SettingJson(name="api_port", value=4701, origin="file", where="/data/config.toml:3"),
            SettingJson(name="store_quota", value=None, origin="default", where=""),
        ]

    def settings(self) -> list[SettingJson]:
        return self.set_up

    def hosted(self, states: Sequence[ReservationState]) -> list[HostedJson]:
        return [one for one in self.runs_here if not states or one["state"] in states]
