"""Entry point of the command `p2pnode`.

Importing click takes about four times as long as `python -c pass`, so what asks for the front
page of the help alone gets it from a file, which a test holds to what click would print.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

# Click looks for this when a shell asks it to complete a line; the line's words come with it.
COMPLETE_VARIABLE = "_P2PNODE_COMPLETE"
HELP_FILE = os.path.join(os.path.dirname(__file__), "help.txt")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; gives the exit status (`cli.status.Status`)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if problem := _no_text(arguments):
        sys.stderr.write(f"error: {problem}\n")
        return 2
    if arguments in ([], ["-h"], ["--help"]) and COMPLETE_VARIABLE not in os.environ:
        return _front_page(asked_for=bool(arguments))
    # Looking for garbage among what is imported took a sixth of a command's time; `groups` turns it on again.
    gc.disable()
    try:
        from p2pnode.cli.app import run

        return run(arguments)
    finally:
        gc.enable()


def _no_text(arguments: Sequence[str]) -> str | None:
    """Return the fault where a word or a setting is not in the encoding of this terminal.

    Python keeps such bytes as lone surrogates, which fail wherever they are written or sent.
    """
    settings = {name: value for name, value in os.environ.items() if name.startswith("P2PNODE_")}
    told = {f"the argument {number}": word for number, word in enumerate(arguments, start=1)}
    for what, word in (told | settings).items():
        try:
            word.encode()
        except UnicodeEncodeError:
            shown = repr(os.fsencode(word))[1:]
            return f"{what} ({shown}) is not valid {sys.getfilesystemencoding().upper()} text"
    return None


def _front_page(asked_for: bool) -> int:
    """Statuses are numbers here: `enum` alone would take as long again."""
    with open(HELP_FILE, encoding="utf-8") as file:
        text = file.read()
    try:
        print(text, end="", file=sys.stdout if asked_for else sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0 if asked_for else 2
