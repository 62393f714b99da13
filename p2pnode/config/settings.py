"""The settings of a node, each declared once: here.

Of a field of `NodeConfig` are made its line in config.toml, its variable, its flag and what the help says.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from p2pnode.config import DEFAULT_ORIGIN, SettingOrigin, kinds
from p2pnode.config.kinds import SettingKind
from p2pnode.core.link.port_mapping import UpnpMode
from p2pnode.core.link.reach import ReachMode, RelayMode
from p2pnode.core.values import units
from p2pnode.core.values.finding import DhtMode, ProvideMode
from p2pnode.core.wire.spec import STOP_GRACE_S_MAX, NetworkType

# A result that is ready on a Friday is still there for the next week's end.
RESULT_RETENTION_H = 7 * 24
LOOPBACK = "127.0.0.1"
ALL_IP4, ALL_IP6 = "/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"


@dataclass(frozen=True, slots=True)
class Setting:
    """How a setting is given and explained; its name is the field's."""

    flag: str
    kind: SettingKind
    # One sentence. That a flag may be repeated is added to it.
    help: str
    # The default, in the help.
    default: str = ""

    @property
    def says(self) -> bool:
        """The value that a flag without a value sets."""
        return not self.flag.startswith("--no-")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """One node's settings."""

    data_dir: Path
    # By name; a default is in none.
    origins: Mapping[str, SettingOrigin] = field(default_factory=dict, compare=False)
    # Need not be unique.
    name: Annotated[str, Setting("--name", kinds.NAME, "A name for people.", "the host's")] = field(
        default_factory=lambda: _host_name()
    )
    # Port 0: a free one, the same for all.
    listen: Annotated[
        tuple[str, ...],
        Setting(
            "--listen",
            kinds.LISTEN,
            "A multiaddr to listen at.",
            f"{ALL_IP4}, and {ALL_IP6} where there is IPv6",
        ),
    ] = field(default_factory=lambda: _default_listen())
    announce: Annotated[
        tuple[str, ...],
        Setting("--announce", kinds.ANNOUNCE, "One more address at which others dial it, as of a proxy.", ""),
    ] = ()
    # With /p2p/PEER, or names in DNS.
    peers: Annotated[
        tuple[str, ...], Setting("--peer", kinds.PEERS, "A node to join through, or /dnsaddr/NAME for some.")
    ] = ()
    # "": none.
    peers_file: Annotated[
        str, Setting("--peers-file", kinds.FILE, "More of them, one a line, read again when it changes.")
    ] = ""
    # One that is no loopback needs a certificate (loading).
    api_host: Annotated[
        str,
        Setting("--api-host", kinds.IP_ADDRESS, "The IP address of the API; others' need TLS.", LOOPBACK),
    ] = LOOPBACK
    # "": no TLS.
    api_cert: Annotated[
        str, Setting("--api-cert", kinds.FILE, "The API's certificate or chain, in PEM: it speaks TLS.")
    ] = ""
    api_key: Annotated[
        str, Setting("--api-key", kinds.FILE, "The key of the certificate, in PEM without a passphrase.")
    ] = ""
    # Port 0: a free one.
    api_port: Annotated[int, Setting("--api-port", kinds.PORT, "The port of the API.", "a free one")] = 0
    labels: Annotated[Mapping[str, str], Setting("--label", kinds.LABELS, "A label for constraints.")] = (
        field(default_factory=dict)
    )
    compute: Annotated[bool, Setting("--no-compute", kinds.FLAG, "Run no jobs for others.")] = True
    deputy: Annotated[bool, Setting("--no-deputy", kinds.FLAG, "Look after no jobs of others.")] = True
    # With `trusted`: the peers that may look after this node's jobs; anybody where neither names one.
    operators: Annotated[
        tuple[str, ...],
        Setting(
            "--operator",
            kinds.PEER_IDS,
            "A node whose users may stop and change this node's jobs; trusted as by --trust.",
        ),
    ] = ()
    trusted: Annotated[
        tuple[str, ...],
        Setting(
            "--trust",
            kinds.PEER_IDS,
            "A peer to entrust this node's jobs to, and where one is named no others.",
        ),
    ] = ()
    # "": policy.toml in the data directory, if it is there (config.policy).
    policy: Annotated[
        str,
        Setting(
            "--policy",
            kinds.FILE,
            "The rules on whose jobs are taken, and where this node's go.",
            "policy.toml in the data directory",
        ),
    ] = ""
    # For this node's own jobs: of anybody.
    preempt: Annotated[
        bool, Setting("--preempt", kinds.FLAG, "For want of room end less urgent work of the same owner.")
    ] = False
    # Seconds from a program's stop signal to its kill.
    max_stop_grace: Annotated[
        int,
        Setting(
            "--max-stop-grace", kinds.GRACE, "The longest StopGracePeriod given.", f"{STOP_GRACE_S_MAX}s"
        ),
    ] = STOP_GRACE_S_MAX
    live_restore: Annotated[
        bool,
        Setting(
            "--live-restore", kinds.FLAG, "On SIGTERM leave containers running, for the next start to adopt."
        ),
    ] = False
    mdns: Annotated[bool, Setting("--no-mdns", kinds.FLAG, "Neither find peers on the LAN nor be found.")] = (
        True
    )
    dht: Annotated[
        DhtMode,
        Setting(
            "--dht",
            kinds.DHT,
            "Look in the DHT for peers and content unknown here (client), and answer others (server).",
            "off",
        ),
    ] = DhtMode.OFF
    # (): the nodes that this one joins through, and its neighbours.
    dht_peers: Annotated[
        tuple[str, ...],
        Setting(
            "--dht-peer",
            kinds.DHT_PEERS,
            "A peer of the DHT to begin with.",
            "the nodes to join through",
        ),
    ] = ()
    provide: Annotated[
        ProvideMode,
        Setting(
            "--provide",
            kinds.PROVIDE,
            "Tell the DHT which results are here, or all that is pinned, for any IPFS node to find.",
            "off",
        ),
    ] = ProvideMode.OFF
    reach: Annotated[
        ReachMode,
        Setting(
            "--reach",
            kinds.REACH,
            "Be dialled (direct), or be reached by relays; auto: by relays too, where dialling it fails.",
            "auto",
        ),
    ] = ReachMode.AUTO
    relay: Annotated[
        RelayMode,
        Setting(
            "--relay",
            kinds.RELAY,
            "Be a relay of nodes that cannot be dialled; auto: unless it lives by relays.",
            "auto",
        ),
    ] = RelayMode.AUTO
    upnp: Annotated[
        UpnpMode,
        Setting(
            "--upnp",
            kinds.UPNP,
            "Have the router pass the port on to this node (UPnP); auto: where both have private addresses.",
            "auto",
        ),
    ] = UpnpMode.AUTO
    # As DOCKER_HOST names it.
    docker_host: Annotated[
        str,
        Setting(
            "--docker-host",
            kinds.DOCKER_HOST,
            "The Docker engine, such as unix:///run/docker.sock.",
            "the docker command's, or Podman's",
        ),
    ] = ""
    allow_paths: Annotated[
        tuple[str, ...],
        Setting(
            "--allow-path", kinds.PATHS, "A directory or file of this host that jobs may read, or write."
        ),
    ] = ()
    allow_env: Annotated[
        tuple[str, ...],
        Setting(
            "--allow-env",
            kinds.VARIABLES,
            "A variable of this environment that jobs may have, or names with *.",
        ),
    ] = ()
    # Their own users may anyway, on their own node and into their own jobs (core.worker.entering).
    allow_exec: Annotated[
        bool,
        Setting(
            "--allow-exec",
            kinds.FLAG,
            "Let those who control a job begin programs in its executions here, such as a shell.",
        ),
    ] = False
    # In S3 endpoints as well.
    allow_hosts: Annotated[
        tuple[str, ...],
        Setting("--allow-host", kinds.HOSTS, "A host on a private network that jobs' URLs may name."),
    ] = ()
    allow_network: Annotated[
        tuple[NetworkType, ...],
        Setting(
            "--allow-network",
            kinds.NETWORKS,
            "A network besides none and http that jobs may have: bridge, host.",
        ),
    ] = ()
    allow_capabilities: Annotated[
        tuple[str, ...],
        Setting(
            "--allow-capability",
            kinds.CAPABILITIES,
            "A Linux capability that jobs may ask for, such as NET_RAW, or none: no usual ones.",
        ),
    ] = ()
    allow_registries: Annotated[
        tuple[str, ...],
        Setting(
            "--allow-registry",
            kinds.REGISTRIES,
            "A registry, besides the well-known public ones, that images may come from.",
        ),
    ] = ()
    registry_logins: Annotated[
        tuple[str, ...],
        Setting(
            "--registry-login",
            kinds.LOGINS,
            "A registry, or a part of one, asked with this user's Docker login.",
        ),
    ] = ()
    s3_buckets: Annotated[
        tuple[str, ...],
        Setting(
            "--s3-bucket",
            kinds.BUCKETS,
            "A bucket that jobs may use with the AWS credentials in this environment, or * for all.",
        ),
    ] = ()
    # How the fence around their containers differs from that around others (values.images).
    image_rules: Annotated[
        tuple[str, ...],
        Setting(
            "--image-rule",
            kinds.IMAGE_RULES,
            "What containers of an image may, or need not: capabilities, new-privileges, read-only-root,"
            " writable-root.",
        ),
    ] = ()
    # Bytes; None: a share of its disk (ipfs.result_store).
    store_quota: Annotated[
        int | None, Setting("--store-quota", kinds.SIZE, "What the block store may take.", "20% of the disk")
    ] = None
    # Seconds.
    result_retention: Annotated[
        int,
        Setting(
            "--result-retention", kinds.RETENTION, "How long results are kept.", f"{RESULT_RETENTION_H}h"
        ),
    ] = RESULT_RETENTION_H * 3600
    # "": none.
    ipfs_api: Annotated[
        str,
        Setting("--ipfs-api", kinds.IPFS_API, "A Kubo daemon that gets results too and is asked for inputs."),
    ] = ""
    # The words of a program, which no shell reads; (): none.
    on_job_end: Annotated[
        tuple[str, ...],
        Setting(
            "--on-job-end",
            kinds.COMMAND,
            "A command, word by word, that is given each ended job of this node's users, as JSON.",
        ),
    ] = ()
    job_end_webhooks: Annotated[
        tuple[str, ...],
        Setting("--job-end-webhook", kinds.WEBHOOKS, "A URL that each such job is posted to, signed."),
    ] = ()
    log_level: Annotated[
        str, Setting("--log-level", kinds.LOG_LEVEL, "error, warning, info or debug.", "warning")
    ] = "warning"
    log_format: Annotated[
        str, Setting("--log-format", kinds.LOG_FORMAT, "text, or json: an object a line.", "text")
    ] = "text"


def _host_name() -> str:
    """The host's name as far as it is fit for a node's."""
    fit = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname().partition(".")[0])[: kinds.NAME_LENGTH_MAX]
    return fit.strip("-") or "node"


def _default_listen() -> tuple[str, ...]:
    """All addresses of this machine."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return (ALL_IP4,)
    return ALL_IP4, ALL_IP6


# By name, in the order of the help. All but the data directory, which is where the file is.
SETTINGS: Mapping[str, Setting] = {
    name: setting
    for name, hint in get_type_hints(NodeConfig, include_extras=True).items()
    for setting in getattr(hint, "__metadata__", ())
}


@dataclass(frozen=True, slots=True)
class StandingSetting:
    """A setting of one node as it stands."""

    name: str
    # As config.toml has it, but for secrets; None: the node finds it by itself.
    value: object
    origin: SettingOrigin

    def plain(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return {
            "name": self.name,
            "value": self.value,
            "origin": self.origin.source.value,
            "where": self.origin.where,
        }


def standing(config: NodeConfig) -> list[StandingSetting]:
    """All settings of a node, the data directory first; what may be a secret in them is hidden."""
    pairs = [("data_dir", str(config.data_dir))] + [
        (name, shown_value(name, in_file(name, getattr(config, name)))) for name in SETTINGS
    ]
    return [StandingSetting(name, value, config.origins.get(name, DEFAULT_ORIGIN)) for name, value in pairs]


def shown_value(name: str, value: object) -> object:
    """A value as config.toml has it, but for what may be a secret in it."""
    shown = SETTINGS[name].kind.shown
    return list(map(shown, value)) if shown is not None and isinstance(value, list) else value


def in_file(name: str, value: object) -> object:
    """A value as config.toml has it."""
    kind = SETTINGS[name].kind
    if isinstance(value, int) and kind is kinds.SIZE:
        return units.format_bytes(value)
    if isinstance(value, int) and kind in (kinds.GRACE, kinds.RETENTION):
        return units.format_duration(value)
    if isinstance(value, tuple):
        return [str(one) for one in value]
    if isinstance(value, Mapping):
        return dict(value)
    return value
