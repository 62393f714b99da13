"""Amounts as people write them: CPU, memory and disk, GPUs, durations; and back.

Every reader takes the text of a job file or of a flag, works in integers (a float would
turn 0.29 cores into 289m), and raises `ValueError` whose message names what was found and what
is allowed. Every writer gives text that its reader turns into the same amount, except
`about_bytes`, which is for tables.

Of the units of memory and disk `k m g t p e`, with or without a `b`, are powers of 1000
and `ki mi gi ti pi ei` powers of 1024; case and blanks do not matter.
"""

from __future__ import annotations

import re

# 2^53 - 1: the largest integer that every JSON reader (a browser too) holds exactly.
AMOUNT_MAX = 2**53 - 1
# Longer is a mistake (milliseconds taken for seconds), and keeps sums of times far from overflow.
DURATION_S_MAX = 10 * 365 * 86_400
# No machine has more; a larger number is a mistyped one.
GPUS_MAX = 1024
# A file system takes so much for a file or directory, however little is in it: mostly one block.
ENTRY_SIZE_BYTES = 4096
# A number with more digits says nothing, and long digits are slow to convert.
_TEXT_CHARS_MAX = 40

_POWERS = "kmgtpe"
_UNITS = {letter: 1000 ** (power + 1) for power, letter in enumerate(_POWERS)} | {
    f"{letter}i": 1024 ** (power + 1) for power, letter in enumerate(_POWERS)
}
# Millionths of the unit that a network's members agree on for prices: finer than any coin.
PRICE_MICROS = 1_000_000
_NUMBER = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
_CPU = re.compile(rf"(?:(?P<millis>[0-9]+)m|(?P<cores>{_NUMBER}))")
_BYTES = re.compile(rf"(?P<number>{_NUMBER})(?P<unit>[{_POWERS}]i?)?b?")
_PRICE = re.compile(r"[0-9]+(?:\.[0-9]{1,6})?")
_DURATION = re.compile(r"(?:(?P<h>[0-9]+)h)?(?:(?P<m>[0-9]+)m)?(?:(?P<s>[0-9]+)s?)?")

# The texts that readers take, for the schema of job files: regular expressions as JavaScript knows them.
CPU_PATTERN = rf"^\s*([0-9]+[mM]|{_NUMBER})\s*$"
BYTES_PATTERN = rf"^\s*({_NUMBER})\s*([{_POWERS}{_POWERS.upper()}][iI]?)?[bB]?\s*$"
GPU_PATTERN = r"^\s*[0-9]{1,4}\s*$"
DURATION_PATTERN = r"^\s*([0-9]+[sS]?|(?=[0-9])([0-9]+[hH])?([0-9]+[mM])?([0-9]+[sS])?)\s*$"

PRICE_ALLOWED = "an amount of at most 6 decimals, such as 0.05"
CPU_ALLOWED = "cores such as 2 or 0.25, or whole millicores such as 250m"
BYTES_ALLOWED = "a number with a unit such as 512MB, 1.5GB (powers of 1000) or 2GiB (powers of 1024)"
GPU_ALLOWED = f"a whole number from 0 to {GPUS_MAX}"
DURATION_ALLOWED = "whole seconds such as 90, or hours, minutes and seconds such as 5m, 1h30m or 90s"


def parse_cpu(text: str) -> int:
    """CPU in thousandths of a core: `250m`, `0.25`, `1`; what is finer is cut off.

    Raises `ValueError` for anything else, and for less than 1m.
    """
    match = _whole(_CPU, text)
    if match is None:
        raise _not(text, "an amount of CPU", CPU_ALLOWED)
    millis = int(match["millis"]) if match["millis"] else _scaled(match["cores"], 1000)
    if not 0 < millis <= AMOUNT_MAX:
        raise _not(text, "an amount of CPU that a job can run with", f"at least 1m, {CPU_ALLOWED}")
    return millis


def parse_price(text: str) -> int:
    """A price in millionths of its unit: `0.05`, `2`. Raises `ValueError` for anything else."""
    match = _whole(_PRICE, text)
    if match is None or (micros := _scaled(match[0], PRICE_MICROS)) > AMOUNT_MAX:
        raise _not(text, "a price", PRICE_ALLOWED)
    return micros


def format_price(micros: int) -> str:
    """A price as its reader takes it, without needless zeros."""
    whole, rest = divmod(micros, PRICE_MICROS)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def parse_bytes(text: str) -> int:
    """A size in bytes: `512`, `1Gb`, `1.5 GiB`, in any case; a fraction of a byte is cut off.

    Raises `ValueError` for anything else.
    """
    match = _whole(_BYTES, text)
    if match is None:
        raise _not(text, "a size", BYTES_ALLOWED)
    size_bytes = _scaled(match["number"], _UNITS.get(match["unit"] or "", 1))
    if size_bytes > AMOUNT_MAX:
        raise _not(text, "a size that any machine has", f"at most {about_bytes(AMOUNT_MAX)}")
    return size_bytes


def parse_gpus(text: str) -> int:
    """A number of GPUs. Raises `ValueError` for anything but a small whole number."""
    if not re.fullmatch(r"[0-9]{1,6}", text.strip()) or int(text) > GPUS_MAX:
        raise _not(text, "a number of GPUs", GPU_ALLOWED)
    return int(text)


def parse_duration(text: str) -> int:
    """A duration in seconds: `301`, `90s`, `5m`, `1h30m`.

    Raises `ValueError` for anything else, and for more than `DURATION_S_MAX`.
    """
    match = _whole(_DURATION, text)
    if match is None or not match[0]:
        raise _not(text, "a duration", DURATION_ALLOWED)
    hours, minutes, seconds = (int(match[unit] or 0) for unit in "hms")
    # A bare number after a unit has lost its own: 1h30 may mean 30 minutes or 30 seconds.
    if match["s"] and match[0][-1] != "s" and (match["h"] or match["m"]):
        raise _not(text, "a duration", DURATION_ALLOWED)
    duration_s = hours * 3600 + minutes * 60 + seconds
    if duration_s > DURATION_S_MAX:
        raise _not(text, "a duration that a job can have", "at most 10 years")
    return duration_s


def format_cpu(cpu_millis: int) -> str:
    """`2` for whole cores, else `250m`."""
    return f"{cpu_millis // 1000}" if cpu_millis % 1000 == 0 and cpu_millis else f"{cpu_millis}m"


def format_bytes(size_bytes: int) -> str:
    """The shortest exact text: `1GB`, `1.5GB`, `1GiB`, `1234567B`."""
    texts = [f"{size_bytes}B"]
    for power, letter in enumerate(_POWERS, start=1):
        for base, infix in ((1000, ""), (1024, "i")):
            unit_bytes = base**power
            whole, rest = divmod(size_bytes, unit_bytes)
            if whole and rest * 1000 % unit_bytes == 0:
                digits = f"{whole}.{rest * 1000 // unit_bytes:03}".rstrip("0").rstrip(".")
                texts.append(f"{digits}{letter.upper()}{infix}B")
    return min(texts, key=len)


def about_bytes(size_bytes: int) -> str:
    """The size to three digits, for tables: `1.07 GB`, `512 MB`, `0 B`. Not exact."""
    amount, unit = float(size_bytes), "B"
    for letter in _POWERS:
        if amount < 999.5:
            break
        amount, unit = amount / 1000, f"{letter.upper()}B"
    return f"{amount:.3g} {unit}"


def format_duration(duration_s: int) -> str:
    """`45s`, `5m`, `1h30m`, `0s`."""
    hours, rest = divmod(duration_s, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def _scaled(number: str, unit: int) -> int:
    """A decimal number, which may have a point, times the unit; what is finer than 1 is cut off."""
    whole, _, fraction = number.partition(".")
    scale: int = 10 ** len(fraction)
    return int(whole + fraction) * unit // scale


def _whole(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The match of the whole text, without blanks, in lower case; None also for a senselessly long text."""
    if len(text) > _TEXT_CHARS_MAX:
        return None
    return pattern.fullmatch("".join(text.split()).lower())


def _not(text: str, what: str, allowed: str) -> ValueError:
    found = text if len(text) <= _TEXT_CHARS_MAX else text[:_TEXT_CHARS_MAX] + "..."
    return ValueError(f'"{found}" is not {what}; allowed: {allowed}')
