"""Targets of the ends of jobs: a command, what it is given and its limits; a webhook that speaks TLS."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from p2pnode.data import web
from p2pnode.notices.command import OUTPUT_LENGTH_MAX, EndCommand
from p2pnode.notices.target import NotTaken
from p2pnode.notices.webhook import Webhook

from .docker_engine import cannot_run
from .hook_site import running_hooks
from .nodes import until
from .test_data_url import certificate
from .test_notices import SECRET, notice


def command(tmp_path: Path, script: str, *arguments: str) -> EndCommand:
    path = tmp_path / "tell"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return EndCommand([str(path), *arguments], {**os.environ, "OUT": str(tmp_path / "out")})


def read(path: Path) -> str:
    return path.read_text()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for whoever reaps it."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] not in "ZX"


@pytest.mark.parametrize("name", ["train", "$(touch pwned) `id`; rm -rf x\n'\"", "ünïcode \u202e"])
async def test_a_command_gets_the_job_on_stdin_and_in_variables_and_no_shell_reads_it(
    tmp_path: Path, name: str
) -> None:
    script = (
        'cat > "$OUT"; printf %s "$P2PNODE_JOB_NAME|$P2PNODE_JOB_STATE|$P2PNODE_JOB_OUTCOME|$1" > "$OUT.env"'
    )
    await command(tmp_path, script, "$HOME").tell(notice(name))
    assert json.loads(read(tmp_path / "out"))["name"] == name
    assert read(tmp_path / "out.env") == f"{name}|Completed|completed|$HOME"
    assert sorted(os.listdir(tmp_path)) == ["out", "out.env", "tell"]


async def test_a_command_need_not_read_and_may_leave_a_child_behind(tmp_path: Path) -> None:
    await command(tmp_path, "sleep 5 & exit 0").tell(notice(reason="x" * 300_000))


async def test_a_failing_command_is_told_by_the_beginning_of_its_output(tmp_path: Path) -> None:
    with pytest.raises(NotTaken) as caught:
        await command(tmp_path, "yes $(printf 'no\\033') | head -c 3000000; exit 3").tell(notice())
    assert str(caught.value).startswith("it exited with 3: no\\x1b")
    assert len(str(caught.value)) < 2 * OUTPUT_LENGTH_MAX


async def test_a_command_that_does_not_end_is_ended_with_all_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pnode.notices.command.RUN_S_MAX", 0.3)
    with pytest.raises(NotTaken, match="has not ended"):
        await command(tmp_path, 'sh -c "echo \\$\\$ > $OUT; exec sleep 60"; true').tell(notice())
    until("its child is dead", lambda: not is_alive(int(read(tmp_path / "out"))))


@pytest.mark.parametrize("name", ["\0", "a"])
async def test_a_command_that_cannot_be_run_is_a_failed_try(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotTaken, match="/none cannot be run"):
        await EndCommand([f"{tmp_path}/none"], {}).tell(notice(name))


@pytest.mark.parametrize(
    ("host", "trusted", "said"),
    [
        ("localhost", True, ""),
        ("localhost", False, "certificate verify failed"),
        ("127.0.0.1", True, "certificate verify failed"),
    ],
)
async def test_a_webhook_is_told_over_tls_only_if_it_is_who_its_url_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, trusted: bool, said: str
) -> None:
    if not shutil.which("openssl"):
        cannot_run("openssl is not installed")
    key, made = certificate(tmp_path, "localhost")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(made))
    web._ssl_context.cache_clear()
    with running_hooks(tls=(key, made)) as site:
        webhook = Webhook(f"https://{host}:{site.port}/x", SECRET)
        if said:
            with pytest.raises(NotTaken, match=said):
                await webhook.tell(notice())
        else:
            await webhook.tell(notice())
        assert len(site.posted) == (0 if said else 1)
    web._ssl_context.cache_clear()
