"""A template as pieces: the text between its actions, the words in each action, and what literals mean.

Source of the rules: the scanner of Go's text/template. Of literals, those with a point
or an imaginary part, and bytes that alone are no text, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# Enough for any file that a person writes; keeps the worst text well under a second.
ACTIONS_MAX = 2_000
TOKENS_MAX = 20_000
_INT64_MAX = 2**63 - 1

_OPEN = re.compile(r"\{\{(-(?=[ \t\r\n]))?")
_CLOSE = re.compile(r"[ \t\r\n]*\}\}|[ \t\r\n]+(?P<trim>-)\}\}")
_COMMENT = re.compile(r"(?:(?<=\{\{)|(?<=\{\{-)[ \t\r\n])/\*.*?\*/(?P<close>\}\}|[ \t\r\n]-\}\})?", re.DOTALL)
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    | (?P<string>"[^"\\\n]*(?:\\.[^"\\\n]*)*")
    | (?P<raw>`[^`]*`)
    | (?P<char>'[^'\\\n]*(?:\\.[^'\\\n]*)*')
    | (?P<number>[+-]?[0-9][\w.]*)
    | (?P<variable>\$\w*)
    | (?P<field>\.[^\W0-9]\w*)
    | (?P<dot>\.)
    | (?P<word>[^\W0-9]\w*)
    | (?P<sign>:=|[=|,()])""",
    re.VERBOSE,
)
# A name has to be followed by one of these, so that .start-time is no subtraction.
_NAME_ENDS = re.compile(r"[ \t\r\n.,|:()]|\}\}|\Z")
_BLANKS = " \t\r\n"
_NUMBER = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F_]{1,20}|0[bB][01_]{1,70}|0[oO]?[0-7_]{1,30}|[1-9][0-9_]{0,25}|0)"
)
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"])|x([0-7][0-9a-fA-F])|([01][0-7]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))",
    re.DOTALL,
)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class BadTemplate(Exception):
    """The text is not a template that we fill in; says at which character and why."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at, self.message = at, message


class Text(NamedTuple):
    """The text between actions, trimmed as they say."""

    at: int
    text: str


class Token(NamedTuple):
    kind: str
    text: str
    at: int


class Tag(NamedTuple):
    """`{{ ... }}`: its tokens, ended by one of kind end."""

    at: int
    tokens: list[Token]


def split(text: str) -> Iterator[Text | Tag]:
    """The text between actions, trimmed as they say, and the actions."""
    position, trims, actions, tokens_left = 0, False, 0, TOKENS_MAX
    while opening := _OPEN.search(text, position):
        yield from _text(text, position, opening.start(), trims, bool(opening[1]))
        at = opening.start()
        actions += 1
        if actions > ACTIONS_MAX:
            raise BadTemplate(at, f"more than {ACTIONS_MAX} template actions")
        if text.startswith("/*", opening.end()) and text.find("*/", opening.end()) < 0:
            raise BadTemplate(at, "the template comment is not closed; write */}} at its end")
        if comment := _COMMENT.match(text, opening.end()):
            if comment["close"] is None:
                raise BadTemplate(at, "a template comment ends with */}} or */ -}}")
            position, trims = comment.end(), len(comment["close"]) > 2
            continue
        tokens, position, trims = _tokens(text, at, opening.end(), tokens_left)
        tokens_left -= len(tokens)
        yield Tag(at, tokens)
    yield from _text(text, position, len(text), trims, False)


def _text(text: str, start: int, end: int, trims_start: bool, trims_end: bool) -> Iterator[Text]:
    piece = text[start:end]
    if trims_start:
        piece = piece.lstrip(_BLANKS)
        start = end - len(piece)
    if trims_end:
        piece = piece.rstrip(_BLANKS)
    if piece:
        yield Text(start, piece)


def _tokens(text: str, at: int, position: int, count_max: int) -> tuple[list[Token], int, bool]:
    """An action's tokens, where it ends, and whether it trims what follows."""
    tokens: list[Token] = []
    while not (closing := _CLOSE.match(text, position)):
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            raise BadTemplate(*_no_token(text, at, position))
        tokens.append(Token(found.lastgroup, found[0], position))
        position = found.end()
        if found.lastgroup in ("field", "variable", "word") and not _NAME_ENDS.match(text, position):
            raise BadTemplate(*_bad_name(text, found[0], position))
        if len(tokens) > count_max:
            raise BadTemplate(at, f"more than {TOKENS_MAX} words in template actions")
    tokens.append(Token("end", "}}", closing.start()))
    return tokens, closing.end(), closing["trim"] is not None


def _no_token(text: str, at: int, position: int) -> tuple[int, str]:
    found = text[position : position + 1]
    if not found or found == "{":
        return at, "the template action is not closed; write }} at its end, or quote the braces as {{`{{`}}"
    if found in "\"'`":
        return position, f"text in a template action has no closing {found}"
    return position, f"{found!r} is not allowed in a template action"


def _bad_name(text: str, name: str, position: int) -> tuple[int, str]:
    rest = re.compile(r"[\w-]*").match(text, position)
    whole = name + (rest[0] if rest else "")
    if name.startswith(".") and text[position] == "-":
        return position, f'a name with - is read so: (index . "{whole[1:81]}")'
    return position, f"{text[position]!r} is not allowed after {name[:80]}"


def unquoted(quoted: str, at: int) -> str:
    """The meaning of a Go string literal. A byte that alone is no text is refused."""

    def meaning(match: re.Match[str]) -> str:
        simple, hexadecimal, octal, short, long, unknown = match.groups()
        if unknown is not None or simple == ("'" if quoted[0] == '"' else '"'):
            raise BadTemplate(at + 1 + match.start(), f"the escape {match[0]} is not known in text")
        if simple:
            return _ESCAPED.get(simple, simple)
        code = int(octal, 8) if octal else int(hexadecimal or short or long, 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise BadTemplate(at + 1 + match.start(), f"{match[0]} is no character")
        return chr(code)

    return _ESCAPE.sub(meaning, quoted[1:-1])


def character(quoted: str, at: int) -> int:
    text = unquoted(quoted, at)
    if len(text) != 1:
        raise BadTemplate(at, f"{quoted[:80]} is not one character; text is written in double quotes")
    return ord(text)


def integer(text: str, at: int) -> int:
    """A whole number as Go writes it. Raises `BadTemplate` for others, and beyond 64 bits."""
    if not _NUMBER.fullmatch(text) or text.endswith("_") or "__" in text:
        raise BadTemplate(at, f'{text[:80]} is not a whole number; write it as text: "{text[:80]}"')
    digits = text.lstrip("+-").replace("_", "")
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdecimal()
    value = int(digits, 8 if octal else 0) * (-1 if text[0] == "-" else 1)
    if not -_INT64_MAX - 1 <= value <= _INT64_MAX:
        raise BadTemplate(at, f"{text[:80]} is more than 64 bits")
    return value
