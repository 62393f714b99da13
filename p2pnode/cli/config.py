"""`config`: the settings of a node, looked at, explained and changed in its file; its profiles."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from p2pnode.api.shapes import Code, ServiceError, SettingJson
from p2pnode.cli import options
from p2pnode.cli.groups import Group
from p2pnode.cli.output import answer, answer_document, answer_json, fields, say, short_peer, table
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
from p2pnode.core.jobfile import yamltree


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in SETTINGS if name.startswith(incomplete)]


_name = click.argument("name", shell_complete=_names)


@click.group(cls=Group)
def config() -> None:
    """Look at settings and change them."""


@config.command("list")
@click.option("--running", "of_running", is_flag=True, help="Those that the running node was started with.")
@options.form
def list_settings(of_running: bool, form: str) -> int:
    """List the settings that serve would have here, and where each is from."""
    found = running().settings() if of_running else [one.plain() for one in standing(loading.load({}))]
    rows = [[one["name"], _text(one["name"], one["value"]), _origin(one)] for one in found]
    _answer(form, {"settings": found}, ["NAME", "VALUE", "FROM"], rows)
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
def explain(name: str) -> int:
    """Say what a setting means, how it is given, and how it stands now."""
    setting = loading.setting_named(name)
    now = next(one for one in standing(loading.load({})) if one.name == name)
    flag = f"{setting.flag} {setting.kind.example}" if setting.kind.metavar else setting.flag
    example = {name: in_file(name, loading.read_value(name, _example(setting), name))}
    pairs = [
        ("Setting", name),
        ("Meaning", setting.help if setting.kind.metavar else f"{_text(name, setting.says)}: {setting.help}"),
        ("Form", setting.kind.expected),
        ("Default", _default(name)),
        ("Flag", f"{flag}, may be repeated" if setting.kind.split else flag),
        ("Variable", f"{variable_of(name)}={setting.kind.example}"),
        ("In the file", loading.to_toml(example).strip()),
        ("Now", _text(name, now.value)),
        ("From", str(now.origin)),
    ]
    for line in fields(pairs):
        answer(line)
    return Status.OK


@config.command("profiles")
@options.form
def list_profiles(form: str) -> int:
    """List the profiles and the nodes that run on them; --profile NAME makes one."""
    found = [_profile(place) for place in profiles()]
    rows = [
        [
            one["profile"],
            one["name"] or "-",
            short_peer(one["peer"]) or "-",
            one["api"] or "-",
            one["data_dir"],
        ]
        for one in found
    ]
    _answer(form, {"profiles": found}, ["PROFILE", "NODE", "PEER", "API", "DATA"], rows)
    return Status.OK


def _profile(place: NodePlace) -> dict[str, Any]:
    """A profile and the node that runs on it, if one does."""
    node = {"name": "", "peer": "", "api": ""}
    try:
        client = find(place.data_dir, {})
        client.alive()
        identity = client.identity()
        node = {"name": identity["name"], "peer": identity["peer"], "api": client.url}
    except NodeUnreachable:
        pass
    places = {"data_dir": str(place.data_dir), "config_file": str(place.config_file)}
    return {"profile": place.profile, **node, **places}


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


def _answer(form: str, value: Any, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if form == "json":
        answer_json(value)
    elif form == "yaml":
        answer_document(yamltree.dump(value))
    else:
        for line in table(headings, rows):
            answer(line)


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
