#!/usr/bin/env python3
"""A stand-in for the programs `nomad` and `bacalhau`, as scripts/benchmarks/others.py uses them.

A job is pending at the first look, and done at the second. With STAND_IN=failing it has failed; with
STAND_IN=ending the program ends at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FAILS = os.environ.get("STAND_IN") == "failing"
LOOKS: Counter[str] = Counter()


def looked(id: str, pending: str, done: str, failed: str) -> str:
    LOOKS[id] += 1
    return pending if LOOKS[id] == 1 else failed if FAILS else done


def answer(method: str, path: str, body: Any) -> Any:
    parts = path.strip("/").split("/")
    match (method, *parts):
        case ("GET", "v1", "nodes"):
            return [{"Status": "ready"}] * 3
        case ("POST", "v1", "jobs"):
            task = body["Job"]["TaskGroups"][0]["Tasks"][0]
            assert Path(task["Config"]["command"]).is_file() and task["Driver"] == "raw_exec"
            return {"EvalID": "e"}
        case ("GET", "v1", "job", id, "allocations"):
            return [{"ClientStatus": looked(id, "pending", "complete", "failed")}]
        case ("GET", "api", "v1", "orchestrator", "nodes"):
            kinds = ["Requester", *["Compute"] * 3]
            return {"Nodes": [{"Info": {"NodeType": kind}} for kind in kinds]}
        case ("PUT", "api", "v1", "orchestrator", "jobs"):
            source = body["Job"]["Tasks"][0]["InputSources"][0]["Source"]
            assert Path(source["Params"]["SourcePath"]).is_file()
            return {"JobID": body["Job"]["Name"]}
        case ("GET", "api", "v1", "orchestrator", "jobs", id):
            return {"Job": {"State": {"StateType": looked(id, "Pending", "Completed", "Failed")}}}
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        found = answer(self.command, self.path, json.loads(self.rfile.read(size) or b"null"))
        text = json.dumps(found).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    # Sixteen threads connect at once; of more than five, the default, some are reset on a busy machine.
    request_queue_size = 64


def main() -> None:
    if os.environ.get("STAND_IN") == "ending":
        sys.exit("no licence was found")
    port = 0
    if sys.argv[1] == "agent":
        agent = json.loads(Path(sys.argv[sys.argv.index("-config") + 1]).read_text())
        if not agent["server"]["enabled"]:
            signal.pause()
        port = agent["ports"]["http"]
    server = Server(("127.0.0.1", port), Handler)
    sys.stdout.write(f"export BACALHAU_API_HOST=127.0.0.1\nexport BACALHAU_API_PORT={server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
