"""Constraints of a job against the labels of a peer, with the meaning of Kubernetes selectors.

Source of the rules: Kubernetes' `labels.Requirement`. A label that is absent satisfies
`!=`, `notin` and `!`; `gt` and `lt` compare 64-bit integers and fail where either side is
none; all else compares text exactly. A job's constraints hold together (AND). A key that
begins with `favour_` is a preference: it ranks peers and excludes none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from p2pnode.core.wire.spec import Constraint, Operator

PREFERENCE_PREFIX = "favour_"

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_INT64_MAX = 2**63 - 1

# How each operator is written in a job file, lower case.
OPERATORS = {operator.value: operator for operator in Operator} | {"==": Operator.EQUALS}


def why_not(constraint: Constraint, labels: Mapping[str, str]) -> str | None:
    """Why these labels do not satisfy the constraint; None if they do."""
    found = labels.get(constraint.key)
    if _holds(constraint, found):
        return None
    has = f"has no label {constraint.key}" if found is None else f"label {constraint.key} is {found!r}"
    return f"{has}; wanted: {describe(constraint)}"


def matches(constraint: Constraint, labels: Mapping[str, str]) -> bool:
    """Whether these labels satisfy the constraint."""
    return _holds(constraint, labels.get(constraint.key))


def requirements(constraints: Iterable[Constraint]) -> tuple[Constraint, ...]:
    """The constraints that exclude peers."""
    return tuple(one for one in constraints if not one.key.startswith(PREFERENCE_PREFIX))


def preferences(constraints: Iterable[Constraint]) -> tuple[Constraint, ...]:
    """The constraints that only rank peers, over the label that their key names after `favour_`."""
    return tuple(
        Constraint(key=one.key.removeprefix(PREFERENCE_PREFIX), operator=one.operator, values=one.values)
        for one in constraints
        if one.key.startswith(PREFERENCE_PREFIX)
    )


def describe(constraint: Constraint) -> str:
    """The constraint as a person would write it: `zone in (a, b)`, `!gpu`, `cores gt 8`."""
    key, operator, values = constraint.key, constraint.operator, constraint.values
    match operator:
        case Operator.EXISTS:
            return key
        case Operator.NOT_EXISTS:
            return f"!{key}"
        case Operator.IN | Operator.NOT_IN:
            return f"{key} {operator.value} ({', '.join(values)})"
        case _:
            return f"{key} {operator.value} {values[0] if values else ''}"


def problem(constraint: Constraint) -> str | None:
    """The fault of the constraint itself; None if it can be evaluated."""
    operator, count = constraint.operator, len(constraint.values)
    if not constraint.key.removeprefix(PREFERENCE_PREFIX).strip():
        return "the Key is blank; it must name a label"
    match operator:
        case Operator.EXISTS | Operator.NOT_EXISTS:
            if count:
                return f'operator "{operator.value}" takes no Values, found {count}'
        case Operator.IN | Operator.NOT_IN:
            if not count:
                return f'operator "{operator.value}" needs at least one of Values'
        case _:
            if count != 1:
                return f'operator "{operator.value}" needs exactly one of Values, found {count}'
    if operator in (Operator.GREATER, Operator.LESS) and _integer(constraint.values[0]) is None:
        return f'operator "{operator.value}" compares whole numbers, found "{constraint.values[0]}"'
    return None


def _holds(constraint: Constraint, found: str | None) -> bool:
    match constraint.operator:
        case Operator.EQUALS | Operator.IN:
            return found is not None and found in constraint.values
        case Operator.NOT_EQUALS | Operator.NOT_IN:
            return found is None or found not in constraint.values
        case Operator.EXISTS:
            return found is not None
        case Operator.NOT_EXISTS:
            return found is None
        case Operator.GREATER:
            return _compared(found, constraint.values, sign=1)
        case Operator.LESS:
            return _compared(found, constraint.values, sign=-1)


def _compared(found: str | None, values: tuple[str, ...], sign: int) -> bool:
    if found is None or len(values) != 1:
        return False
    left, right = _integer(found), _integer(values[0])
    return left is not None and right is not None and (left - right) * sign > 0


def _integer(text: str) -> int | None:
    """The text as a 64-bit integer in decimal digits; None if it is none."""
    if not _INTEGER.fullmatch(text):
        return None
    value = int(text)
    return value if -_INT64_MAX - 1 <= value <= _INT64_MAX else None
