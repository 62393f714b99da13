"""NVIDIA's cards and MIG instances, as its driver names them: what `nvidia-smi` says, read.

A card in MIG mode cannot be had whole, so its instances are its cards.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence

from p2pnode.core.values.cards import (
    MEMORY_DIGITS_MAX,
    Card,
    Maker,
    is_id,
)

# A driver that has lost its card takes many seconds to say so.
DRIVER_S_MAX = 10.0
# 256 cards, each in a line of some 100 bytes.
TABLE_LENGTH_MAX = 64 * 1024
_PROGRAM = "nvidia-smi"
_QUERY = ("--query-gpu=index,uuid,name,memory.total,mig.mode.current,driver_version",)
_FORMAT = ("--format=csv,noheader,nounits",)
# "GPU 0: NVIDIA A100 (UUID: GPU-...)", and below it "  MIG 1g.5gb  Device  0: (UUID: MIG-...)".
_LISTED = re.compile(r"GPU \d+: .*\(UUID: (GPU-\S+)\)")
_INSTANCE = re.compile(r"\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-\S+)\)")
_INSTANCE_GB = re.compile(r"\d+g\.(\d{1,6})gb")
# A driver without a number for a card's memory says one of these: it has the machine's.
_SHARED_MEMORY = ("[N/A]", "[Not Supported]")


def look() -> tuple[list[Card], list[str]]:
    """The cards that work, and a sentence for each that does not. Nothing without a driver. Blocking."""
    if not shutil.which(_PROGRAM):
        return [], []
    table, problem = _ask(*_QUERY, *_FORMAT)
    listed = ""
    if "Enabled" in table:
        listed, mig_problem = _ask("-L")
        problem = problem or mig_problem
    found, problems = parse(table, listed)
    return found, [*problems, *([problem] if problem else [])]


def parse(table: str, listed: str = "") -> tuple[list[Card], list[str]]:
    """Read cards and problems from the driver's table, a card a line, and its list of instances, if any."""
    instances = _instances(listed)
    found: list[Card] = []
    problems = []
    for line in table[:TABLE_LENGTH_MAX].splitlines():
        match [one.strip() for one in line.split(",")]:
            case [_, uuid, *names, memory, mig, driver] if names and is_id(uuid) and uuid.startswith("GPU-"):
                model = ",".join(names)
            case _:
                if line.strip():
                    problems.append(f"the NVIDIA driver says of a GPU: {line.strip()[:200]}")
                continue
        if not (memory in _SHARED_MEMORY or (memory.isdecimal() and len(memory) <= MEMORY_DIGITS_MAX)):
            problems.append(f"the GPU {uuid} ({model[:80]}) has failed: {memory[:80]}")
            continue
        card = Card(
            id=uuid,
            maker=Maker.NVIDIA,
            model=model,
            memory_mib=int(memory) if memory.isdecimal() else 0,
            driver=driver,
        )
        if mig != "Enabled":
            found.append(card)
            continue
        parts = instances.get(uuid, [])
        if not parts:
            problems.append(f"the GPU {uuid} is in MIG mode and has no instance: nvidia-smi mig makes some")
        found += [_instance(card, profile, id) for profile, id in parts]
    return found, problems


def _instances(listed: str) -> dict[str, list[tuple[str, str]]]:
    """Return the (profile, UUID) of each card's instances."""
    found: dict[str, list[tuple[str, str]]] = {}
    card = ""
    for line in listed[:TABLE_LENGTH_MAX].splitlines():
        if match := _LISTED.match(line):
            card = match[1]
        elif card and (match := _INSTANCE.match(line)) and is_id(match[2]):
            found.setdefault(card, []).append((match[1], match[2]))
    return found


def _instance(card: Card, profile: str, id: str) -> Card:
    size = _INSTANCE_GB.search(profile)
    return Card(
        id=id,
        maker=card.maker,
        model=f"{card.model} MIG {profile}",
        memory_mib=int(size[1]) * 1024 if size else 0,
        driver=card.driver,
    )


def _ask(*arguments: str) -> tuple[str, str]:
    """Return the driver's answer, and its complaint. With one card lost it may tell of the others."""
    command: Sequence[str] = (_PROGRAM, *arguments)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=DRIVER_S_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"the NVIDIA driver did not answer within {DRIVER_S_MAX:g} s"
    except OSError as error:
        return "", f"cannot run {_PROGRAM}: {error.strerror}"
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).partition("\n")[0][:200]
        return done.stdout, f"{_PROGRAM} ended with {done.returncode}: {said}"
    return done.stdout, ""
