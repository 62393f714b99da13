"""The templates of job files as a tree: the part of Go's text/template that such files use.

Known are actions with pipelines of literals, fields, variables and functions; `if`, `with`
and `range` with their `else`, `break` and `continue`; comments; trim markers. Names of
functions are not judged here. Source of the grammar: the documentation of Go's
text/template and what its parser accepts.
"""

from __future__ import annotations

from dataclasses import dataclass

from .tokens import (
    BadTemplate,
    Text,
    Token,
    character,
    integer,
    split,
    unquoted,
)

# The depth of blocks and parentheses together; the tree is walked recursively.
DEPTH_MAX = 50
_BLOCKS = ("if", "with", "range")
_ELSEWHERE = ("define", "template", "block")


# `at` is a node's place in the text, in characters from 0.


@dataclass(frozen=True, slots=True)
class Literal:
    at: int
    value: str | int | bool


@dataclass(frozen=True, slots=True)
class Dot:
    at: int


@dataclass(frozen=True, slots=True)
class Variable:
    at: int
    # With its $; that alone is what . was at the beginning.
    name: str


@dataclass(frozen=True, slots=True)
class Fields:
    """`.a`, `$x.a` or `(...).a`"""

    at: int
    base: Operand
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Function:
    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands, each given the value of the one before as its last argument."""

    at: int
    commands: tuple[tuple[Operand, ...], ...]
    # The variables that get its value; of two, which only a range has, the first is the key.
    names: tuple[str, ...] = ()
    # Whether these are new (:=), or set again (=).
    declares: bool = True


@dataclass(frozen=True, slots=True)
class Action:
    at: int
    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Block:
    at: int
    keyword: str
    pipeline: Pipeline
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Jump:
    at: int
    keyword: str


Operand = Literal | Dot | Variable | Fields | Function | Pipeline
Statement = Text | Action | Block | Jump


def parse(text: str) -> tuple[Statement, ...]:
    """The tree of a template. Raises `BadTemplate`, whatever the text is."""
    return _Parser(text).parse()


class _Parser:
    """Recursive descent over the actions of one text."""

    def __init__(self, text: str) -> None:
        self._parts = split(text)
        self._tokens: list[Token] = []
        self._next = 0
        self._depth = 0
        self._ranges = 0
        self._variables = ["$"]

    def parse(self) -> tuple[Statement, ...]:
        body, ended_by = self._statements()
        if ended_by is not None:
            raise BadTemplate(ended_by.at, f"{{{{{ended_by.text}}}}} without an if, with or range before it")
        return body

    def _statements(self) -> tuple[tuple[Statement, ...], Token | None]:
        """Up to the `else` or `end` of this level, which is given with its tokens still to be read."""
        found: list[Statement] = []
        for part in self._parts:
            if isinstance(part, Text):
                found.append(part)
                continue
            self._tokens, self._next = part.tokens, 0
            self._skip_blanks()
            first = self._tokens[self._next]
            if first.kind == "word" and first.text in ("else", "end"):
                self._next += 1
                return tuple(found), first
            found.append(self._statement(part.at, first))
        return tuple(found), None

    def _statement(self, at: int, first: Token) -> Statement:
        if first.kind == "word" and first.text in _ELSEWHERE:
            raise BadTemplate(
                at, f"{first.text} is not known in job files; write the text where it is needed"
            )
        if first.kind == "word" and first.text in ("break", "continue"):
            self._next += 1
            self._end_of_action(first.text)
            if not self._ranges:
                raise BadTemplate(at, f"{{{{{first.text}}}}} outside of a range")
            return Jump(at, first.text)
        if first.kind == "word" and first.text in _BLOCKS:
            self._next += 1
            return self._block(at, first.text)
        pipeline = self._pipeline("an action", "end")
        return Action(at, pipeline)

    def _block(self, at: int, keyword: str) -> Block:
        self._deeper(at)
        known = len(self._variables)
        pipeline = self._pipeline(keyword, "end")
        self._ranges += keyword == "range"
        in_body = len(self._variables)
        body, ended_by = self._statements()
        self._ranges -= keyword == "range"
        del self._variables[in_body:]
        otherwise: tuple[Statement, ...] = ()
        if ended_by is not None and ended_by.text == "else":
            self._skip_blanks()
            following = self._tokens[self._next]
            if keyword != "range" and following.text == keyword:
                self._next += 1
                # The end of this one is the end of both.
                otherwise, ended_by = (self._block(following.at, keyword),), Token("word", "end", at)
                self._next = len(self._tokens) - 1
            else:
                self._end_of_action("else")
                otherwise, ended_by = self._statements()
                if ended_by is not None and ended_by.text == "else":
                    raise BadTemplate(ended_by.at, f"a second else for one {keyword}")
        if ended_by is None:
            raise BadTemplate(at, f"this {keyword} has no {{{{end}}}}")
        self._end_of_action("end")
        del self._variables[known:]
        self._depth -= 1
        return Block(at, keyword, pipeline, body, otherwise)

    def _pipeline(self, context: str, closed_by: str) -> Pipeline:
        self._skip_blanks()
        at = self._tokens[self._next].at
        names, declares = self._declared(context)
        commands: list[tuple[Operand, ...]] = []
        while True:
            self._skip_blanks()
            if not (command := self._command()):
                raise BadTemplate(self._tokens[self._next].at, f"a value is missing for {context}")
            if commands and not isinstance(command[0], Function):
                raise BadTemplate(command[0].at, "only a function can stand after |")
            commands.append(command)
            token = self._tokens[self._next]
            self._next += 1
            if token.text == closed_by or token.kind == closed_by:
                break
            if token.text != "|":
                raise BadTemplate(token.at, f"unexpected {token.text[:80]} in {context}")
        if declares:
            self._variables += names
        return Pipeline(at, tuple(commands), names, declares)

    def _declared(self, context: str) -> tuple[tuple[str, ...], bool]:
        """The variables that the pipeline sets: `$x :=`, `$x =`, and in a range `$key, $value :=`."""
        signs = [token for token in self._tokens[self._next : self._next + 8] if token.kind != "space"]
        words = [token.text if token.kind == "sign" else token.kind for token in signs]
        count = 0
        if words[:1] == ["variable"] and words[1:2] in ([":="], ["="]):
            count = 1
        elif words[:3] == ["variable", ",", "variable"] and words[3:4] in ([":="], ["="]):
            count = 2
            if context != "range":
                raise BadTemplate(signs[0].at, "only a range sets two variables")
        if not count:
            return (), True
        sign = signs[2 * count - 1]
        names = tuple(token.text for token in signs[: 2 * count : 2])
        if sign.text == "=" and (unknown := [name for name in names if name not in self._variables]):
            raise BadTemplate(signs[0].at, f"{unknown[0]} is not declared; do so with {unknown[0]} :=")
        self._next = self._tokens.index(sign, self._next) + 1
        return names, sign.text == ":="

    def _command(self) -> tuple[Operand, ...]:
        operands: list[Operand] = []
        while (operand := self._operand()) is not None:
            operands.append(operand)
            if self._tokens[self._next].kind != "space":
                break
            self._skip_blanks()
        return tuple(operands)

    def _operand(self) -> Operand | None:
        token = self._tokens[self._next]
        if token.kind in ("end", "space") or (token.kind == "sign" and token.text != "("):
            return None
        self._next += 1
        if token.text == "(" and token.kind == "sign":
            self._deeper(token.at)
            base: Operand = self._pipeline("parentheses", ")")
            self._depth -= 1
        else:
            base = self._term(token)
        names = [token.text[1:]] if token.kind == "field" else []
        while self._tokens[self._next].kind == "field":
            names.append(self._tokens[self._next].text[1:])
            self._next += 1
        if names and (isinstance(base, Literal | Function) or token.kind == "dot"):
            raise BadTemplate(token.at, f"{token.text[:80]} has no fields")
        return Fields(token.at, base, tuple(names)) if names else base

    def _term(self, token: Token) -> Operand:
        at, text = token.at, token.text
        match token.kind:
            case "string":
                return Literal(at, unquoted(text, at))
            case "raw":
                # As Go reads it, for files from Windows.
                return Literal(at, text[1:-1].replace("\r", ""))
            case "char":
                return Literal(at, character(text, at))
            case "number":
                return Literal(at, integer(text, at))
            case "variable":
                if text not in self._variables:
                    raise BadTemplate(
                        at, f"{text[:80]} is not declared; a variable of the command line is .{text[1:81]}"
                    )
                return Variable(at, text)
            case "word" if text in ("true", "false"):
                return Literal(at, text == "true")
            case "word" if text == "nil" or text in (*_BLOCKS, *_ELSEWHERE, "else", "end"):
                raise BadTemplate(at, f"{text} cannot stand here")
            case "word":
                return Function(at, text)
        return Dot(at)

    def _skip_blanks(self) -> None:
        while self._tokens[self._next].kind == "space":
            self._next += 1

    def _end_of_action(self, keyword: str) -> None:
        self._skip_blanks()
        token = self._tokens[self._next]
        if token.kind != "end":
            raise BadTemplate(token.at, f"unexpected {token.text[:80]} after {keyword}")

    def _deeper(self, at: int) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise BadTemplate(at, f"templates nested more than {DEPTH_MAX} deep")
