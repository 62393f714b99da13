"""Programs and job files for the tests with real nodes.

`WAITING` says "begun" on both streams and then runs until a file `end` (it exits with 0) or `fail`
(it exits with 7) appears in a directory that it was given: its result directory, where
`finish` puts it. So a test decides what happens while a job runs, and when it ends.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import wasmtime
import yaml

JOBS = Path(__file__).parent.parent / "devnet" / "jobs"
EXIT_OF_FAIL = 7
_NUMBERS = itertools.count(1)
_WAITING = r"""
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "begun\n") (data (i32.const 16) "ended\n")
  (data (i32.const 32) "end") (data (i32.const 40) "fail")
  (func $say (param $stream i32) (param $text i32)
    (i32.store (i32.const 256) (local.get $text)) (i32.store (i32.const 260) (i32.const 6))
    (drop (call $write (local.get $stream) (i32.const 256) (i32.const 1) (i32.const 264))))
  ;; Is there a file of this name in one of the directories that the program was given?
  (func $there (param $name i32) (param $length i32) (result i32) (local $directory i32)
    (local.set $directory (i32.const 3))
    (loop $next
      (if (i32.eqz (call $open (local.get $directory) (i32.const 0) (local.get $name) (local.get $length)
                     (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 268)))
        (then (return (i32.const 1))))
      (local.set $directory (i32.add (local.get $directory) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $directory) (i32.const 8))))
    (i32.const 0))
  (func (export "_start")
    (call $say (i32.const 1) (i32.const 0)) (call $say (i32.const 2) (i32.const 0))
    (loop $wait
      ;; 20 ms on the clock of the subscription at 64.
      (i64.store (i32.const 88) (i64.const 20000000))
      (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 200)))
      (if (call $there (i32.const 40) (i32.const 4)) (then (call $exit (i32.const 7))))
      (br_if $wait (i32.eqz (call $there (i32.const 32) (i32.const 3)))))
    (call $say (i32.const 1) (i32.const 16))))
"""
# The same for a container with busybox.
WAITING_SHELL = (
    "echo begun; echo begun >&2; "
    "while [ ! -e /outputs/end ]; do [ -e /outputs/fail ] && exit 7; sleep 0.05; done; echo ended"
)


# Says "out\n" on stdout and "err\n" on stderr by turns, three times.
_ALTERNATING = r"""
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "out\n") (data (i32.const 16) "err\n")
  (func $say (param $stream i32) (param $text i32)
    (i32.store (i32.const 256) (local.get $text)) (i32.store (i32.const 260) (i32.const 4))
    (drop (call $write (local.get $stream) (i32.const 256) (i32.const 1) (i32.const 264))))
  (func $both (call $say (i32.const 1) (i32.const 0)) (call $say (i32.const 2) (i32.const 16)))
  (func (export "_start") (call $both) (call $both) (call $both)))
"""


def alternating_module() -> bytes:
    return bytes(wasmtime.wat2wasm(_ALTERNATING))


def waiting_module() -> bytes:
    return bytes(wasmtime.wat2wasm(_WAITING))


def wasm_job(module: str, **top: Any) -> dict[str, Any]:
    """A job of one WASM program, named by the module's CID, with the result path /outputs.

    `top` are the job file's fields; `Timeouts` and `Resources` are put into the task.
    """
    task = {
        "Engine": {"Type": "wasm", "Params": {"EntryModule": "/program.wasm"}},
        "InputSources": [{"Target": "/program.wasm", "Source": {"Type": "ipfs", "Params": {"CID": module}}}],
        "Resources": {"CPU": "100m", "Memory": "64mb"},
    }
    return _job(task, top)


def docker_job(image: str, script: str, **top: Any) -> dict[str, Any]:
    """The same in a container: a shell script."""
    params = {"Image": image, "Entrypoint": ["sh", "-c"], "Parameters": [script]}
    return _job(
        {"Engine": {"Type": "docker", "Params": params}, "Resources": {"CPU": "100m", "Memory": "64mb"}}, top
    )


def _job(task: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    task |= {"Publisher": {"Type": "ipfs"}, "ResultPaths": [{"Name": "outputs", "Path": "/outputs"}]}
    task |= {key: top.pop(key) for key in ("Timeouts", "Resources", "InputSources") if key in top}
    return {"Name": unique_name(), "Type": "batch", "Tasks": [task], **top}


def unique_name() -> str:
    """A job's name that no other test has: a job with a known name changes the job of that name."""
    return f"test-{next(_NUMBERS)}"


def text_of(job: dict[str, Any]) -> bytes:
    return yaml.safe_dump(job, sort_keys=False).encode()
