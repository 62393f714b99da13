"""The API's client: one connection for a row of questions, and a new one where the node closed it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from p2pnode.client import channel
from p2pnode.client.calls import Client

EVENTS = b'event: item\ndata: {"number": 1}\n\nevent: end\ndata: {}\n\n'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
    len(EVENTS),
    EVENTS,
)
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"jobs": []}'


class Node:
    """Answers every question on loopback, and counts its connections."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        self.answers_each = 100

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        with connection:
            for _ in range(self.answers_each):
                head = b""
                while not head.endswith(b"\r\n\r\n") and (part := connection.recv(65_536)):
                    head += part
                if not head:
                    break
                connection.sendall(CHUNKED if b"/events" in head else ANSWER)

    def client(self) -> Client:
        return Client(f"http://127.0.0.1:{self.listener.getsockname()[1]}", "token")


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    thread = threading.Thread(target=node.serve, daemon=True)
    thread.start()
    yield node
    node.listener.shutdown(socket.SHUT_RDWR)
    node.listener.close()
    thread.join(5)


def test_a_row_of_questions_takes_one_connection(node: Node) -> None:
    asker = node.client()
    for _ in range(3):
        assert asker.jobs() == []
        assert [dict(event) for event in asker.job_events("j-1", follow=True)] == [{"number": 1}]
    assert node.connections == 1


def test_an_answer_that_is_left_early_takes_its_connection_with_it(node: Node) -> None:
    asker = node.client()
    events = asker.job_events("j-1")
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert asker.jobs() == []
    assert node.connections == 2


def test_a_question_on_a_connection_that_the_node_has_closed_is_asked_again(node: Node) -> None:
    node.answers_each = 1
    asker = node.client()
    assert [asker.jobs() for _ in range(3)] == [[], [], []]
    assert node.connections == 3


def test_a_command_never_goes_on_a_connection_that_may_be_closing(node: Node) -> None:
    asker = node.client()
    assert asker.jobs() == []
    asker.retry_problem(1)
    assert node.connections == 2


def test_a_connection_that_was_idle_for_long_is_not_used(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "IDLE_S_MAX", 0.0)
    asker = node.client()
    assert [asker.jobs() for _ in range(2)] == [[], []]
    assert node.connections == 2
