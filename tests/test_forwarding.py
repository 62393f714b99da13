"""Variables of a peer's own environment that jobs ask for: which of them they get."""

from __future__ import annotations

import pytest

from p2pnode.core.placement import forwarding
from p2pnode.core.placement.forwarding import NotForwarded, filled_in
from p2pnode.core.placement.matching import infeasible_reason, requirements_of
from p2pnode.core.wire.spec import (
    JobSpec,
    JobType,
    Task,
    WasmTask,
)
from tests.core_support import capacity

HOST = {"TOKEN": "secret", "APP_KEY": "k", "APP_": "", "ODD": "\udcff", "x": "lower"}


@pytest.mark.parametrize(
    ("patterns", "name", "value"),
    [
        pytest.param(["TOKEN"], "TOKEN", "secret", id="by its name"),
        pytest.param(["X", "APP_*"], "APP_KEY", "k", id="by a pattern"),
        pytest.param(["*"], "APP_", "", id="all, and an empty one is one"),
        pytest.param(["*K*N"], "TOKEN", "secret", id="several stars"),
        pytest.param(["x"], "x", "lower", id="in lower case"),
    ],
)
def test_a_variable_that_the_operator_allows_is_filled_in(patterns: list[str], name: str, value: str) -> None:
    assert filled_in({"MINE": f"env:{name}", "OTHER": "text"}, patterns, HOST) == {
        "MINE": value,
        "OTHER": "text",
    }


@pytest.mark.parametrize(
    ("patterns", "name", "said"),
    [
        pytest.param([], "TOKEN", "not among those", id="nothing is allowed"),
        pytest.param(
            ["OKE", "TOKE", "OKEN"], "TOKEN", "not among those", id="a part of a name is not the name"
        ),
        pytest.param(["token"], "TOKEN", "not among those", id="case counts"),
        pytest.param(["A*"], "GONE", "not among those", id="what is not allowed is not felt out"),
        pytest.param(["GONE"], "GONE", "not set on this node", id="not there"),
        pytest.param(["*"], "ODD", "no text", id="bytes that are no text"),
    ],
)
def test_another_is_refused_with_its_name_and_the_reason(patterns: list[str], name: str, said: str) -> None:
    with pytest.raises(NotForwarded, match=f"variable {name}: .*{said}"):
        filled_in({"MINE": f"env:{name}"}, patterns, HOST)


@pytest.mark.parametrize("text", ["", "A-B", "^A", "A.*", "A B", "a" * 256])
def test_an_operators_pattern_is_of_letters_digits_and_stars(text: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a variable"):
        forwarding.parse_pattern(text)


def test_an_ask_says_that_variables_are_forwarded_and_not_which() -> None:
    task = Task(engine=WasmTask(entry_module="/m"), environment={"A": "env:SECRET_NAME"})
    need = requirements_of(JobSpec(type=JobType.BATCH, task=task))
    assert need.sources == ("env",)
    assert infeasible_reason(need, capacity()) == forwarding.NO_SOURCE
    assert infeasible_reason(need, capacity(sources=("env", "ipfs"))) is None
