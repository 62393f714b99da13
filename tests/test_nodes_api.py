"""Answers of a real node to words of a user that mean nothing."""

from __future__ import annotations

from pathlib import Path

from p2pnode.api.shapes import TOKEN_FILE
from p2pnode.ipfs import cid

from .nodes import answers, running_nodes
from .raw_http import PATHS, STRANGE, answer


def test_no_word_of_a_user_makes_a_node_fail(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        node = nodes.start("a", "--no-compute")
        url, token = node.client.url, (node.data_dir / TOKEN_FILE).read_text()
        absent = cid.make(b"nowhere", "raw")
        for path in (one.replace("bafy", absent) for one in PATHS):
            for text in (*STRANGE, "%ff", "a%00b"):
                start = f"{path.format(text)} HTTP/1.1"
                status, body = answer(url, token, start, "Host: 127.0.0.1")
                assert status in (200, 400, 404, 405, 409, 422), (start, status, body)
        for address in (r"\udcff", r"\u0000", "x" * 60_000):
            body = f'{{"reason": "{address}"}}'.encode()
            assert (
                answer(url, token, "POST /api/v1/jobs/j-1/stop HTTP/1.1", "Host: 127.0.0.1", body=body)[0]
                == 404
            )
        assert answers(node)
