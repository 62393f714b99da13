"""Warnings of template values that YAML does not read as one text where they stand."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace

from p2pnode.core.jobfile import yamltree
from p2pnode.core.jobfile.converters import cut
from p2pnode.core.jobfile.problems import PROBLEMS_MAX, FileProblem, Severity

from .expanded import Expanded, Piece, position

# Text that YAML may not take as it is: its marks, blanks at an end, line breaks, backslashes within quotes.
_NOT_PLAIN = re.compile(r"""[]#"'{}[,:&*!|>%@`\\\n\t]|^[\s?-]|\s$""")
_ACTION = re.compile(r"\{\{(?:-\s)?\s*(.{1,200}?)\s*(?:\s-)?\}\}", re.DOTALL)
_VARIABLE = re.compile(r"\$?\.\w+")
# Each is another reading of the whole file, and a mistake seldom comes from the tenth value.
_TRIES_MAX = 10


def changed(root: yamltree.Node, expanded: Expanded, name: str) -> Iterator[FileProblem]:
    """Warnings of values that YAML did not read as one text: one is a comment, two arguments, nothing."""
    texts = "\0".join(yamltree.texts(root))
    nothing = set(yamltree.nulls(root))
    found = ((piece, start) for piece, start in expanded.written() if piece.text)
    strange = (one for one in found if _is_strange(one[0].text) or one[0].text in nothing)
    for piece, start in itertools.islice(strange, PROBLEMS_MAX):
        if piece.text in nothing:
            how = "is read as nothing"
        elif piece.text in texts:
            continue
        else:
            how = "is not read as one text"
        line, column = expanded.origin(*position(expanded.text, start))
        action, advice = _action(piece, expanded)
        message = f"{cut(piece.text)}, which {action} puts here, {how}; to have it as text, {advice}"
        yield FileProblem(
            name,
            line,
            column,
            "",
            Severity.WARNING,
            message,
        )


def blamed(problems: tuple[FileProblem, ...], expanded: Expanded) -> tuple[FileProblem, ...]:
    """Problems, by their places in the text, of which those that a value led to say so, at its own place."""
    strange = [(piece, start) for piece, start in expanded.written() if _is_strange(piece.text)]
    if not strange:
        return problems
    found = []
    for one in problems:
        offset = expanded.offset(one.line, one.column)
        within = [pair for pair in strange if pair[1] <= offset <= pair[1] + len(pair[0].text)]
        culprit = next(iter(within), None) or (None if one.path else _culprit(strange, expanded))
        found.append(one if culprit is None else _explained(one, *culprit, expanded))
    return tuple(found)


def _culprit(strange: list[tuple[Piece, int]], expanded: Expanded) -> tuple[Piece, int] | None:
    """The value without which the text is YAML."""
    for piece, start in strange[:_TRIES_MAX]:
        text = expanded.text
        try:
            yamltree.compose(f"{text[:start]}x{text[start + len(piece.text) :]}", literal_braces=True)
        except yamltree.BadYaml:
            continue
        return piece, start
    return None


def _explained(problem: FileProblem, piece: Piece, start: int, expanded: Expanded) -> FileProblem:
    line, column = position(expanded.text, start)
    action, advice = _action(piece, expanded)
    message = f"{problem.message}, as {action} puts {cut(piece.text)} here; {advice}"
    return replace(problem, line=line, column=column, message=message)


def _action(piece: Piece, expanded: Expanded) -> tuple[str, str]:
    """The template's action, and what to write for a value that is to be text."""
    found = _ACTION.match(expanded.source, piece.at)
    if found is None:
        return "a template", 'write {{printf "%q" ...}}, without quotes around it'
    argument = found[1] if _VARIABLE.fullmatch(found[1]) else f"({found[1]})"
    return f"{{{{{found[1]}}}}}", f'write {{{{printf "%q" {argument}}}}}, without quotes around it'


def _is_strange(text: str) -> bool:
    return bool(_NOT_PLAIN.search(text))
