"""The API's description, in OpenAPI 3.1, of just what it serves; and lists that are narrowed and paged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from p2pnode.api import endpoints, handlers, openapi
from p2pnode.api.shapes import TOKEN_FILE
from p2pnode.client.calls import Client
from p2pnode.client.finding import find
from p2pnode.ipfs import unixfs
from tests import raw_http
from tests.fake_node import Served

JOB = b"Name: %s\nType: batch\nTasks:\n- Engine: {Type: docker, Params: {Image: busybox}}\n"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path).running() as running:
        yield running


def client_of(served: Served) -> Client:
    return find(served.node.data_dir, {})


def get(served: Served, path: str) -> tuple[int, Any]:
    token = (served.node.data_dir / TOKEN_FILE).read_text()
    status, body = raw_http.answer(served.url, token, f"GET {path} HTTP/1.1", "Host: 127.0.0.1")
    return status, json.loads(body)


def test_the_description_is_served_and_names_every_endpoint_with_its_access(served: Served) -> None:
    status, document = get(served, openapi.PATH)
    assert status == 200
    assert document["openapi"] == "3.1.0"
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert {one["operationId"] for one in operations} == {one.name for one in endpoints.ENDPOINTS}
    assert [one["operationId"] for one in operations if one.get("security") == []] == ["alive"]


def test_each_handler_is_the_one_of_an_endpoint() -> None:
    found = {name for name in vars(handlers.Handlers) if not name.startswith("_")}
    assert found == {one.name for one in endpoints.ENDPOINTS}


def test_each_schema_is_one_and_each_reference_leads_to_one() -> None:
    document = openapi.describe("1.2.3")
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    text = json.dumps(document)
    named = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert named <= schemas.keys()


def test_what_the_code_says_of_a_field_is_in_its_schema() -> None:
    schemas = openapi.describe("1")["components"]["schemas"]
    assert (
        schemas["JobJson"]["properties"]["outcome"]["description"] == "How it ended; null while it goes on."
    )
    assert schemas["JobJson"]["properties"]["spec"]["description"] == "The job in the form of a job file."
    assert schemas["NodeJson"]["description"].startswith("A node as this one knows it")


def test_an_answer_is_as_its_schema_says(served: Served) -> None:
    client_of(served).submit(JOB % b"works", "job.yaml")
    document = openapi.describe("1")
    for path, name in (
        ("/api/v1/jobs", "JobsJson"),
        ("/api/v1/nodes", "NodesJson"),
        ("/api/v1/id", "IdentityJson"),
    ):
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        Draft202012Validator(schema).validate(get(served, path)[1])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sate=Failed", "nothing is known of sate"),
        ("state=Broken", "the parameter state[0]: Invalid enum value 'Broken'"),
        ("limit=0", "the parameter limit: Expected int >= 1"),
        ("limit=many", "the parameter limit: Expected int, got str"),
        ("limit=1&limit=2", "the parameter limit is there twice"),
        ("text=" + "x" * 300, "the parameter text: Expected str of length <= 256"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(served: Served, query: str, said: str) -> None:
    status, body = get(served, f"/api/v1/jobs?{query}")
    assert (status, body["error"]) == (400, "bad-request")
    assert said in body["message"]


def test_a_text_of_another_form_is_told_the_form_in_words(served: Served) -> None:
    token = (served.node.data_dir / TOKEN_FILE).read_text()
    body = b'{"name": "bad/name", "kind": "read"}'
    start = "POST /api/v1/tokens HTTP/1.1"
    status, answer = raw_http.answer(served.url, token, start, "Host: 127.0.0.1", body=body)
    assert status == 400
    assert json.loads(answer)["message"].startswith("the field name: expected 1 to 64 letters, digits")


def test_a_list_comes_in_pages_to_its_end(served: Served) -> None:
    client = client_of(served)
    ids = [client.submit(JOB % f"job-{number}".encode(), "job.yaml") for number in range(5)]
    pages, after = [], ""
    while after is not None:
        page = get(served, f"/api/v1/jobs?limit=2&after={after}")[1]
        pages.append([one["id"] for one in page["jobs"]])
        after = page["next"]
    assert [len(one) for one in pages] == [2, 2, 1]
    assert [id for page in pages for id in page] == ids[::-1]


def test_a_method_that_a_path_has_not_is_refused_with_those_that_it_has(served: Served) -> None:
    token = (served.node.data_dir / TOKEN_FILE).read_text()
    with raw_http.connected(served.url) as connection:
        head = f"DELETE /api/v1/id HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
        answer = raw_http.to_end(connection)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"allow: GET, HEAD" in answer or b"allow: HEAD, GET" in answer


def test_a_job_file_is_validated_without_being_submitted(served: Served) -> None:
    token = (served.node.data_dir / TOKEN_FILE).read_text()
    start = "POST /api/v1/validate?name=a.yaml HTTP/1.1"
    status, body = raw_http.answer(served.url, token, start, "Host: 127.0.0.1", body=JOB % b"checked")
    assert status == 200
    assert json.loads(body)["spec"]["Name"] == "checked"
    status, body = raw_http.answer(served.url, token, start, "Host: 127.0.0.1", body=b"Nonsense: 1")
    assert status == 422
    assert json.loads(body)["problems"][0].startswith("a.yaml:1:1: error: ")
    assert served.node.submitted == []


def test_a_file_of_a_result_is_answered_as_what_it_is_and_can_run_nothing(served: Served) -> None:
    token = (served.node.data_dir / TOKEN_FILE).read_text()
    with raw_http.connected(served.url) as connection:
        path = f"/ipfs/{served.node.result}/outputs/answer.txt"
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
        answer = raw_http.to_end(connection)
    assert b"forty-two" in answer
    assert b"content-type: text/plain" in answer
    assert b"content-security-policy: sandbox;" in answer
    assert b"x-content-type-options: nosniff" in answer


def test_a_packed_file_is_not_taken_for_what_is_in_it(served: Served) -> None:
    root = unixfs.add_directory({"a.txt.gz": b"packed"}, served.node.blocks.put)
    token = (served.node.data_dir / TOKEN_FILE).read_text()
    with raw_http.connected(served.url) as connection:
        head = f"GET /ipfs/{root}/a.txt.gz HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
        assert b"content-type: application/octet-stream" in raw_http.to_end(connection)


@pytest.mark.parametrize(("path", "status"), [("outputs", 404), ("outputs/none.txt", 404), ("%2e%2e/x", 400)])
def test_what_is_no_file_of_a_result_is_refused(served: Served, path: str, status: int) -> None:
    assert get(served, f"/ipfs/{served.node.result}/{path}")[0] == status
