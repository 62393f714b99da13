"""One worker: takes its request, opens what the request names, gives up its rights, compiles or runs.

Some rights it gives up before, as it may wait for its request for a while.

The request is one JSON line on a descriptor; events go to another as JSON lines: started, then
ended (a program), compiled (a compilation), refused (with a reason for the job's author) or
stale (a compiled file that is not usable here). File descriptor 1 is the program's output (`output`), 2 is
for what the runtime or the compiler says.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from typing import Any, NoReturn

from . import (
    compiling,
    components,
    fence,
    modules,
)
from .compiling import ModuleRefused, Stale

REQUEST_SIZE_BYTES_MAX = 8 * 1024**2
REASON_LENGTH_MAX = 1_000
# The name of a worker without a request, as `ps` shows it.
WAITS = "wasm-ready"


def main(request_fd: int, report_fd: int, template: int) -> NoReturn:
    def report(event: str, **fields: Any) -> None:
        os.write(report_fd, json.dumps({"event": event, **fields}).encode() + b"\n")

    try:
        fence.show_as(WAITS)
        fence.enclose(template)
        compiling.the_engine()
        request = _request(request_fd)
        fence.show_as(f"wasm-{request['what']}")
        if request["what"] == "compile":
            _compile(request, template)
            report("compiled")
        else:
            exit_code, reason = _run(request, template, lambda: report("started"))
            report("ended", exit_code=exit_code, reason=reason[:REASON_LENGTH_MAX])
    except ModuleRefused as refused:
        report("refused", reason=str(refused)[:REASON_LENGTH_MAX])
    except Stale as stale:
        report("stale", path=str(stale))
    except OSError as error:
        # Ours, not the program's: a program's own errors end in its exit code.
        os.write(2, f"the WASM worker cannot go on: {error}\n".encode())
        os._exit(1)
    os._exit(0)


def _request(request_fd: int) -> dict[str, Any]:
    """The request; ends the process if the node went away before it was complete."""
    data = bytearray()
    while not data.endswith(b"\n"):
        part = os.read(request_fd, 65_536)
        if not part or len(data) > REQUEST_SIZE_BYTES_MAX:
            os._exit(0)
        data += part
    os.close(request_fd)
    request: dict[str, Any] = json.loads(data)
    return request


def _compile(request: dict[str, Any], template: int) -> None:
    with open(request["module"], "rb") as module, open(request["output"], "xb") as output:
        content = module.read()
        # The file may be an operator's own directory's, which somebody wrote to since it was hashed.
        if hashlib.sha256(content).hexdigest() != request["hash"]:
            raise ModuleRefused("the module's file changed while it was read")
        fence.limit(request["limits"])
        fence.confine([], template)
        output.write(compiling.compile_module(content, component=request["component"], name=request["name"]))


def _run(request: dict[str, Any], template: int, started: Callable[[], None]) -> tuple[int | None, str]:
    program = components.load(request) if request["component"] else modules.load(request)
    # The directories are open by now, so the program needs no right to walk to them.
    fence.limit(request["limits"])
    fence.confine([(host, writable) for host, _, writable in request["preopens"]], template)
    program.link()
    started()
    return program.call()
