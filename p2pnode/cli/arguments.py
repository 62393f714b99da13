"""Every command, its arguments and its help, and by name the function that runs it.

The parser names its handlers ("module:function" below `p2pnode.cli`) and imports none of them.
argparse and not click: importing click alone takes four times as long as `python -c pass`.
"""

from __future__ import annotations

import argparse

EXIT_STATUSES = """\
exit status:
  0  done; for a job: all its programs ran and exited 0
  2  wrong usage, or a bad job file
  3  no suitable peer
  4  a program exited non-zero
  5  failed, stopped or timed out
  6  the node cannot be reached

environment:
  P2PNODE_DATA_DIR  the data directory of the node to use
  P2PNODE_API       its API (http://127.0.0.1:PORT), where it is not the one that the data directory names
  NO_COLOR          no colours
"""


class _Commands:
    """A parser's commands; `add` gives the new one's parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")

    def add(self, name: str, handler: str, help: str, more: str = "") -> argparse.ArgumentParser:
        parser = self._commands.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}.{' ' + more if more else ''}",
            allow_abbrev=False,
        )
        parser.set_defaults(handler=handler)
        return parser

    def group(self, name: str, help: str) -> _Commands:
        return _Commands(self._commands.add_parser(name, help=help, description=help, allow_abbrev=False))


def make_parser() -> argparse.ArgumentParser:
    """The whole command line. A parsed one has `handler`, and the arguments by name."""
    parser = argparse.ArgumentParser(
        prog="p2pnode",
        description="Runs containers and WASM programs on a network of peers, with no control plane.",
        epilog=EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = _Commands(parser)
    _add_serve(commands)
    _add_job_commands(commands)
    _add_node_commands(commands)
    _add_ipfs_commands(commands)
    _add_devnet_commands(commands)
    return parser


class _Version(argparse.Action):
    """Prints the installed version, which takes an import that nothing else needs."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from importlib.metadata import version

        parser.exit(message=f"p2pnode {version('p2pnode')}\n")


def _add_serve(commands: _Commands) -> None:
    serve = commands.add(
        "serve",
        "serve:serve",
        "run a node until it is interrupted",
        "Settings come from config.toml in the data directory, P2PNODE_... in the environment, and flags; "
        "the later wins.",
    )
    serve.add_argument("--name", help="a name for people (default: the host's)")
    serve.add_argument("--data-dir", metavar="DIR", help="where it keeps its identity, jobs and blocks")
    _add_repeatable(serve, "--listen", "ADDR", "a multiaddr to listen at")
    _add_repeatable(serve, "--peer", "ADDR", "a node to join through")
    serve.add_argument("--api-port", metavar="PORT", help="the port of the local API (default: a free one)")
    _add_repeatable(serve, "--label", "K=V", "a label for constraints")
    serve.add_argument("--no-compute", action="store_true", help="run no jobs for others")
    serve.add_argument("--no-mdns", action="store_true", help="neither find peers on the LAN nor be found")
    serve.add_argument("--log-level", metavar="LEVEL", help="error, warning (default), info or debug")


def _add_job_commands(commands: _Commands) -> None:
    submit = commands.add(
        "submit",
        "submit:submit",
        "submit a job and wait for its results",
        "Prints the CID of each result. Without a running node it starts one for as long as the job goes on.",
    )
    submit.add_argument("spec", metavar="SPEC", help="a job file; - reads standard input")
    submit.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="wait until the job has ended (default), or print its id and return",
    )
    submit.add_argument("--follow", action="store_true", help="show what the programs write, on stderr")
    _add_json(submit)
    _add_peer(submit)
    get = commands.add("get", "results:get", "fetch a job's results, or any CID, and verify every block")
    get.add_argument("what", metavar="JOB|CID", help="a job's id, or a unique prefix of it, or a CID")
    get.add_argument("-o", "--output", metavar="DIR", help="a directory to make (default: named by JOB|CID)")
    _add_peer(get)
    validate = commands.add("validate", "submit:validate", "check a job file and send nothing")
    validate.add_argument("spec", metavar="SPEC", help="a job file; - reads standard input")

    job = commands.group("job", "look at jobs, and stop them")
    _add_json(job.add("list", "jobs:list_jobs", "list the jobs of this node, newest first"))
    describe = job.add("describe", "jobs:describe", "show a job, its executions and its history")
    _add_job_id(describe)
    _add_json(describe)
    logs = job.add("logs", "jobs:logs", "show what a job's programs wrote")
    _add_job_id(logs)
    logs.add_argument("-e", "--execution", metavar="ID", help="of this execution only")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the job has ended")
    logs.add_argument("--stream", choices=("stdout", "stderr", "both"), default="both")
    stop = job.add("stop", "jobs:stop", "stop a job")
    _add_job_id(stop)
    stop.add_argument("--reason", default="stopped by its owner", help="kept with the job")


def _add_node_commands(commands: _Commands) -> None:
    node = commands.group("node", "look at the network")
    _add_json(node.add("list", "nodes:list_nodes", "list the nodes that this one knows"))
    _add_json(commands.add("id", "nodes:show_id", "show who this node is and where it listens"))


def _add_ipfs_commands(commands: _Commands) -> None:
    ipfs = commands.group("ipfs", "put files into the node's block store, and fetch them")
    add = ipfs.add("add", "results:ipfs_add", "add a file or directory and print its CID")
    add.add_argument("path", metavar="PATH")
    add.add_argument("--only-hash", action="store_true", help="store nothing; needs no node")
    get = ipfs.add("get", "results:ipfs_get", "fetch a CID and verify every block")
    get.add_argument("what", metavar="CID")
    get.add_argument("-o", "--output", metavar="PATH", help="where to put it (default: named by the CID)")
    _add_peer(get)


def _add_devnet_commands(commands: _Commands) -> None:
    devnet = commands.group("devnet", "run a network of nodes on this machine")
    up = devnet.add("up", "devnet:up", "start the nodes and show them until interrupted")
    up.add_argument("--peers", metavar="N", type=int, help="how many (default: 3, or all of the topology)")
    up.add_argument("--topology", metavar="FILE", help="a TOML file that names and labels the nodes")
    up.add_argument("--detach", action="store_true", help="return when all are ready, and leave them running")
    status = devnet.add("status", "devnet:status", "list the nodes")
    _add_json(status)
    env = devnet.add("env", "devnet:env", "print shell exports with which commands use its first node")
    down = devnet.add("down", "devnet:down", "end all the nodes")
    for parser in (up, status, env, down):
        parser.add_argument("--dir", metavar="DIR", help="where the network lives (default: one per user)")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_peer(parser: argparse.ArgumentParser) -> None:
    _add_repeatable(parser, "--peer", "ADDR", "a node to connect to first")


def _add_repeatable(parser: argparse.ArgumentParser, flag: str, metavar: str, help: str) -> None:
    parser.add_argument(
        flag, metavar=metavar, action="append", default=[], help=f"{help}; may be given several times"
    )


def _add_job_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="a job's id, or a unique prefix of it")
