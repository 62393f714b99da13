"""Settings of a node: which source wins, and what a wrong one is told."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_type_hints

import click
import msgspec
import pytest

from p2pnode.cli import topology
from p2pnode.cli.app import program
from p2pnode.cli.serve import serve
from p2pnode.config import CONFIG_FILE, ConfigError, variable_of
from p2pnode.config.kinds import PEER_IDS_MAX
from p2pnode.config.loading import load, to_toml
from p2pnode.config.settings import SETTINGS, NodeConfig
from p2pnode.core.wire import peer_ids
from scripts import settings_page
from scripts.packaging import defaults

ROOT = Path(__file__).parent.parent
PEER = "12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu"
# The settings of the example in docs/settings.md.
EXAMPLE = settings_page.PAGE.read_text().replace("12D3Koo...", PEER)
EXAMPLES = tomllib.loads(re.findall(r"```toml\n(.*?)```", EXAMPLE, re.DOTALL)[0])
# Settings that are refused without another.
PARTNERS = {"api_cert": "api_key", "api_key": "api_cert", "provide": "dht"}


def test_the_page_of_settings_has_them_all() -> None:
    page = settings_page.PAGE.read_text()
    assert page == settings_page.renewed(page), "renew it: .venv/bin/python -m scripts.settings_page"


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text('name = "file"\napi_port = 1\nlog_level = "info"\n')
    environ = {"P2PNODE_DATA_DIR": str(tmp_path), "P2PNODE_NAME": "environment", "P2PNODE_API_PORT": "2"}
    config = load({"name": "flag", "api_port": None}, environ)
    assert (config.name, config.api_port, config.log_level) == ("flag", 2, "info")
    assert config.data_dir == tmp_path


def test_lists_are_read_from_every_source(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text('labels = { zone = "a", rack = "1" }\n')
    from_file = load({"data_dir": str(tmp_path)}, {})
    environ = {
        "P2PNODE_PEERS": f"/ip4/1.2.3.4/tcp/1/p2p/{PEER},/ip4/1.2.3.4/tcp/2/p2p/{PEER}",
        "P2PNODE_LABELS": "a=1,b=2",
    }
    from_environ = load({"data_dir": str(tmp_path)}, environ)
    from_flags = load({"data_dir": str(tmp_path), "labels": ["zone=b=c"]}, environ)
    assert from_file.labels == {"zone": "a", "rack": "1"}
    assert len(from_environ.peers) == 2
    assert from_environ.labels == {"a": "1", "b": "2"}
    assert from_flags.labels == {"zone": "b=c"}


@pytest.mark.parametrize(
    ("flags", "environ", "text", "said"),
    [
        ({"api_port": "x"}, {}, "", "--api-port: expected a port"),
        ({"labels": ("zone",)}, {}, "", r"--label: expected at most 32 key=value pairs, got \['zone'\]"),
        ({"peers": ["1.2.3.4"]}, {}, "", "--peer: expected multiaddrs"),
        ({"listen": ["/ip4/0.0.0.0/tcp/1/wss"]}, {}, "", "a reverse proxy has that before /ws"),
        ({"announce": [f"/dns4/a.example/tcp/443/wss/p2p/{PEER}"]}, {}, "", "--announce: .* names no peer"),
        ({"announce": ["/ip4/0.0.0.0/tcp/4001"]}, {}, "", "--announce: .* others can dial"),
        ({"announce": ["/dns4/a.example/tcp/0/ws"]}, {}, "", "--announce: .* has a port"),
        ({"announce": [f"/dns4/a.example/tcp/{n}/ws" for n in range(1, 6)]}, {}, "", "expected at most 4"),
        ({}, {"P2PNODE_API_PORT": "70000"}, "", "P2PNODE_API_PORT: expected a port"),
        ({}, {"P2PNODE_COMPUTE": "maybe"}, "", "P2PNODE_COMPUTE: expected true or false"),
        ({}, {}, 'api_port = "x"', "config.toml: api_port: expected a port"),
        ({}, {}, "aip_port = 1", "config.toml: aip_port: no such setting"),
        ({}, {}, "= 1", "config.toml: not TOML"),
        ({}, {}, 'name = "two words"', "config.toml: name: expected"),
        ({}, {}, "#" * 100_000, "over the limit"),
        ({"allow_paths": ["data"]}, {}, "", "--allow-path: expected absolute paths"),
        ({"allow_network": ["full"]}, {}, "", "--allow-network: expected bridge, host or both"),
        ({}, {"P2PNODE_ALLOW_NETWORK": "none"}, "", "P2PNODE_ALLOW_NETWORK: expected bridge, host or both"),
        ({"operators": ["me"]}, {}, "", "--operator: expected at most 16 peer ids of Ed25519 keys"),
        ({"operators": [f"/p2p/{PEER}"]}, {}, "", "--operator: expected at most 16 peer ids"),
        ({"trusted": [PEER[:-1]]}, {}, "", "--trust: expected at most 16 peer ids"),
        ({}, {"P2PNODE_OPERATORS": f"{PEER},0OIl"}, "", "P2PNODE_OPERATORS: expected at most 16 peer ids"),
        ({}, {}, 'trusted = "me"', "config.toml: trusted: expected at most 16 peer ids"),
        ({"api_host": "0.0.0.0"}, {}, "", "api_host: 0.0.0.0 can be reached from other machines"),
        ({"api_host": "::"}, {}, "", "set api_cert and api_key"),
        ({"api_host": "localhost"}, {}, "", "--api-host: expected an IP address"),
        ({}, {}, 'api_cert = "/a"', "api_cert and api_key belong together"),
        ({"api_key": "/a"}, {}, "", "api_cert and api_key belong together"),
        ({"api_key": "a"}, {}, "", "--api-key: expected an absolute path"),
        ({}, {"P2PNODE_DEPUTY": "maybe"}, "", "P2PNODE_DEPUTY: expected true or false"),
        ({"allow_registries": ["http://a"]}, {}, "", "--allow-registry: expected hosts"),
        ({"registry_logins": ["acme"]}, {}, "", "--registry-login: expected registries"),
        ({}, {"P2PNODE_ALLOW_HOSTS": "http://a"}, "", "P2PNODE_ALLOW_HOSTS: expected hosts"),
        ({}, {}, 's3_buckets = ["a/b"]', "config.toml: s3_buckets: expected names of buckets"),
        ({"on_job_end": ["tell"]}, {}, "", "--on-job-end: expected an absolute path"),
        ({}, {}, 'on_job_end = "/bin/tell -x"', "config.toml: on_job_end: expected an absolute path"),
        ({"job_end_webhooks": ["ftp://a.example"]}, {}, "", "--job-end-webhook: expected at most 8 http"),
        ({"job_end_webhooks": ["https://a.example/x#y"]}, {}, "", "--job-end-webhook: expected at most 8"),
        ({"job_end_webhooks": ["https://"]}, {}, "", "--job-end-webhook: expected at most 8"),
        ({"job_end_webhooks": ["https://a.example:99999"]}, {}, "", "--job-end-webhook: expected at most 8"),
        ({"job_end_webhooks": [f"http://a{n}.example" for n in range(9)]}, {}, "", "expected at most 8"),
        ({}, {"AWS_ENDPOINT_URL": "s3.example.com"}, "", "AWS_ENDPOINT_URL: expected a URL"),
    ],
)
def test_a_wrong_setting_is_named_with_its_source(
    tmp_path: Path, flags: dict[str, Any], environ: dict[str, str], text: str, said: str
) -> None:
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(ConfigError, match=said):
        load({"data_dir": str(tmp_path), **flags}, environ)


def test_the_example_in_the_readme_names_every_setting() -> None:
    assert sorted(EXAMPLES) == sorted(SETTINGS)


def parsed(*arguments: str) -> dict[str, Any]:
    """The flags of `serve`, as it gets them."""
    above = click.Context(program, **program.context_settings)
    return serve.make_context("serve", list(arguments), above).params


def entries(value: Any) -> list[str]:
    """A value of TOML, as the flags have it."""
    if isinstance(value, dict):
        return [f"{key}={text}" for key, text in value.items()]
    return value if isinstance(value, list) else [str(value)]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_the_same_from_every_source_and_of_its_field_s_type(
    tmp_path: Path, name: str
) -> None:
    setting, example = SETTINGS[name], EXAMPLES[name]
    there = tmp_path / "there"
    there.mkdir()
    (there / CONFIG_FILE).write_text(to_toml({name: example}))
    typed = [part for one in entries(example) for part in (setting.flag, one)]
    if not setting.kind.metavar:
        # Such a flag says one thing only.
        typed = [setting.flag] if example is setting.says else []
    environ = {variable_of(name): ",".join(entries(example))}
    beside = {variable_of(PARTNERS[name]): EXAMPLES[PARTNERS[name]]} if name in PARTNERS else {}

    from_file = load({"data_dir": str(there)}, beside)
    from_environ = load({"data_dir": str(tmp_path)}, environ | beside)
    from_flags = load({**parsed(*typed), "data_dir": str(tmp_path)}, beside)
    value = getattr(from_file, name)
    assert value == getattr(from_environ, name) == getattr(from_flags, name)
    assert msgspec.convert(value, get_type_hints(NodeConfig)[name]) == value


@pytest.mark.parametrize("name", SETTINGS)
def test_an_empty_list_is_a_list_and_no_other_setting_is_one(tmp_path: Path, name: str) -> None:
    (tmp_path / CONFIG_FILE).write_text(f"{name} = []")
    if SETTINGS[name].kind.split:
        assert not getattr(load({"data_dir": str(tmp_path)}, {}), name)
    else:
        with pytest.raises(ConfigError, match=rf"{CONFIG_FILE}: {name}: expected .*, got \[\]"):
            load({"data_dir": str(tmp_path)}, {})


def test_a_flag_without_a_value_leaves_a_setting_to_the_file_unless_it_is_given(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text("compute = false\npreempt = true\n")
    config = load({**parsed(), "data_dir": str(tmp_path)}, {})
    assert (config.compute, config.preempt, config.mdns, config.live_restore) == (False, True, True, False)


def test_a_node_of_a_topology_starts_with_every_setting_that_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_text("[[node]]\n" + to_toml(EXAMPLES))
    (data_dir,) = topology.lay_out(tmp_path, topology.read(tmp_path / "net.toml", None))
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / CONFIG_FILE).write_text(to_toml(EXAMPLES))
    placed, alone = (load({"data_dir": str(one)}, {}) for one in (data_dir, tmp_path / "alone"))
    assert all(getattr(placed, name) == getattr(alone, name) for name in SETTINGS)


def test_the_package_s_file_of_defaults_explains_every_variable_and_sets_none() -> None:
    lines = defaults.text().splitlines()
    assert all(line.startswith("#") or not line for line in lines)
    for name in SETTINGS:
        assert any(line.startswith(f"#{variable_of(name)}=") for line in lines)


def test_what_jobs_may_use_is_read_from_every_source(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text('allow_paths = ["/data", "/state:rw"]\ns3_buckets = ["*"]\n')
    environ = {"P2PNODE_ALLOW_HOSTS": "files.lan 10.0.0.1:9000"}
    config = load({"data_dir": str(tmp_path), "s3_buckets": ["results"]}, environ)
    assert config.allow_paths == ("/data", "/state:rw")
    assert config.allow_hosts == ("files.lan", "10.0.0.1:9000")
    assert config.s3_buckets == ("results",)


@pytest.mark.parametrize(
    ("flags", "environ", "text", "allowed"),
    [
        ({}, {}, "", ()),
        ({"allow_network": ["bridge,host"]}, {}, "", ("bridge", "host")),
        ({"allow_network": ["host", "Bridge"]}, {}, "", ("bridge", "host")),
        ({}, {"P2PNODE_ALLOW_NETWORK": "host"}, "", ("host",)),
        ({}, {}, 'allow_network = ["bridge"]', ("bridge",)),
    ],
)
def test_networks_that_lead_past_the_gate_are_only_allowed_by_name(
    tmp_path: Path, flags: dict[str, Any], environ: dict[str, str], text: str, allowed: tuple[str, ...]
) -> None:
    (tmp_path / CONFIG_FILE).write_text(text)
    assert load({"data_dir": str(tmp_path), **flags}, environ).allow_network == allowed


def test_registries_and_their_logins_are_read_from_every_source(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text('allow_registries = ["registry.lan", "10.0.0.1:5000"]\n')
    environ = {"P2PNODE_REGISTRY_LOGINS": "ghcr.io/acme,index.docker.io"}
    config = load({"data_dir": str(tmp_path)}, environ)
    assert config.allow_registries == ("registry.lan", "10.0.0.1:5000")
    assert config.registry_logins == ("ghcr.io/acme", "docker.io")


@pytest.mark.parametrize(
    ("address", "fits"),
    [
        ("unix:///run/docker.sock", True),
        ("tcp://127.0.0.1:2375", True),
        ("tcp://[::1]", True),
        ("tcp://192.0.2.7:2375", False),
        ("ssh://me@example.com", False),
        ("/run/docker.sock", False),
        ("unix://docker.sock", False),
    ],
)
def test_the_docker_engine_is_one_of_this_machine(tmp_path: Path, address: str, fits: bool) -> None:
    flags = {"data_dir": str(tmp_path), "docker_host": address}
    if fits:
        assert load(flags, {}).docker_host == address
    else:
        with pytest.raises(ConfigError, match="--docker-host: expected unix:///PATH"):
            load(flags, {})


def test_without_any_source_a_node_has_a_name_and_a_free_port(tmp_path: Path) -> None:
    config = load({"data_dir": str(tmp_path / "new")}, {})
    assert config.name
    assert (config.api_port, config.compute, config.mdns) == (0, True, True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1"])
def test_the_api_is_on_loopback_without_tls(tmp_path: Path, host: str) -> None:
    assert load({"data_dir": str(tmp_path)}, {}).api_host == "127.0.0.1"
    assert load({"data_dir": str(tmp_path), "api_host": host}, {}).api_host == host


def test_the_api_is_anywhere_with_tls(tmp_path: Path) -> None:
    flags = {"data_dir": str(tmp_path), "api_host": "192.0.2.7", "api_cert": "/a", "api_key": "/b"}
    assert load(flags, {}).api_host == "192.0.2.7"


def test_a_node_has_at_most_16_operators_however_often_each_is_named(tmp_path: Path) -> None:
    ids = [peer_ids.of_public_key(bytes([one]) * 32) for one in range(PEER_IDS_MAX + 1)]
    read = load({"data_dir": str(tmp_path), "operators": [*ids[:-1], ids[0]]}, {})
    assert read.operators == tuple(sorted(ids[:-1]))
    with pytest.raises(ConfigError, match="at most 16 peer ids"):
        load({"data_dir": str(tmp_path), "operators": ids}, {})
