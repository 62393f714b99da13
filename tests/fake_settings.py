"""Settings of a node, as one has them that was started with a flag and a file."""

from __future__ import annotations

from p2pnode.api.shapes import SettingJson


class FakeSettings:
    """Implements `settings` of `api.services.NodeService`."""

    def __init__(self) -> None:
        self.set_up = [
            SettingJson(name="name", value="here", origin="flag", where="--name"),
            SettingJson(name="api_port", value=4701, origin="file", where="/data/config.toml:3"),
            SettingJson(name="store_quota", value=None, origin="default", where=""),
        ]

    def settings(self) -> list[SettingJson]:
        return self.set_up
