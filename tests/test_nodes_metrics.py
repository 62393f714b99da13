"""Metrics of real nodes: each is in the table, and Prometheus takes them, the alerts and the dashboard."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pnode.api.shapes import NODE_FILE, TOKEN_FILE

from . import raw_http
from .nodes import Node, running_nodes, until
from .programs import JOBS

MONITORING = Path(__file__).parent.parent / "devnet" / "monitoring"
# Prometheus' own start, and two scrapes for each rate.
PROMETHEUS_S_MAX = 60.0
CONFIG = """\
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: [{rules}]
scrape_configs:
  - job_name: p2pnode
    authorization: {{ credentials_file: {token} }}
    static_configs: [{{ targets: ["{target}"] }}]
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node]]:
    """A node that runs nothing and has had a job done, and the one that did it."""
    with running_nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        owner = nodes.start("owner", "--no-compute")
        worker = nodes.start("worker", peers=(owner,))
        until("the owner knows a worker", lambda: len(owner.client.nodes()) == 2)
        owner.add(JOBS / "noop.wasm")
        job = owner.ended(owner.client.submit((JOBS / "noop.yaml").read_bytes(), "noop.yaml"))
        assert job["state"] == "Completed", owner.history(job["id"])
        yield owner, worker


def api_of(node: Node) -> str:
    url: str = json.loads((node.data_dir / NODE_FILE).read_text())["api"]
    return url


def scrape(node: Node) -> str:
    token = (node.data_dir / TOKEN_FILE).read_text()
    status, body = raw_http.answer(api_of(node), token, "GET /metrics HTTP/1.1", "Host: 127.0.0.1")
    assert status == 200
    return body.decode()


def values(node: Node) -> dict[str, float]:
    lines = [line for line in scrape(node).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def table() -> dict[str, tuple[str, set[str]]]:
    """The type and the labels of each metric in the README."""
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (.*?) \|", (MONITORING / "README.md").read_text(), re.MULTILINE
    )
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_what_a_job_leads_to_is_counted_on_both_sides(pair: tuple[Node, Node]) -> None:
    owner, worker = map(values, pair)
    assert owner['p2pnode_jobs_ended_total{outcome="completed"}'] == 1
    assert (
        owner['p2pnode_bids_total{direction="received"}']
        == worker['p2pnode_bids_total{direction="sent"}']
        == 1
    )
    assert worker['p2pnode_executions_ended_total{fault="none"}'] == 1
    assert owner['p2pnode_executions_ended_total{fault="none"}'] == 0
    assert sum(value for name, value in worker.items() if name.startswith("p2pnode_jobs_ended")) == 0
    assert owner["p2pnode_served_bytes_total"] == worker["p2pnode_fetched_bytes_total"] > 0
    assert owner['p2pnode_peers{state="connected"}'] == owner["p2pnode_links"] == 1
    assert owner["p2pnode_journal_commit_seconds_count"] > 10
    assert owner["process_resident_memory_bytes"] > 2**20 < owner["p2pnode_disk_bytes"]


def test_the_table_has_just_the_metrics_that_there_are(pair: tuple[Node, Node]) -> None:
    text = scrape(pair[0])
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    assert {name: kind for name, (kind, _) in table().items()} == types
    for name, (kind, labels) in table().items():
        found = re.findall(rf"^{name}(?:_bucket)?\{{(.*)\}} ", text, re.MULTILINE)
        given = {label for one in found for label in re.findall(r'(\w+)="', one)} - {"le"}
        assert given == labels, name
        assert name.endswith("_total") == (kind == "counter")


def test_whoever_lacks_the_token_gets_no_metrics(pair: tuple[Node, Node]) -> None:
    status, _ = raw_http.answer(api_of(pair[0]), "x" * 43, "GET /metrics HTTP/1.1", "Host: 127.0.0.1")
    assert status == 401


# With Prometheus


def require_prometheus() -> None:
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        reason = "Prometheus is not installed (Debian: prometheus)"
        if os.environ.get("CI"):
            pytest.fail(f"must run where CI is set: {reason}")
        pytest.skip(reason)


def promtool(*arguments: object, text: str = "") -> None:
    command = ["promtool", "check", *map(str, arguments)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def prometheus(pair: tuple[Node, Node], tmp_path: Path) -> Iterator[str]:
    """The address of a Prometheus that scrapes a node and goes by our rules."""
    require_prometheus()
    node = pair[0]
    config = tmp_path / "prometheus.yml"
    target, token = api_of(node).removeprefix("http://"), node.data_dir / TOKEN_FILE
    config.write_text(CONFIG.format(rules=MONITORING / "rules.yml", token=token, target=target))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def ask(prometheus: str, path: str, **query: str) -> Any:
    """The answer of its API; None while it gives none."""
    try:
        with urllib.request.urlopen(f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(query)}") as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return None
        raise AssertionError(f"{query}: {error.read().decode()}") from error
    except OSError:
        return None


def panels() -> list[tuple[str, str]]:
    """The title and the expression of each line of the dashboard, as Grafana would ask it."""
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    given = {"$__rate_interval": "1m", "$instance": ".+"}
    found = []
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in given.items():
                expression = expression.replace(variable, value)
            assert "$" not in expression, expression
            found.append((panel["title"], expression))
    return found


def test_promtool_finds_no_fault_in_metrics_rules_and_settings(pair: tuple[Node, Node]) -> None:
    require_prometheus()
    promtool("metrics", text=scrape(pair[1]))
    promtool("rules", MONITORING / "rules.yml")
    # The tokens that it names are there once the devnet is.
    promtool("config", "--syntax-only", MONITORING / "prometheus.yml")


def test_prometheus_evaluates_each_alert_and_each_line_of_the_dashboard(prometheus: str) -> None:
    def scraped() -> bool:
        targets = (ask(prometheus, "targets") or {}).get("activeTargets", [])
        assert not any(one["lastError"] for one in targets), targets
        return any(one["health"] == "up" for one in targets)

    until("Prometheus has scraped the node", scraped, PROMETHEUS_S_MAX)
    for title, expression in panels():

        def has_values(expression: str = expression) -> bool:
            return bool((ask(prometheus, "query", query=expression) or {}).get("result"))

        until(f"{title} has values: {expression}", has_values, PROMETHEUS_S_MAX)

    def evaluated() -> list[dict[str, Any]]:
        rules = [rule for group in ask(prometheus, "rules")["groups"] for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else []

    for rule in until("all alerts are evaluated", evaluated, PROMETHEUS_S_MAX):
        assert rule["health"] == "ok", rule
        assert rule["state"] == "inactive" or rule["name"] == "DiskNearlyFull", rule


def test_alerts_and_dashboard_ask_for_metrics_of_the_table_only() -> None:
    known = {*table(), "up"} | {
        f"{name}_bucket" for name, (kind, _) in table().items() if kind == "histogram"
    }
    texts = [(MONITORING / "rules.yml").read_text(), *(expression for _, expression in panels())]
    for text in texts:
        assert set(re.findall(r"\b(?:p2pnode|process)_\w+", text)) <= known


def test_each_panel_has_a_place_of_its_own() -> None:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(places)) == len(set(ids)) == len(dashboard["panels"])
