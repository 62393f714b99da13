"""Variables of templates, as they are given to the command line: `-V name=value` and `-E PATTERN`."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Longer ones are a file given by mistake; a template's output has a limit of its own.
NAME_CHARS_MAX = 200
PATTERN_CHARS_MAX = 1000
# Each is looked for once in each name.
_WORDS_MAX = 100
_ACTION = re.compile(r"\{\{(.{1,1000}?)\}\}", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_][\w-]*")
_NEXT_PAIR = re.compile(r",\s*([A-Za-z_][\w-]*)=")
# Bytes of the environment that are no UTF-8 come as such halves of a pair.
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")


def parse_assignment(text: str) -> tuple[str, str]:
    """The name and the value of `name=value`; the value keeps its commas, blanks and `=`.

    Raises `ValueError` saying what is allowed.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError(f'"{text[:80]}" is no variable; write it as name=value, one for each -V')
    if len(name) > NAME_CHARS_MAX:
        raise ValueError(f"the name of a variable has {len(name)} characters; allowed: {NAME_CHARS_MAX}")
    return name.strip(), value


def spread(given: Mapping[str, str], text: str) -> dict[str, str]:
    """`a=1,b=2` as two variables, as in Bacalhau, where the file's templates name b and it is not given.

    So a value keeps its commas unless the file asks for what stands behind one.
    """
    named = {word for action in _ACTION.findall(text) for word in _WORD.findall(action)} - given.keys()
    found: dict[str, str] = {}
    for name, value in given.items():
        begin = 0
        for match in _NEXT_PAIR.finditer(value):
            if match[1] in named:
                found[name] = value[begin : match.start()]
                name, begin = match[1], match.end()
        found[name] = value[begin:]
    return found


def select_environment(pattern: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment whose name has what the pattern says anywhere in it.

    `*` stands for any text and `|` for or, `^` and `$` for the name's beginning and end; all
    else is literal: `*`, `ENV_*|OTHER_*`, `^APP_`. That is what the regular expressions that
    people give are made of, and, unlike those, takes time in proportion to the name. Values
    that are no text are left out. Raises `ValueError` for a pattern that is empty, too
    long, or made of more.
    """
    if not pattern.strip():
        raise ValueError("the pattern is empty; write * for all variables of the environment")
    if len(pattern) > PATTERN_CHARS_MAX or pattern.count("|") >= _WORDS_MAX:
        raise ValueError(f"the pattern is too long; allowed: {PATTERN_CHARS_MAX} characters")
    # `.*` is what the star stands for, and some write it out.
    choices = [one.strip().replace(".*", "*") for one in pattern.split("|")]
    for one in choices:
        if strange := re.search(r"[\\[\](){}+?]", one):
            allowed = "names with *, | between several, ^ and $ at the ends"
            raise ValueError(f'"{one[:80]}" has {strange[0]}; allowed: {allowed}')
    return {
        name: value
        for name, value in environment.items()
        if any(one and _has(one, name) for one in choices) and _is_text(value)
    }


def _has(choice: str, name: str) -> bool:
    """Whether the parts between stars follow each other in the name; the first that fits is the best."""
    begins, ends = choice.startswith("^"), choice.endswith("$")
    parts = choice.removeprefix("^").removesuffix("$").split("*")
    if begins and ends and len(parts) == 1:
        return name == parts[0]
    head = parts.pop(0) if begins else ""
    tail = parts.pop() if ends else ""
    position, limit = len(head), len(name) - len(tail)
    if position > limit or not name.startswith(head) or not name.endswith(tail):
        return False
    for part in parts:
        position = name.find(part, position, limit)
        if position < 0:
            return False
        position += len(part)
    return True


def _is_text(value: str) -> bool:
    return not _NO_TEXT.search(value)
