"""Runs a parsed command and turns what stops it into a message and an exit status."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from p2pnode.api.client import NodeUnreachable
from p2pnode.api.service import Code, ServiceError
from p2pnode.cli.output import say, style
from p2pnode.cli.status import CommandError, Status
from p2pnode.config import ConfigError

_STATUS_OF_CODE = {
    Code.BAD_REQUEST: Status.USAGE,
    Code.BAD_JOB: Status.USAGE,
    Code.AMBIGUOUS: Status.USAGE,
    Code.UNAUTHORIZED: Status.UNREACHABLE,
    Code.UNAVAILABLE: Status.UNREACHABLE,
}


def dispatch(arguments: argparse.Namespace) -> int:
    """Call the command's handler; gives the exit status."""
    module, _, function = arguments.handler.partition(":")
    handler = getattr(importlib.import_module(f"p2pnode.cli.{module}"), function)
    try:
        return int(handler(arguments))
    except CommandError as error:
        return _fail(error.status, error.message, error.hint)
    except ConfigError as error:
        return _fail(Status.USAGE, str(error))
    except NodeUnreachable as error:
        return _fail(Status.UNREACHABLE, str(error))
    except ServiceError as error:
        return _fail(_STATUS_OF_CODE.get(error.code, Status.FAILED), error.message)
    except KeyboardInterrupt:
        return Status.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python must not find that out again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Status.PIPE_CLOSED


def _fail(status: Status, message: str, hint: str = "") -> int:
    say(f"{style('error:', 'red', sys.stderr)} {message}")
    if hint:
        say(hint)
    return status
