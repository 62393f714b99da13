"""The functions of templates: comparison, length, index, and printf with its verbs.

They do as Go's text/template and fmt do, but what Go writes into the text as a remark,
`%!d(string=x)`, or what cannot be said of text, is an error here. `and` and `or` are not
here, as they do not always look at all their arguments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

Value = str | int | bool | Mapping[str, str]

# Wider columns are a mistake or an attack.
WIDTH_MAX = 1000

_VERB = re.compile(
    r"%(?P<flags>[-+ 0]*)(?P<width>[0-9]{1,9}|)(?P<point>\.(?P<precision>[0-9]{1,9}|))?(?P<verb>.|)",
    re.DOTALL,
)
_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_QUOTED |= {"\\": "\\\\", '"': '\\"'}
_BASES = {"d": "d", "v": "d", "b": "b", "o": "o", "x": "x", "X": "X"}


def text_of(value: Value) -> str:
    """The text that an action writes for a value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{value[key]}" for key in sorted(value)) + "]"
    return str(value)


def kind_of(value: Value) -> str:
    """The words in a message for such a value."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, Mapping):
        return "all the variables"
    return "a whole number" if isinstance(value, int) else "text"


def _exactly(count: int, arguments: tuple[Value, ...]) -> None:
    if len(arguments) != count:
        raise ValueError(f"takes {count} arguments, found {len(arguments)}")


def _comparable(left: Value, right: Value, *, ordered: bool = False) -> None:
    for value in (left, right):
        if isinstance(value, Mapping) or (ordered and isinstance(value, bool)):
            raise ValueError(f"cannot compare {kind_of(value)}")
    if kind_of(left) != kind_of(right):
        hint = "; variables are text, and numbers beside them need quotes"
        raise ValueError(f"cannot compare {kind_of(left)} with {kind_of(right)}{hint}")


def _equal(*arguments: Value) -> Value:
    """Whether the first is any of the others."""
    if len(arguments) < 2:
        raise ValueError("takes two arguments or more")
    for other in arguments[1:]:
        _comparable(arguments[0], other)
        if arguments[0] == other:
            return True
    return False


def _not_equal(*arguments: Value) -> Value:
    _exactly(2, arguments)
    return not _equal(*arguments)


def _ordering(compare: Callable[[Any, Any], bool]) -> Callable[..., Value]:
    def ordered(*arguments: Value) -> Value:
        _exactly(2, arguments)
        _comparable(*arguments, ordered=True)
        return compare(*arguments)

    return ordered


def _not(*arguments: Value) -> Value:
    _exactly(1, arguments)
    return not arguments[0]


def _length(*arguments: Value) -> Value:
    """The length of text in bytes, or the number of variables; raises `ValueError` for others."""
    _exactly(1, arguments)
    value = arguments[0]
    if isinstance(value, int):
        raise ValueError(f"{kind_of(value)} has no length")
    return len(value.encode()) if isinstance(value, str) else len(value)


def _index(*arguments: Value) -> Value:
    """A variable, empty where there is none; or a byte of text."""
    if not arguments:
        raise ValueError("takes what to look in, and a name")
    found = arguments[0]
    for key in arguments[1:]:
        if isinstance(found, Mapping):
            if not isinstance(key, str):
                raise ValueError(f"needs the name of a variable as text, found {kind_of(key)}")
            found = found.get(key, "")
        elif isinstance(found, str):
            data = found.encode()
            if isinstance(key, bool) or not isinstance(key, int) or not 0 <= key < len(data):
                raise ValueError(
                    f"needs a place from 0 to {len(data) - 1} in this text, found {text_of(key)[:80]}"
                )
            found = data[key]
        else:
            raise ValueError(f"cannot look into {kind_of(found)}")
    return found


def _print(*arguments: Value) -> Value:
    """A blank stands between two values of which neither is text."""
    written = ""
    for number, value in enumerate(arguments):
        if number and not isinstance(value, str) and not isinstance(arguments[number - 1], str):
            written += " "
        written += text_of(value)
    return written


def _print_line(*arguments: Value) -> Value:
    return " ".join(map(text_of, arguments)) + "\n"


def _printf(*arguments: Value) -> Value:
    if not arguments or not isinstance(arguments[0], str):
        raise ValueError("needs a format as its first argument, as text")
    rest = iter(arguments[1:])

    def formatted(match: re.Match[str]) -> str:
        if match["verb"] == "%":
            return "%"
        try:
            value = next(rest)
        except StopIteration:
            raise ValueError(f"{match[0]} has no argument") from None
        return _formatted(match, value)

    written = _VERB.sub(formatted, arguments[0])
    if left := len(list(rest)):
        raise ValueError(f"{left} arguments more than the format has verbs")
    return written


def _formatted(match: re.Match[str], value: Value) -> str:
    verb, flags, width = match["verb"], match["flags"], int(match["width"] or 0)
    precision = int(match["precision"] or 0) if match["point"] else None
    if max(width, precision or 0) > WIDTH_MAX:
        raise ValueError(f"{match[0]} is wider than {WIDTH_MAX}")
    if isinstance(value, str) and verb in "svqxX" and verb:
        _without_signs(match, flags)
        written = _text_verb(verb, value[:precision] if verb not in "xX" else value, precision)
    elif isinstance(value, int) and not isinstance(value, bool) and verb in (*_BASES, "c", "q"):
        written = _number_verb(match, value, precision)
    elif (isinstance(value, bool) and verb in "tv" and verb) or (isinstance(value, Mapping) and verb == "v"):
        _without_signs(match, flags)
        written = text_of(value)
    else:
        raise ValueError(f"{match[0]} cannot write {kind_of(value)}")
    if "-" in flags:
        return written.ljust(width)
    return _zeros(written, width) if "0" in flags and precision is None else written.rjust(width)


def _without_signs(match: re.Match[str], flags: str) -> None:
    if "+" in flags or " " in flags:
        raise ValueError(f"{match[0]}: + and blanks are for numbers")


def _text_verb(verb: str, text: str, precision: int | None) -> str:
    if verb == "q":
        return quoted(text)
    if verb in "xX":
        written = text.encode()[:precision].hex()
        return written.upper() if verb == "X" else written
    return text


def _number_verb(match: re.Match[str], number: int, precision: int | None) -> str:
    verb, flags = match["verb"], match["flags"]
    if verb in "cq":
        character = chr(number) if 0 <= number <= 0x10FFFF and not 0xD800 <= number < 0xE000 else "\ufffd"
        if verb == "c":
            return character
        return "'" + quoted(character)[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"
    digits = format(abs(number), _BASES[verb]).rjust(precision or 0, "0")
    # Go writes nothing for 0 with no digits asked for.
    digits = "" if precision == 0 and number == 0 else digits
    return ("-" if number < 0 else "+" if "+" in flags else " " if " " in flags else "") + digits


def _zeros(written: str, width: int) -> str:
    sign = written[:1] if written[:1] in ("-", "+", " ") else ""
    return sign + written[len(sign) :].rjust(width - len(sign), "0")


def quoted(text: str) -> str:
    """The text in double quotes with escapes, as Go's strconv.Quote writes it; YAML reads it so too."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if (known := _QUOTED.get(character)) is not None:
        return known
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


FUNCTIONS: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {
        "eq": _equal,
        "ne": _not_equal,
        "lt": _ordering(lambda left, right: left < right),
        "le": _ordering(lambda left, right: left <= right),
        "gt": _ordering(lambda left, right: left > right),
        "ge": _ordering(lambda left, right: left >= right),
        "not": _not,
        "index": _index,
        "len": _length,
        "print": _print,
        "println": _print_line,
        "printf": _printf,
    }
)
