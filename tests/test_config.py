"""Settings of a node: which source wins, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from p2pnode.config import CONFIG_FILE, ConfigError, load

PEER = "12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu"


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
        ({"labels": ["zone"]}, {}, "", "--label: expected"),
        ({"peers": ["1.2.3.4"]}, {}, "", "--peer: expected multiaddrs"),
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
        ({"allow_registries": ["http://a"]}, {}, "", "--allow-registry: expected hosts"),
        ({"registry_logins": ["acme"]}, {}, "", "--registry-login: expected registries"),
        ({}, {"P2PNODE_ALLOW_HOSTS": "http://a"}, "", "P2PNODE_ALLOW_HOSTS: expected hosts"),
        ({}, {}, 's3_buckets = ["a/b"]', "config.toml: s3_buckets: expected names of buckets"),
        ({}, {"AWS_ENDPOINT_URL": "s3.example.com"}, "", "AWS_ENDPOINT_URL: expected a URL"),
    ],
)
def test_a_wrong_setting_is_named_with_its_source(
    tmp_path: Path, flags: dict[str, Any], environ: dict[str, str], text: str, said: str
) -> None:
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(ConfigError, match=said):
        load({"data_dir": str(tmp_path), **flags}, environ)


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
