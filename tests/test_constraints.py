"""Constraints mean what Kubernetes' selectors mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.core.placement import constraints
from p2pnode.core.wire.spec import Constraint, Operator

WORDS = st.sampled_from(["", "a", "b", "A", "7", "07", "+7", "-8", "8", "1.5", " 7", "٧", str(2**63), "x y"])
KEYS = st.sampled_from(["zone", "cores", "favour_zone", "favour_"])
CONSTRAINTS = st.builds(
    lambda key, operator, values: Constraint(key=key, operator=operator, values=tuple(values)),
    KEYS,
    st.sampled_from(list(Operator)),
    st.lists(WORDS, max_size=3),
)
LABELS = st.dictionaries(st.sampled_from(["zone", "cores", "Zone"]), WORDS)


def slow(constraint: Constraint, labels: dict[str, str]) -> bool:
    """The rules read off Kubernetes' `Requirement.Matches`, one by one."""

    def number(text: str) -> int | None:
        digits = text[1:] if text[:1] in ("+", "-") else text
        if not digits or any(digit not in "0123456789" for digit in digits):
            return None
        value = sum((ord(digit) - 48) * 10**place for place, digit in enumerate(reversed(digits)))
        value = -value if text[0] == "-" else value
        return value if -(2**63) <= value < 2**63 else None

    has = constraint.key in labels
    label = labels.get(constraint.key, "")
    if constraint.operator in ("in", "="):
        return has and any(value == label for value in constraint.values)
    if constraint.operator in ("notin", "!="):
        return not has or all(value != label for value in constraint.values)
    if constraint.operator == "exists":
        return has
    if constraint.operator == "!":
        return not has
    if not has or len(constraint.values) != 1:
        return False
    left, right = number(label), number(constraint.values[0])
    if left is None or right is None:
        return False
    return left > right if constraint.operator == "gt" else left < right


@given(CONSTRAINTS, LABELS)
def test_every_operator_agrees_with_the_slow_oracle(constraint: Constraint, labels: dict[str, str]) -> None:
    assert constraints.matches(constraint, labels) == slow(constraint, labels)
    assert (constraints.why_not(constraint, labels) is None) == slow(constraint, labels)


@given(st.lists(CONSTRAINTS))
def test_every_constraint_is_a_requirement_or_a_preference(all_of_them: list[Constraint]) -> None:
    required, preferred = constraints.requirements(all_of_them), constraints.preferences(all_of_them)
    assert len(required) + len(preferred) == len(all_of_them)
    assert {one.key for one in required} <= {"zone", "cores"}
    assert {one.key for one in preferred} <= {"zone", ""}


def test_a_refusal_names_what_was_found_and_wanted() -> None:
    wants = Constraint(key="zone", operator=Operator.IN, values=("a", "b"))
    assert constraints.why_not(wants, {}) == "has no label zone; wanted: zone in (a, b)"
    assert constraints.why_not(wants, {"zone": "c"}) == "label zone is 'c'; wanted: zone in (a, b)"
    lacks = Constraint(key="gpu", operator=Operator.NOT_EXISTS)
    assert constraints.why_not(lacks, {"gpu": "x"}) == "label gpu is 'x'; wanted: !gpu"


@pytest.mark.parametrize(
    ("key", "operator", "values", "problem"),
    [
        (" ", "=", ["a"], "Key is blank"),
        ("favour_", "=", ["a"], "Key is blank"),
        ("k", "exists", ["a"], "takes no Values, found 1"),
        ("k", "!", ["a", "b"], "takes no Values, found 2"),
        ("k", "in", [], "at least one"),
        ("k", "notin", [], "at least one"),
        ("k", "=", [], "exactly one of Values, found 0"),
        ("k", "!=", ["a", "b"], "exactly one of Values, found 2"),
        ("k", "gt", ["many"], 'whole numbers, found "many"'),
        ("k", "lt", ["1.5"], 'whole numbers, found "1.5"'),
        ("k", "gt", [str(2**63)], "whole numbers"),
    ],
)
def test_a_constraint_that_cannot_be_evaluated_says_why(
    key: str, operator: str, values: list[str], problem: str
) -> None:
    wrong = Constraint(key=key, operator=Operator(operator), values=tuple(values))
    assert problem in (constraints.problem(wrong) or "")


@pytest.mark.parametrize(
    ("label", "greater", "less"), [("7", False, True), ("8", False, False), ("9", True, False)]
)
def test_gt_and_lt_take_no_equal(label: str, greater: bool, less: bool) -> None:
    for operator, taken in ((Operator.GREATER, greater), (Operator.LESS, less)):
        wanted = Constraint(key="cores", operator=operator, values=("8",))
        assert constraints.matches(wanted, {"cores": label}) is taken


@given(CONSTRAINTS)
def test_a_constraint_without_problem_needs_no_guard(constraint: Constraint) -> None:
    if constraints.problem(constraint) is None and constraint.operator in (Operator.GREATER, Operator.LESS):
        (value,) = constraint.values
        assert constraints.matches(constraint, {constraint.key: value}) is False
