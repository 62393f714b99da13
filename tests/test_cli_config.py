"""`config`: settings listed with their origin, explained, and changed in the file; profiles."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import click
import pytest

from p2pnode.api.shapes import SettingJson
from p2pnode.cli import config as command
from p2pnode.cli.app import program
from p2pnode.cli.main import main
from p2pnode.config import (
    CONFIG_FILE,
    DEFAULT_ORIGIN,
    PROFILE_LENGTH_MAX,
    ConfigError,
    SettingOrigin,
    SettingSource,
    editing,
    place_of,
)
from p2pnode.config.loading import lines_of, load, read_value
from p2pnode.config.settings import SETTINGS, StandingSetting, in_file
from tests.fake_node import Served

Output = pytest.CaptureFixture[str]
FILE = """\
# Mine.
name = "here"   # for people
listen = [
  "/ip4/0.0.0.0/tcp/4001",  # the first
]

[labels]
zone = "north"
name = "not the node's"
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of a node that does not run; nothing else of the environment names one."""
    for name in [one for one in os.environ if one.startswith("P2PNODE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    data_dir = tmp_path / "own"
    data_dir.mkdir()
    monkeypatch.setenv("P2PNODE_DATA_DIR", str(data_dir))
    return data_dir


def test_a_value_is_listed_with_the_place_that_it_is_from(
    own: Path, monkeypatch: pytest.MonkeyPatch, capfd: Output
) -> None:
    (own / CONFIG_FILE).write_text(FILE)
    monkeypatch.setenv("P2PNODE_API_PORT", "4701")
    assert main(["config", "list", "-o", "json"]) == 0
    found = {one["name"]: one for one in json.loads(capfd.readouterr().out)["settings"]}
    shown = {name: (one["value"], f"{one['origin']} {one['where']}".strip()) for name, one in found.items()}
    file = own / CONFIG_FILE
    assert list(found) == ["data_dir", *SETTINGS]
    assert shown["data_dir"] == (str(own), "env P2PNODE_DATA_DIR")
    assert shown["name"] == ("here", f"file {file}:2")
    assert shown["listen"] == (["/ip4/0.0.0.0/tcp/4001"], f"file {file}:3")
    assert shown["labels"] == ({"zone": "north", "name": "not the node's"}, f"file {file}:7")
    assert shown["api_port"] == (4701, "env P2PNODE_API_PORT")
    assert shown["store_quota"] == (None, "default")
    assert main(["config", "list"]) == 0
    assert "20% of the disk" in capfd.readouterr().out


def test_a_flag_is_the_origin_of_what_it_gives(own: Path) -> None:
    (own / CONFIG_FILE).write_text(FILE)
    config = load({"name": "flagged", "data_dir": str(own)}, {})
    assert str(config.origins["name"]) == "flag --name"
    assert str(config.origins["data_dir"]) == "flag --data-dir"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", {}),
        ("a = 1\n\n# c\n'b' = 2", {"a": 1, "b": 4}),
        ('a = """\nb = 1\n"""\nb = 2\n', {"a": 1, "b": 4}),
        ("a = [\n\n1,\n]\nb = 2\n", {"a": 1, "b": 5}),
        ("a.x = 1\na.y = 2\n[t]\na = 3\n[u.v]\nw = 1\n", {"a": 1, "t": 3, "u": 5}),
    ],
)
def test_a_setting_s_line_is_where_it_begins(text: str, lines: dict[str, int]) -> None:
    assert lines_of(text) == lines
    assert lines.keys() == tomllib.loads(text).keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_s_example_is_valid_and_can_be_written_and_read_again(name: str) -> None:
    kind = SETTINGS[name].kind
    value = editing.value_of(name, [kind.example])
    text = editing.with_setting(FILE, name, value, Path("f"))
    read = read_value(name, tomllib.loads(text)[name], name)
    assert read == read_value(name, [kind.example] if kind.split else kind.example, name)
    assert read_value(name, in_file(name, read), name) == read
    assert name not in tomllib.loads(editing.with_setting(text, name, None, Path("f"))).keys() - {"name"}


def test_a_change_keeps_comments_order_and_the_file_s_mode(own: Path, capfd: Output) -> None:
    file = own / CONFIG_FILE
    file.write_text(FILE)
    file.chmod(0o640)
    assert main(["config", "set", "name", "there"]) == 0
    assert file.read_text() == FILE.replace('"here"', '"there"')
    assert main(["config", "set", "api_port", "4701"]) == 0
    assert main(["config", "unset", "listen"]) == 0
    assert main(["config", "unset", "mdns"]) == 0
    err = capfd.readouterr().err
    assert f"{file} does not set mdns" in err and "no node runs here: the next start takes it" in err
    kept = '# Mine.\nname = "there"   # for people\n'
    assert file.read_text().startswith(kept) and "api_port = 4701\n" in file.read_text()
    assert (file.stat().st_mode & 0o777, [one.name for one in own.iterdir()]) == (0o640, [CONFIG_FILE])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set", "api_port", "x"], "api_port: expected a port"),
        (["set", "api_port", "1", "2"], "api_port: expected a port from 0 to 65535, got 2 values"),
        (["set", "aip_port", "1"], "aip_port: no such setting; did you mean api_port"),
        (["set", "data_dir", "/x"], "data_dir: only --data-dir"),
        (["unset", "nothing"], "nothing: no such setting; there are name, listen"),
        (["set", "store-quota", "lots"], "store_quota: expected a size"),
        (["explain", "nothing"], "nothing: no such setting"),
        (["set", "peers", "1.2.3.4"], "peers: expected multiaddrs"),
    ],
)
def test_what_serve_would_refuse_is_not_written(
    own: Path, arguments: list[str], said: str, capfd: Output
) -> None:
    (own / CONFIG_FILE).write_text(FILE)
    assert main(["config", *arguments]) == 2
    assert said in capfd.readouterr().err
    assert (own / CONFIG_FILE).read_text() == FILE


def test_a_password_in_a_wrong_address_is_not_shown(own: Path, capfd: Output) -> None:
    assert main(["config", "set", "ipfs_api", "http://me:secret@host:5001"]) == 2
    (own / CONFIG_FILE).write_text('docker_host = "tcp://me:secret@127.0.0.1"\n')
    assert main(["config", "list"]) == 2
    err = capfd.readouterr().err
    assert "http://***@host:5001" in err and "secret" not in err


def test_a_webhook_s_secrets_are_shown_nowhere(own: Path, capfd: Output) -> None:
    url = "https://s3cret-user:s3cret@hooks.example.com:8443/s3cret?t=s3cret"
    assert main(["config", "set", "job_end_webhooks", url]) == 0
    assert f'job_end_webhooks = ["{url}"]' in (own / CONFIG_FILE).read_text()
    for words in (["list"], ["list", "-o", "json"], ["explain", "job_end_webhooks"]):
        assert main(["config", *words]) == 0
    assert main(["config", "set", "job_end_webhooks", f"{url}#fragment"]) == 2
    out, err = capfd.readouterr()
    assert out.count("https://hooks.example.com:8443/***") == 3
    assert "s3cret" not in out + err


def test_a_hidden_value_that_looks_the_same_may_still_be_another() -> None:
    shown = ["https://hooks.example.com/***"]
    runs = SettingJson(name="job_end_webhooks", value=shown, origin="file", where="f:1")
    assert "start it again" in command.restart_line(
        StandingSetting("job_end_webhooks", shown, FROM_FILE), runs
    )


def test_a_file_that_is_no_toml_is_left_as_it_is(own: Path, capfd: Output) -> None:
    (own / CONFIG_FILE).write_text("name = \n")
    assert main(["config", "set", "name", "x"]) == 2
    assert "not TOML" in capfd.readouterr().err
    assert (own / CONFIG_FILE).read_text() == "name = \n"


def test_a_link_to_a_file_stays_one(own: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(FILE)
    (own / CONFIG_FILE).symlink_to(tmp_path / "elsewhere")
    assert main(["config", "set", "preempt", "true"]) == 0
    assert (own / CONFIG_FILE).is_symlink()
    assert "preempt = true\n" in (tmp_path / "elsewhere").read_text()


def test_a_setting_is_explained_from_its_declaration(own: Path, capfd: Output) -> None:
    (own / CONFIG_FILE).write_text('store_quota = "50gb"\n')
    assert main(["config", "explain", "store_quota"]) == 0
    lines = dict(line.split("  ", 1) for line in capfd.readouterr().out.splitlines() if "  " in line)
    told = {name: text.strip() for name, text in lines.items()}
    setting = SETTINGS["store_quota"]
    assert (told["Meaning"], told["Form"], told["Default"]) == (
        setting.help,
        setting.kind.expected,
        setting.default,
    )
    assert (told["Flag"], told["Variable"]) == ("--store-quota 50GB", "P2PNODE_STORE_QUOTA=50GB")
    assert (told["Now"], told["From"]) == ("50GB", f"file {own / CONFIG_FILE}:1")


FROM_FILE = SettingOrigin(SettingSource.FILE, "f:1")


@pytest.mark.parametrize(
    ("value", "origin", "runs", "said"),
    [
        (1, FROM_FILE, None, "no node runs here"),
        (1, FROM_FILE, (1, "file", "f:1"), "has it so already"),
        (1, FROM_FILE, (2, "file", "f:1"), "start it again"),
        (0, DEFAULT_ORIGIN, (2, "file", "f:1"), "start it again"),
        (1, FROM_FILE, (2, "flag", "--api-port"), "from flag --api-port, which wins over the file"),
        (1, FROM_FILE, (1, "env", "P2PNODE_API_PORT"), "from env P2PNODE_API_PORT, which wins"),
        (1, SettingOrigin(SettingSource.ENVIRONMENT, "P2PNODE_API_PORT"), None, "P2PNODE_API_PORT in this"),
    ],
)
def test_whether_a_node_must_be_started_again(
    value: int, origin: SettingOrigin, runs: tuple[int, str, str] | None, said: str
) -> None:
    found = runs and {"name": "api_port", **dict(zip(("value", "origin", "where"), runs, strict=True))}
    assert said in command.restart_line(StandingSetting("api_port", value, origin), found)  # type: ignore[arg-type]


def test_the_running_node_s_settings_are_listed_and_looked_at(served: Served, capfd: Output) -> None:
    assert main(["config", "list", "--running"]) == 0
    assert "flag --name" in capfd.readouterr().out
    assert main(["config", "set", "api_port", "4702"]) == 0
    assert "start it again" in capfd.readouterr().err
    assert main(["config", "set", "api_port", "4701"]) == 0
    assert "has it so already" in capfd.readouterr().err
    assert main(["config", "set", "name", "there"]) == 0
    assert "from flag --name, which wins over the file" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", ".", "ä", "a" * (PROFILE_LENGTH_MAX + 1)])
def test_a_profile_has_a_plain_name(own: Path, name: str, capfd: Output) -> None:
    assert main(["--profile", name, "config", "list"]) == 2
    assert f"expected at most {PROFILE_LENGTH_MAX} letters" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--profile", "lab", "config", "set", "name", "x"],
        ["config", "--profile", "lab", "set", "name", "x"],
        ["config", "set", "name", "x", "--profile=lab"],
    ],
)
def test_a_profile_is_named_before_or_after_a_command(
    own: Path, tmp_path: Path, arguments: list[str]
) -> None:
    before = dict(os.environ)
    assert main(arguments) == 0
    assert dict(os.environ) == before
    file = tmp_path / "config" / "p2pnode" / "profiles" / "lab" / CONFIG_FILE
    assert file.read_text() == 'name = "x"\n'
    assert file.stat().st_mode & 0o777 == 0o600
    assert not list(own.iterdir())


def test_a_profile_has_its_own_data_and_file(own: Path, tmp_path: Path) -> None:
    place = place_of({"P2PNODE_PROFILE": "lab"})
    assert place.data_dir == tmp_path / "data" / "p2pnode" / "profiles" / "lab"
    assert main(["--profile", "lab", "config", "set", "name", "of-lab"]) == 0
    config = load({}, {"P2PNODE_PROFILE": "lab"})
    assert (config.data_dir, config.name) == (place.data_dir, "of-lab")
    assert str(config.origins["data_dir"]) == "profile lab"
    assert str(config.origins["name"]) == f"file {place.config_file}:1"
    # A flag that names a directory wins, with the file there.
    assert load({"data_dir": str(own)}, {"P2PNODE_PROFILE": "lab"}).name != "of-lab"


def test_two_names_of_a_node_are_refused(own: Path, capfd: Output) -> None:
    with pytest.raises(ConfigError, match="each name a node: unset one"):
        place_of({"P2PNODE_PROFILE": "lab", "P2PNODE_DATA_DIR": "/x"})
    assert main(["--profile", "a", "config", "list", "--profile", "b"]) == 2
    assert main(["--profile", "a", "serve", "--data-dir", "/x"]) == 2
    err = capfd.readouterr().err
    assert "two profiles are named: a and b" in err and "--data-dir and --profile each name a node" in err


def test_profiles_are_listed(own: Path, tmp_path: Path, capfd: Output) -> None:
    assert main(["--profile", "lab", "config", "set", "name", "x"]) == 0
    (tmp_path / "data" / "p2pnode" / "profiles" / "home").mkdir(parents=True)
    (tmp_path / "data" / "p2pnode" / "profiles" / "not one").mkdir()
    assert main(["config", "profiles", "-o", "json"]) == 0
    found = json.loads(capfd.readouterr().out)["profiles"]
    assert [(one["profile"], one["peer"]) for one in found] == [("home", ""), ("lab", "")]
    assert main(["config", "profiles"]) == 0
    assert capfd.readouterr().out.splitlines()[1].split()[:2] == ["home", "-"]


def test_a_program_s_own_flag_profile_is_the_program_s() -> None:
    with program.make_context("p2pnode", ["docker", "run"], resilient_parsing=True) as ctx:
        docker = program.get_command(ctx, "docker")
        assert isinstance(docker, click.Group)
        run = docker.commands["run"].make_context("run", ["busybox", "x", "--profile", "y"], ctx)
    assert run.params["command"] == ("x", "--profile", "y")
