"""Templates of a job file, filled in before it is read: the part of Go's text/template that such files use.

The variables are a flat map from text to text, and `.` is all of them. `{{.name}}` must
be there; `{{or (index . "name") "default"}}` may be missing. A template is a small tree
(`core.jobfile.template.syntax`) that is walked here: nothing in it is ever run as code, and steps,
depth and output have limits. What is pasted is text and then read as YAML, so that a value
with `: ` or ` #` in it is safe only as `{{printf "%q" .name}}`, or where the template has quotes.

`range` goes over all variables by name (`{{range $name, $value := .}}`) or counts
(`{{range $i := 3}}`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from p2pnode.core.jobfile.converters import alike
from p2pnode.core.jobfile.problems import (
    PROBLEMS_MAX,
    FileProblem,
    JobFileError,
    Severity,
)
from p2pnode.core.jobfile.yamltree import TEXT_SIZE_BYTES_MAX

from . import syntax as syntax
from .expanded import Expanded, Piece, position
from .functions import (
    FUNCTIONS,
    Value,
    kind_of,
    text_of,
)
from .tokens import BadTemplate, Text

# A thousand loops of a hundred actions; keeps the worst template well under a second.
STEPS_MAX = 100_000
# Handling a text of so many characters costs one step.
_CHARACTERS_A_STEP = 32
# And looking through so many variables.
_VARIABLES_A_STEP = 8
_LAZY = ("and", "or")


def expand(text: str, variables: Mapping[str, str], name: str) -> Expanded:
    """The text with its templates filled in; `name` is the file's, for the messages.

    Raises `JobFileError`: with all the variables that are missing, or with the first other mistake.
    """
    if "{{" not in text:
        return Expanded((Piece(text, 0, True),), text)
    try:
        if len(text) > TEXT_SIZE_BYTES_MAX:
            raise BadTemplate(0, f"{len(text)} characters, over the limit of {TEXT_SIZE_BYTES_MAX}")
        walk = _Walk(variables)
        try:
            walk.run(syntax.parse(text))
        except BadTemplate:
            # The error may come from a variable that is missing.
            if not walk.missing:
                raise
    except BadTemplate as exc:
        raise JobFileError((_problem(text, name, exc.at, exc.message),)) from exc
    if walk.missing:
        found = sorted(walk.missing.items(), key=lambda one: one[1])[:PROBLEMS_MAX]
        raise JobFileError(
            tuple(_problem(text, name, at, _missing(variable, variables)) for variable, at in found)
        )
    return Expanded(tuple(walk.pieces), text)


def _missing(variable: str, given: Mapping[str, str]) -> str:
    like = alike(variable, given)
    meant = f" (given: {like})" if like else ""
    return (
        f"the variable {variable[:80]} has no value{meant}; give it with -V {variable[:80]}=..., "
        f'or make it optional with {{{{or (index . "{variable[:80]}") "default"}}}}'
    )


def _problem(text: str, name: str, at: int, message: str) -> FileProblem:
    line, column = position(text, at)
    return FileProblem(name, line, column, "", Severity.ERROR, message)


class _Jump(Exception):
    """`break` or `continue`, on its way to the range."""

    def __init__(self, keyword: str) -> None:
        super().__init__(keyword)
        self.keyword = keyword


@dataclass
class _Walk:
    """One walk over a tree: what it has written, and what the variables of the template hold."""

    variables: Mapping[str, str]
    # By name, with the first place that needs it.
    missing: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # The later of two with one name counts; a block's are dropped at its end.
        self._set: list[tuple[str, Value]] = [("$", self.variables)]
        self.pieces: list[Piece] = []
        self._written_chars = 0
        self._steps = 0

    def run(self, statements: tuple[syntax.Statement, ...]) -> None:
        """Raises `BadTemplate`."""
        self._all(statements, self.variables)

    def _all(self, statements: tuple[syntax.Statement, ...], dot: Value) -> None:
        for one in statements:
            self._step(one.at)
            match one:
                case Text():
                    self._write(one.text, one.at, copied=True)
                case syntax.Action():
                    value = self._value(one.pipeline, dot)
                    if not one.pipeline.names:
                        self._write(text_of(value), one.at, copied=False)
                case syntax.Jump():
                    raise _Jump(one.keyword)
                case _:
                    known = len(self._set)
                    self._block(one, dot)
                    del self._set[known:]

    def _block(self, block: syntax.Block, dot: Value) -> None:
        if block.keyword == "range":
            self._range(block, dot)
            return
        value = self._value(block.pipeline, dot)
        if value:
            self._all(block.body, value if block.keyword == "with" else dot)
        else:
            self._all(block.otherwise, dot)

    def _range(self, block: syntax.Block, dot: Value) -> None:
        pipeline = block.pipeline
        over = self._value(syntax.Pipeline(pipeline.at, pipeline.commands), dot)
        self._handled(over, pipeline.at)
        if isinstance(over, Mapping):
            members: list[tuple[Value, Value]] | range = [(name, over[name]) for name in sorted(over)]
        elif isinstance(over, int) and not isinstance(over, bool) and len(pipeline.names) < 2:
            members = range(over)
        else:
            message = "a range goes over . (all the variables), or, with one variable, counts up to a number"
            raise BadTemplate(pipeline.at, f"{message}; found {kind_of(over)}")
        for member in members:
            self._step(block.at)
            key, value = member if isinstance(member, tuple) else (member, member)
            known = len(self._set)
            for name, held in zip(
                pipeline.names, (key, value) if len(pipeline.names) > 1 else (value,), strict=False
            ):
                self._assign(name, held, pipeline.declares)
            try:
                self._all(block.body, value)
            except _Jump as jump:
                if jump.keyword == "break":
                    return
            finally:
                del self._set[known:]
        if not members:
            self._all(block.otherwise, dot)

    def _value(self, pipeline: syntax.Pipeline, dot: Value) -> Value:
        """Evaluate a pipeline, assign the result to its variables, and return it."""
        value: Value | None = None
        for command in pipeline.commands:
            value = self._command(command, value, dot)
        assert value is not None
        for name in pipeline.names:
            self._assign(name, value, pipeline.declares)
        return value

    def _command(self, command: tuple[syntax.Operand, ...], piped: Value | None, dot: Value) -> Value:
        first = command[0]
        self._step(first.at)
        if isinstance(first, syntax.Function):
            return self._call(first, command[1:], piped, dot)
        if len(command) > 1 or piped is not None:
            raise BadTemplate(first.at, "this is no function, and takes no arguments")
        return self._operand(first, dot)

    def _operand(self, operand: syntax.Operand, dot: Value) -> Value:
        self._step(operand.at)
        match operand:
            case syntax.Literal():
                return operand.value
            case syntax.Dot():
                return dot
            case syntax.Variable():
                self._step(operand.at, len(self._set) // _VARIABLES_A_STEP)
                return next(value for name, value in reversed(self._set) if name == operand.name)
            case syntax.Fields():
                return self._fields(operand, dot)
            case syntax.Function():
                return self._call(operand, (), None, dot)
        return self._value(operand, dot)

    def _fields(self, fields: syntax.Fields, dot: Value) -> Value:
        found = self._operand(fields.base, dot)
        for name in fields.names:
            if not isinstance(found, Mapping):
                hint = f"; in a range or with, a variable of the command line is $.{name[:80]}"
                raise BadTemplate(fields.at, f".{name[:80]} cannot be read of {kind_of(found)}{hint}")
            if name not in found:
                self.missing.setdefault(name, fields.at)
            # Whatever follows is not to be judged then.
            found = found.get(name, "")
        return found

    def _call(
        self, function: syntax.Function, operands: tuple[syntax.Operand, ...], piped: Value | None, dot: Value
    ) -> Value:
        if function.name in _LAZY:
            return self._lazy(function, operands, piped, dot)
        does: Callable[..., Value] | None = FUNCTIONS.get(function.name)
        if does is None:
            known = (*_LAZY, *FUNCTIONS)
            like = alike(function.name, known)
            hint = f"did you mean {like}?" if like else f"a variable is .{function.name[:80]}"
            message = f"unknown function {function.name[:80]}; {hint}; known: {', '.join(known)}"
            raise BadTemplate(function.at, message)
        arguments = [self._operand(one, dot) for one in operands]
        if piped is not None:
            arguments.append(piped)
        for argument in arguments:
            self._handled(argument, function.at)
        try:
            value = does(*arguments)
        except ValueError as exc:
            raise BadTemplate(function.at, f"{function.name}: {exc}") from exc
        self._handled(value, function.at)
        return value

    def _lazy(
        self, function: syntax.Function, operands: tuple[syntax.Operand, ...], piped: Value | None, dot: Value
    ) -> Value:
        """`or` gives its first argument that is not empty, `and` its first that is; else the last."""
        if not operands and piped is None:
            raise BadTemplate(function.at, f"{function.name} needs arguments")
        value: Value = ""
        for operand in operands:
            value = self._operand(operand, dot)
            if bool(value) == (function.name == "or"):
                return value
        return value if piped is None else piped

    def _assign(self, name: str, value: Value, declares: bool) -> None:
        if declares:
            self._set.append((name, value))
            return
        self._step(0, len(self._set) // _VARIABLES_A_STEP)
        index = max(index for index, (known, _) in enumerate(self._set) if known == name)
        self._set[index] = (name, value)

    def _write(self, text: str, at: int, *, copied: bool) -> None:
        self._written_chars += len(text)
        if self._written_chars > TEXT_SIZE_BYTES_MAX:
            raise BadTemplate(at, f"the templates make more than {TEXT_SIZE_BYTES_MAX} bytes of text")
        if text:
            self.pieces.append(Piece(text, at, copied))

    def _handled(self, value: Value, at: int) -> None:
        if isinstance(value, str):
            self._step(at, len(value) // _CHARACTERS_A_STEP)
        elif isinstance(value, Mapping):
            self._step(at, len(value))

    def _step(self, at: int, count: int = 1) -> None:
        self._steps += count
        if self._steps > STEPS_MAX:
            raise BadTemplate(at, f"the templates take more than {STEPS_MAX} steps; is a range too long?")
