"""`config`: the settings of a node, looked at, explained and changed in its file; its profiles."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from p2pnode.api.shapes import Code, ServiceError, SettingJson
from p2pnode.cli.answers import ExplainedSettingJson, ProfileJson
from p2pnode.cli.forms import Column, OutputForm, answer_form, column, listing, takes_form, wide_column
from p2pnode.cli.groups import Group
from p2pnode.cli.output import fields, say, short_peer
from p2pnode.cli.requester import running
from p2pnode.cli.status import Status
from p2pnode.client.errors import NodeUnreachable
from p2pnode.client.finding import find
from p2pnode.config import NodePlace, editing, loading, place_of, profiles, variable_of
from p2pnode.config.settings import (
    SETTINGS,
    NodeConfig,
    Setting,
    StandingSetting,
    in_file,
    shown_value,
    standing,
)


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in SETTINGS if name.startswith(incomplete)]


def _as_in_file(_ctx: click.Context, _param: click.Parameter, name: str) -> str:
    """The name of a setting as the file has it; flags have dashes."""
    return name.removeprefix("--").replace("-", "_")


_name = click.argument("name", shell_complete=_names, callback=_as_in_file)


@click.group(cls=Group)
def config() -> None:
    """Look at settings and change them."""


@config.command("list")
@click.option("--running", "of_running", is_flag=True, help="Those that the running node was started with.")
@takes_form(names="names alone")
def list_settings(of_running: bool, form: OutputForm) -> int:
    """List the settings that serve would have here, and where each is from."""
    found = running().settings() if of_running else [one.plain() for one in standing(loading.load({}))]
    answer_form(form, {"settings": found}, listing(_SETTINGS, found), (one["name"] for one in found))
    return Status.OK


@config.command("set")
@_name
@click.argument("values", metavar="VALUE...", nargs=-1, required=True)
def set_setting(name: str, values: tuple[str, ...]) -> int:
    """Write a setting into the file; a list's entries in one VALUE or several."""
    return _change(name, editing.value_of(name, values))


@config.command()
@_name
def unset(name: str) -> int:
    """Take a setting out of the file."""
    loading.setting_named(name)
    return _change(name, None)


@config.command()
@_name
@takes_form()
def explain(name: str, form: OutputForm) -> int:
    """Say what a setting means, how it is given, and how it stands now."""
    found = explained(name)
    answer_form(form, found, lambda wide: fields(_explained_fields(found)))
    return Status.OK


def explained(name: str) -> ExplainedSettingJson:
    setting = loading.setting_named(name)
    now = next(one for one in standing(loading.load({})) if one.name == name)
    flag = f"{setting.flag} {setting.kind.example}" if setting.kind.metavar else setting.flag
    example = {name: in_file(name, loading.read_value(name, _example(setting), name))}
    return ExplainedSettingJson(
        name=name,
        meaning=setting.help if setting.kind.metavar else f"{_text(name, setting.says)}: {setting.help}",
        form=setting.kind.expected,
        default=_default(name),
        flag=flag,
        repeated=bool(setting.kind.split),
        variable=f"{variable_of(name)}={setting.kind.example}",
        example=loading.to_toml(example).strip(),
        value=now.value,
        origin=now.origin.source.value,
        where=now.origin.where,
    )


def _explained_fields(found: ExplainedSettingJson) -> list[tuple[str, str]]:
    return [
        ("Setting", found["name"]),
        ("Meaning", found["meaning"]),
        ("Form", found["form"]),
        ("Default", found["default"]),
        ("Flag", f"{found['flag']}, may be repeated" if found["repeated"] else found["flag"]),
        ("Variable", found["variable"]),
        ("In the file", found["example"]),
        ("Now", _text(found["name"], found["value"])),
        ("From", _origin(found)),
    ]


@config.command("profiles")
@takes_form(names="names alone")
def list_profiles(form: OutputForm) -> int:
    """List the profiles and the nodes that run on them; --profile NAME makes one."""
    found = [_profile(place) for place in profiles()]
    answer_form(form, {"profiles": found}, listing(_PROFILES, found), (one["profile"] for one in found))
    return Status.OK


def _profile(place: NodePlace) -> ProfileJson:
    """A profile and the node that runs on it, if one does."""
    found = ProfileJson(
        profile=place.profile,
        name="",
        peer="",
        api="",
        data_dir=str(place.data_dir),
        config_file=str(place.config_file),
    )
    try:
        client = find(place.data_dir, {})
        client.alive()
        identity = client.identity()
        found.update({"name": identity["name"], "peer": identity["peer"], "api": client.url})
    except NodeUnreachable:
        pass
    return found


def _change(name: str, value: Any) -> int:
    place = place_of(os.environ)
    path = place.config_file
    before = loading.read_text(path) if path.exists() else ""
    if value is None and name not in loading.parse_text(before, path):
        say(f"{path} does not set {name}")
        return Status.OK
    editing.replace(path, editing.with_setting(before, name, value, path))
    now = next(one for one in standing(loading.load({})) if one.name == name)
    say(f"{path}: {name} is {'no longer set' if value is None else _text(name, shown_value(name, value))}")
    say(restart_line(now, _running_one(place, name)))
    return Status.OK


def _running_one(place: NodePlace, name: str) -> SettingJson | None:
    """The setting as the node that runs here has it; None where none runs."""
    try:
        client = find(place.data_dir, {})
        client.alive()
        found = client.settings()
    except NodeUnreachable:
        return None
    except ServiceError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        # A node of an older version does not tell.
        found = []
    unknown = SettingJson(name=name, value=None, origin="file", where="")
    return next((one for one in found if one["name"] == name), unknown)


def restart_line(now: StandingSetting, runs: SettingJson | None) -> str:
    """Whether the node that runs has to be started again for a setting as it stands now."""
    if now.origin.source == "env":
        return f"{now.origin.where} in this environment wins over the file"
    if runs is None:
        return "no node runs here: the next start takes it"
    if runs["origin"] in ("flag", "env"):
        return f"the node that runs has {now.name} from {_origin(runs)}, which wins over the file"
    # A hidden value may differ in what is not seen.
    if runs["value"] == now.value and not (now.name in SETTINGS and SETTINGS[now.name].kind.shown):
        return "the node that runs has it so already"
    return "the node that runs goes on as before: start it again"


def _origin(one: Mapping[str, Any]) -> str:
    return f"{one['origin']} {one['where']}".rstrip()


def _example(setting: Setting) -> Any:
    return [setting.kind.example] if setting.kind.split else setting.kind.example


def _default(name: str) -> str:
    alone = NodeConfig(data_dir=place_of(os.environ).data_dir)
    return SETTINGS[name].default or _text(name, in_file(name, getattr(alone, name))) or "none"


def _text(name: str, value: Any) -> str:
    """A value in a line, as a flag or the environment has it."""
    if value is None:
        return SETTINGS[name].default
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ", ".join(f"{key}={one}" for key, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


_SETTINGS: Sequence[Column[Mapping[str, Any]]] = (
    column("NAME", lambda one: one["name"]),
    column("VALUE", lambda one: _text(one["name"], one["value"])),
    column("FROM", _origin),
)
_PROFILES: Sequence[Column[ProfileJson]] = (
    column("PROFILE", lambda one: one["profile"]),
    column("NODE", lambda one: one["name"] or "-"),
    column("PEER", lambda one: short_peer(one["peer"]) or "-", lambda one: one["peer"] or "-"),
    column("API", lambda one: one["api"] or "-"),
    wide_column("SETTINGS", lambda one: one["config_file"]),
    column("DATA", lambda one: one["data_dir"]),
)
