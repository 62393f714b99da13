"""The command `p2pnode` with all its commands, and what stops one as a message and an exit status."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence

import click

from p2pnode.api.shapes import Code, ServiceError
from p2pnode.cli import familiar, options, standard
from p2pnode.cli.groups import Lazy, LazyGroup
from p2pnode.cli.output import Styled, answer, close_stdout, say, show_crash
from p2pnode.cli.status import CommandError, Status
from p2pnode.client.errors import ClientError, NodeUnreachable
from p2pnode.config import PROFILE_VARIABLE, ConfigError

PROGRAM = "p2pnode"
# Help is easier to read in lines that are not too long, however wide the terminal.
HELP_WIDTH = 100

_STATUS_OF_CODE = {
    Code.BAD_REQUEST: Status.USAGE,
    Code.BAD_JOB: Status.USAGE,
    Code.AMBIGUOUS: Status.USAGE,
    Code.UNAUTHORIZED: Status.UNREACHABLE,
    Code.UNAVAILABLE: Status.UNREACHABLE,
}

SECTIONS = {
    "Jobs": {
        "submit": Lazy("Submit a job and wait for its results.", "submit:submit"),
        "get": Lazy("Fetch a job's results, or any CID.", "get:get"),
        "job": Lazy("Look at jobs, rerun and stop them.", "jobs:job"),
        "validate": Lazy("Check a job file and send nothing.", "checking:validate"),
        "docker": Lazy("Run a container as a job that is made of flags.", "runs:docker"),
        "wasm": Lazy("Run a WASM module as a job that is made of flags.", "runs:wasm"),
        "plan": Lazy("Show who would be asked to run a job, and why not the others.", "checking:plan"),
        "spec": Lazy("Print the JSON Schema of job files.", "checking:spec"),
    },
    "Nodes": {
        "serve": Lazy("Run a node until it is interrupted.", "serve:serve"),
        "id": Lazy("Show who this node is and where it listens.", "nodes:show_id"),
        "node": Lazy("Look at the network, and take this node out of it.", "nodes:node"),
        "network": Lazy("Make a private network, and invite others to it.", "network:network"),
        "join": Lazy("Join a private network by a token.", "network:join"),
        "top": Lazy("Watch the network and its jobs, live.", "top.command:top"),
        "ipfs": Lazy("Put files into the node's block store, and fetch them.", "ipfs:ipfs"),
        "config": Lazy("Look at settings and change them.", "config:config"),
        "policy": Lazy("Look at whose jobs this node takes, and try one.", "policy:policy"),
        "doctor": Lazy("Check this machine and its node.", "doctor:doctor"),
        "token": Lazy("Let programs and people use this node's API.", "tokens:token"),
        "dashboard": Lazy("Open the node's page in a browser.", "dashboard:dashboard"),
        "devnet": Lazy("Run a network of nodes on this machine.", "devnet:devnet"),
    },
    "Shell": {
        "completion": Lazy("Print a script that completes commands in a shell.", "completion:completion"),
    },
}

EPILOG = """\
\b
Exit status:
  0  done; for a job: all its programs ran and exited 0
  1  doctor found something that fails, or serve could not start
  2  wrong usage, or a bad job file
  3  no suitable peer
  4  a program exited non-zero
  5  failed, stopped or timed out
  6  the node cannot be reached

\b
Environment:
  P2PNODE_DATA_DIR  the data directory of the node to use
  P2PNODE_PROFILE   the profile of the node to use, as --profile
  P2PNODE_API       its API (http://127.0.0.1:PORT), where it is not the one
                    that the data directory names
  P2PNODE_TOKEN     the API's token, where it is not the data directory's
  P2PNODE_API_CA    a PEM file with the authorities to trust where P2PNODE_API
                    begins with https
  NO_COLOR          no colours
"""


class _Program(LazyGroup):
    def invoke(self, ctx: click.Context) -> int:
        """Run the command that was named; gives the exit status.

        What stops it is caught here, as click has exit statuses of its own for interrupts and closed pipes.
        """
        try:
            return int(super().invoke(ctx))
        except CommandError as error:
            return _fail(error.status, error.message, *error.hints)
        except ConfigError as error:
            return _fail(Status.USAGE, str(error))
        except NodeUnreachable as error:
            return _fail(Status.UNREACHABLE, str(error), *_which_node())
        except ServiceError as error:
            return _fail(_STATUS_OF_CODE.get(error.code, Status.FAILED), error.message)
        except ClientError as error:
            return _fail(Status.FAILED, str(error))
        except KeyboardInterrupt:
            return Status.INTERRUPTED
        except BrokenPipeError:
            close_stdout()
            return Status.PIPE_CLOSED


def _show_version(ctx: click.Context, option: click.Parameter, asked_for: bool) -> None:
    if asked_for and not ctx.resilient_parsing:
        from p2pnode import version

        for line in version.text().splitlines():
            answer(line)
        ctx.exit()


program = click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)(
    _Program(
        name=PROGRAM,
        sections=SECTIONS,
        help="Runs containers and WASM programs on a network of peers, with no control plane.",
        epilog=EPILOG,
        context_settings={
            "help_option_names": ["-h", "--help"],
            "max_content_width": HELP_WIDTH,
            "show_default": True,
        },
    )
)


program.params.append(options.profile())


def run(arguments: Sequence[str]) -> int:
    """Run a command line with click; gives the exit status."""
    standard.open_closed()
    sys.excepthook = show_crash
    threading.excepthook = lambda end: show_crash(
        end.exc_type, end.exc_value or end.exc_type(), end.exc_traceback
    )
    try:
        return int(program.main(list(arguments), prog_name=PROGRAM, standalone_mode=False))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Status.USAGE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else PROGRAM
        usage = error.ctx.get_usage().splitlines() if error.ctx else ()
        # Choices are a list of lines.
        message = " ".join(error.format_message().split("\n\t"))
        if isinstance(error, click.NoSuchOption) and error.ctx:
            known = [flag for one in error.ctx.command.params for flag in (*one.opts, *one.secondary_opts)]
            if hint := familiar.option_hint(error.option_name, known):
                message = f"No such option '{error.option_name}': {hint}."
        return _fail(Status.USAGE, message, *usage, f"Try '{where} --help' for help.")


def front_page() -> str:
    """The help of the whole program, as help.txt has it for a start without click."""
    with program.make_context(PROGRAM, [], terminal_width=80, resilient_parsing=True) as ctx:
        return program.get_help(ctx) + "\n"


def _which_node() -> tuple[str, ...]:
    """Where a command's node comes from, or could."""
    if profile := os.environ.get(PROFILE_VARIABLE):
        return (f"for the profile {profile}: p2pnode --profile {profile} serve",)
    if os.environ.get("P2PNODE_API"):
        return ("P2PNODE_API names that node: start it again, or unset the variable",)
    from p2pnode.cli import devnet_nodes

    return devnet_nodes.hints()


def _fail(status: Status, message: str, *hints: str) -> int:
    say(Styled("error:", "red"), " ", message)
    for hint in hints:
        say(hint)
    return status
