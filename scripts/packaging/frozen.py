"""Entry point of the program that PyInstaller makes: `p2pnode`, or `-P -m MODULE` for its own processes.

The code starts `sys.executable -m p2pnode...` for nodes and WASM workers; here that is this program itself.
"""

from __future__ import annotations

import os
import runpy
import sys

from p2pnode.cli.main import main


def run() -> int:
    # PyInstaller puts its own libraries before the system's; docker, ip and cp must get the system's.
    before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    if before is None:
        os.environ.pop("LD_LIBRARY_PATH", None)
    else:
        os.environ["LD_LIBRARY_PATH"] = before
    # A process of its own, which needs those libraries itself, is to begin as this one did.
    os.environ["PYINSTALLER_RESET_ENVIRONMENT"] = "1"
    words = sys.argv[1:]
    if words[:1] == ["-P"]:
        words = words[1:]
    if words[:1] != ["-m"] or not words[1:2] or words[1].partition(".")[0] != "p2pnode":
        return main()
    sys.argv[1:] = words[2:]
    if words[1] == "p2pnode":
        return main()
    runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(run())
