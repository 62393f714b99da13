"""`serve`: settings read, and a node run in this process."""

from __future__ import annotations

import click

from p2pnode import config


@click.command()
@click.option("--name", help="A name for people.  [default: the host's]")
@click.option(
    "--data-dir", metavar="DIR", type=click.Path(), help="Where it keeps its identity, jobs and blocks."
)
@click.option("--listen", metavar="ADDR", multiple=True, help="A multiaddr to listen at; may be repeated.")
@click.option(
    "--peer", "peers", metavar="ADDR", multiple=True, help="A node to join through; may be repeated."
)
@click.option("--api-port", metavar="PORT", help="The port of the local API.  [default: a free one]")
@click.option(
    "--label", "labels", metavar="K=V", multiple=True, help="A label for constraints; may be repeated."
)
@click.option("--no-compute", is_flag=True, help="Run no jobs for others.")
@click.option("--preempt", is_flag=True, help="For want of room end less urgent work of the same owner.")
@click.option(
    "--max-stop-grace",
    metavar="TIME",
    help="The longest StopGracePeriod given.  [default: 60s]",
)
@click.option(
    "--live-restore", is_flag=True, help="On SIGTERM leave containers running, for the next start to adopt."
)
@click.option("--no-mdns", is_flag=True, help="Neither find peers on the LAN nor be found.")
@click.option(
    "--docker-host",
    metavar="ADDR",
    help="The Docker engine, such as unix:///run/docker.sock.  [default: the docker command's, or Podman's]",
)
@click.option(
    "--allow-path",
    "allow_paths",
    metavar="PATH[:rw]",
    multiple=True,
    help="A directory or file of this host that jobs may read, or write; may be repeated.",
)
@click.option(
    "--allow-env",
    "allow_env",
    metavar="NAME",
    multiple=True,
    help="A variable of this environment that jobs may have, or names with *; may be repeated.",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    metavar="HOST[:PORT]",
    multiple=True,
    help="A host on a private network that jobs' URLs may name; may be repeated.",
)
@click.option(
    "--allow-network",
    "allow_network",
    metavar="TYPE",
    multiple=True,
    help="A network besides none and http that jobs may have: bridge, host; may be repeated.",
)
@click.option(
    "--allow-capability",
    "allow_capabilities",
    metavar="NAME",
    multiple=True,
    help="A Linux capability that jobs may ask for, such as NET_RAW; none: no usual ones. Repeatable.",
)
@click.option(
    "--allow-registry",
    "allow_registries",
    metavar="HOST[:PORT]",
    multiple=True,
    help="A registry, besides the well-known public ones, that images may come from; may be repeated.",
)
@click.option(
    "--registry-login",
    "registry_logins",
    metavar="HOST[/PATH]",
    multiple=True,
    help="A registry, or a part of one, asked with this user's Docker login; may be repeated.",
)
@click.option(
    "--s3-bucket",
    "s3_buckets",
    metavar="BUCKET",
    multiple=True,
    help="A bucket that jobs may use with the AWS credentials in this environment; * for all.",
)
@click.option(
    "--image-rule",
    "image_rules",
    metavar="IMAGE=WORD",
    multiple=True,
    help="What containers of an image may, or need not: capabilities, new-privileges, read-only-root,"
    " writable-root; may be repeated.",
)
@click.option(
    "--store-quota", metavar="SIZE", help="What the block store may take.  [default: 20% of the disk]"
)
@click.option("--result-retention", metavar="TIME", help="How long results are kept.  [default: 168h]")
@click.option(
    "--ipfs-api", metavar="ADDR", help="A Kubo daemon that gets results too and is asked for inputs."
)
@click.option("--log-level", metavar="LEVEL", help="error, warning, info or debug.  [default: warning]")
def serve(
    name: str | None,
    data_dir: str | None,
    listen: tuple[str, ...],
    peers: tuple[str, ...],
    api_port: str | None,
    labels: tuple[str, ...],
    no_compute: bool,
    preempt: bool,
    max_stop_grace: str | None,
    live_restore: bool,
    no_mdns: bool,
    docker_host: str | None,
    allow_paths: tuple[str, ...],
    allow_env: tuple[str, ...],
    allow_hosts: tuple[str, ...],
    allow_network: tuple[str, ...],
    allow_capabilities: tuple[str, ...],
    allow_registries: tuple[str, ...],
    registry_logins: tuple[str, ...],
    s3_buckets: tuple[str, ...],
    image_rules: tuple[str, ...],
    store_quota: str | None,
    result_retention: str | None,
    ipfs_api: str | None,
    log_level: str | None,
) -> int:
    """Run a node until it is interrupted.

    Settings come from config.toml in the data directory, P2PNODE_... in the environment, and flags; the
    later wins.
    """
    flags = {
        "name": name,
        "data_dir": data_dir,
        "listen": list(listen),
        "peers": list(peers),
        "api_port": api_port,
        "labels": list(labels),
        # None leaves it to the file and the environment.
        "compute": False if no_compute else None,
        "preempt": True if preempt else None,
        "max_stop_grace": max_stop_grace,
        "live_restore": True if live_restore else None,
        "mdns": False if no_mdns else None,
        "docker_host": docker_host,
        "allow_paths": list(allow_paths),
        "allow_env": list(allow_env),
        "allow_hosts": list(allow_hosts),
        "allow_network": list(allow_network),
        "allow_capabilities": list(allow_capabilities),
        "allow_registries": list(allow_registries),
        "registry_logins": list(registry_logins),
        "s3_buckets": list(s3_buckets),
        "image_rules": list(image_rules),
        "store_quota": store_quota,
        "result_retention": result_retention,
        "ipfs_api": ipfs_api,
        "log_level": log_level,
    }
    settings = config.load(flags)
    # Last: this imports the network, which takes half a second.
    from p2pnode import serving

    return serving.serve(settings)
