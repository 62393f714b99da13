"""`serve`: settings read, and a node run in this process."""

from __future__ import annotations

import argparse

from p2pnode import config


def serve(arguments: argparse.Namespace) -> int:
    """Run a node until it is interrupted; raises `ConfigError`."""
    flags = {
        "name": arguments.name,
        "data_dir": arguments.data_dir,
        "listen": arguments.listen,
        "peers": arguments.peer,
        "api_port": arguments.api_port,
        "labels": arguments.label,
        # None leaves it to the file and the environment.
        "compute": False if arguments.no_compute else None,
        "mdns": False if arguments.no_mdns else None,
        "log_level": arguments.log_level,
    }
    settings = config.load(flags)
    # Last: this imports the network, which takes half a second.
    from p2pnode import serving

    return serving.serve(settings)
