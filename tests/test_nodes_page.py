"""The page of a real node in a real browser: what a person does there, and what a screen reader finds."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from .nodes import Node, running_nodes

ROOT = Path(__file__).parent.parent
JOBS = ROOT / "devnet/jobs"
# For what a node or a browser does on a busy machine.
TIMEOUT_MS = 30_000
COUNT_ONE = (JOBS / "wordcount.yaml").read_text().replace("Count: 2", "Count: 1")
NOWHERE = """\
Name: nowhere
Type: batch
Constraints: [{Key: planet, Operator: "=", Values: [mars]}]
Tasks: [{Engine: {Type: docker, Params: {Image: busybox}}, Timeouts: {QueueTimeout: 600}}]
"""
HOSTILE = """\
Name: "<img src=x onerror=alert(1)>"
Type: batch
Constraints: [{Key: planet, Operator: "=", Values: ["<script>alert(2)</script>"]}]
Tasks: [{Engine: {Type: docker, Params: {Image: busybox}}, Timeouts: {QueueTimeout: 600}}]
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        reason = "Chromium is not installed (Debian: chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        # Its sandbox needs a user that is not root; the page is our own.
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_nodes(tmp_path_factory.mktemp("page")) as nodes:
        node = nodes.start("page-node")
        for name in ("wordcount.wasm", "wordcount-data"):
            assert node.cli("ipfs", "add", str(JOBS / name)).returncode == 0
        yield node


@pytest.fixture
def page(browser: Browser, node: Node) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    wrong: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            wrong.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))
    page.goto(node.cli("dashboard", "--no-open").stdout.strip())
    expect(page.get_by_role("heading", name="Network")).to_be_visible()
    yield page
    context.close()
    # The browser tells of each refusal, and the page asks what may be refused.
    assert [one for one in wrong if not one.startswith("Failed to load resource")] == []


def submit(page: Page, job_file: str) -> None:
    page.get_by_role("link", name="Submit", exact=True).click()
    page.get_by_label("Job file").fill(job_file)
    expect(page.get_by_text("This can be submitted.")).to_be_visible()
    page.get_by_role("button", name="Submit", exact=True).click()


def twice(page: Page, first: str, second: str) -> None:
    page.get_by_role("button", name=first, exact=True).click()
    page.get_by_role("button", name=second, exact=True).click()


def test_a_job_is_submitted_watched_and_its_result_read(page: Page) -> None:
    submit(page, COUNT_ONE)
    expect(page.get_by_role("heading", name="Word Count Completed")).to_be_visible()
    page.get_by_role("link", name="History", exact=True).click()
    expect(page.get_by_text("Award", exact=True).first).to_be_visible()
    page.get_by_role("link", name="Results", exact=True).click()
    page.get_by_role("button", name="outputs", exact=True).click()
    page.get_by_role("region", name="Files").get_by_role("button").first.click()
    # The counts are a CSV file, shown as a table.
    expect(page.get_by_role("cell", name="winter", exact=True)).to_be_visible()
    page.get_by_role("link", name="Logs", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="lines")).not_to_contain_text("live")


def test_the_example_runs_as_it_stands(page: Page) -> None:
    page.get_by_role("link", name="Submit", exact=True).click()
    page.get_by_role("button", name="container").click()
    expect(page.get_by_label("Job file")).to_have_value(re.compile("Image: busybox"))
    page.get_by_role("button", name="WASM").click()
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.get_by_role("heading", name="hello Completed")).to_be_visible()
    page.get_by_role("link", name="Logs", exact=True).click()
    expect(page.get_by_text("hello from a peer")).to_be_visible()


def test_a_file_that_is_dropped_beside_the_editor_is_taken_as_well(page: Page) -> None:
    page.get_by_role("link", name="Submit", exact=True).click()
    expect(page.get_by_label("Job file")).to_be_visible()
    file = "new File(['Name: dropped'], 'x.yaml')"
    made = f"() => {{ const all = new DataTransfer(); all.items.add({file}); return all; }}"
    page.dispatch_event("h1", "drop", {"dataTransfer": page.evaluate_handle(made)})
    expect(page.get_by_label("Job file")).to_have_value("Name: dropped")


def test_an_error_stands_at_its_line_and_nothing_can_be_submitted(page: Page) -> None:
    page.get_by_role("link", name="Submit", exact=True).click()
    page.get_by_label("Job file").fill("Name: x\nType: batch\nKount: 2\nTasks: []\n")
    expect(page.get_by_role("button", name="line 3")).to_be_visible()
    expect(page.get_by_role("button", name="Submit", exact=True)).to_be_disabled()


def test_a_job_is_planned_stopped_and_found_by_a_filter_in_the_address(page: Page, node: Node) -> None:
    page.get_by_role("link", name="Submit", exact=True).click()
    page.get_by_label("Job file").fill(NOWHERE)
    page.get_by_role("button", name="Plan").click()
    expect(page.get_by_role("heading", name="Not suitable")).to_be_visible()
    submit(page, NOWHERE)
    expect(page.get_by_role("heading", name="nowhere")).to_be_visible()
    twice(page, "Stop", "Stop it now?")
    expect(page.get_by_role("heading", name="nowhere Stopped")).to_be_visible()
    page.goto(f"{node.client.url}/#/jobs?state=Stopped")
    expect(page.get_by_role("link", name="nowhere")).to_be_visible()
    page.get_by_label("Text").fill("no such job")
    expect(page.get_by_text("No job is like that.")).to_be_visible()
    assert "text=no+such+job" in page.url


def test_versions_of_a_file_are_compared_as_files_and_used_again(page: Page) -> None:
    service = NOWHERE.replace("batch", "service").replace("nowhere", "changed")
    submit(page, service)
    expect(page.get_by_role("heading", name="changed")).to_be_visible()
    submit(page, service.replace("mars", "venus"))
    page.get_by_role("link", name="File", exact=True).click()
    page.get_by_label("Compared with").select_option("1")
    expect(page.locator(".removed")).to_contain_text("mars")
    expect(page.locator(".added")).to_contain_text("venus")
    page.get_by_role("link", name="Use its file").click()
    expect(page.get_by_label("Job file")).to_have_value(re.compile(r"^Name: changed\nType: service\n"))
    page.go_back()
    twice(page, "Stop", "Stop it now?")


def test_the_node_is_drained_and_takes_work_again(page: Page) -> None:
    page.get_by_role("link", name="This node").click()
    twice(page, "Drain", "Move all away?")
    expect(page.get_by_text("draining", exact=True)).to_be_visible()
    page.get_by_role("button", name="Take work again").click()
    expect(page.get_by_text("schedulable", exact=True)).to_be_visible()


def test_what_a_job_says_is_text_and_no_markup(page: Page) -> None:
    submit(page, HOSTILE)
    expect(page.get_by_role("heading", name="<img src=x onerror=alert(1)>")).to_be_visible()
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page.get_by_role("link", name="<img src=x onerror=alert(1)>")).to_be_visible()
    assert page.locator("main img, main script").count() == 0


def test_an_endpoint_is_tried_from_the_description_of_the_api(page: Page) -> None:
    page.get_by_role("link", name="API", exact=True).click()
    endpoint = page.locator("details", has_text="The nodes known here.")
    endpoint.locator("summary").click()
    endpoint.get_by_role("button", name="Send").click()
    expect(endpoint.get_by_role("status")).to_contain_text("200 application/json")
    expect(endpoint.locator("pre")).to_contain_text('"name": "page-node"')


def test_who_logs_out_sees_nothing_more(page: Page, node: Node) -> None:
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("p2pnode dashboard")).to_be_visible()
    page.get_by_label("Or a token").fill((node.data_dir / "api.token").read_text())
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Network")).to_be_visible()


def test_who_is_logged_out_while_away_is_told_why(page: Page) -> None:
    page.evaluate("fetch('/api/v1/sessions', { method: 'DELETE' })")
    expect(page.get_by_role("status")).to_contain_text("The session has ended")
    expect(page.get_by_text("or one that p2pnode token create has printed")).to_be_visible()


def test_a_phone_shows_a_table_as_cards_without_empty_rows(page: Page, node: Node) -> None:
    page.get_by_role("link", name="Submit", exact=True).click()
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.get_by_role("heading", name="hello Completed")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{node.client.url}/#/jobs?state=Completed")
    caption = page.get_by_role("caption").bounding_box()
    assert caption is not None and caption["width"] > 300
    expect(page.locator("td:empty").first).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_each_view_has_no_serious_fault_for_a_screen_reader_and_fits_a_phone(
    page: Page, node: Node, scheme: str, width: int
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 800})
    job = node.client.jobs()[-1]["id"]
    tabs = ("overview", "history", "logs", "results", "file")
    for view in ("network", "jobs", "submit", "node", "api", *(f"job/{job}/{tab}" for tab in tabs)):
        page.goto(f"{node.client.url}/#/{view}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        found = Axe().run(page).response["violations"]
        serious = [
            (one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")
        ]
        assert serious == [], view
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
