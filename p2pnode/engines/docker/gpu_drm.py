"""AMD's and Intel's cards, as the kernel has them below /sys/class/drm.

A program needs a card's render node, AMD's the compute driver's node as well. Graphics that are a part of
the processor are no card.
"""

from __future__ import annotations

import re
from pathlib import Path

from p2pnode.core.values.cards import (
    CARDS_MAX,
    MEMORY_DIGITS_MAX,
    Card,
    Maker,
    is_id,
)

DRM = "sys/class/drm"
KFD = "/dev/kfd"
# AMD's processors with graphics give these some 0.5 GiB of the machine's memory by default.
AMD_MEMORY_MIB_MIN = 2_048
# Where Intel's processors have their graphics, since there are such.
_INTEL_BUILT_IN = "0000:00:02.0"
_MAKERS = {"0x1002": Maker.AMD, "0x8086": Maker.INTEL}
_NAMES = {Maker.AMD: "AMD GPU", Maker.INTEL: "Intel GPU"}
# The kernel's files hold a word or a line.
_FILE_LENGTH_MAX = 4_096


def look(root: Path = Path("/")) -> tuple[list[Card], list[str]]:
    """The cards that work, and a sentence for each that does not. Blocking.

    `root` is where /sys and /dev are.
    """
    found: list[Card] = []
    problems: list[str] = []
    try:
        renders = sorted((root / DRM).glob("renderD*"), key=lambda one: (len(one.name), one.name))
    except OSError:
        return [], []
    for render in renders[:CARDS_MAX]:
        device = render / "device"
        maker = _MAKERS.get(_read(device / "vendor"))
        place = device.resolve().name
        if maker is None or not is_id(place) or not re.fullmatch(r"renderD\d{1,4}", render.name):
            continue
        card = _card(maker, device, place, render.name)
        if _is_built_in(card, place):
            continue
        missing = [node for node in card.nodes if not (root / node.lstrip("/")).exists()]
        if missing:
            problems.append(
                f"the GPU {card.id} is given to no job: there is no {missing[0]} (is its driver loaded?)"
            )
        else:
            found.append(card)
    return found, problems


def _card(maker: Maker, device: Path, place: str, render: str) -> Card:
    driver = (device / "driver").resolve().name if (device / "driver").exists() else ""
    version = _read(device / "driver" / "module" / "version")
    # Only AMD's larger cards have a number of their own.
    own = _read(device / "unique_id")
    kind = _read(device / "device").removeprefix("0x")
    memory = _read(device / "mem_info_vram_total") or _read(device / "lmem_total_bytes")
    digits = memory.isdecimal() and len(memory) <= MEMORY_DIGITS_MAX + 6
    return Card(
        id=f"{maker}-{own}" if re.fullmatch(r"[0-9a-f]{8,32}", own) else place,
        maker=maker,
        model=_read(device / "product_name") or f"{_NAMES[maker]} {kind}",
        memory_mib=int(memory) // 1024**2 if digits else 0,
        driver=f"{driver} {version}".strip(),
        nodes=(f"/dev/dri/{render}", *([KFD] if maker is Maker.AMD else [])),
    )


def _is_built_in(card: Card, place: str) -> bool:
    if card.maker is Maker.INTEL:
        return place == _INTEL_BUILT_IN
    return card.memory_mib < AMD_MEMORY_MIB_MIN


def _read(path: Path) -> str:
    """A file's first line; "" if there is none, or it does not answer."""
    try:
        with open(path, errors="replace") as file:
            return file.read(_FILE_LENGTH_MAX).strip().partition("\n")[0].strip()
    except OSError:
        return ""
