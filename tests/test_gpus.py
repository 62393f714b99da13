"""GPUs: what drivers say is read, cards are chosen by name, and a container has just its own.

There is no real card: drivers are programs and files that say what real ones say.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from p2pnode.core.values import cards
from p2pnode.core.values.cards import Card, Maker, NoCards
from p2pnode.engines.docker import gpu_drm, gpu_nvidia, gpus
from p2pnode.engines.docker.answers import Info
from p2pnode.engines.docker.gpus import GivenCards, Gpus

H100 = "GPU-a6ae1def-0000-4000-8000-000000000001"
H101 = "GPU-a6ae1def-0000-4000-8000-000000000002"
MIG = "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f"


def nvidia(id: str, model: str = "NVIDIA H100", memory_mib: int = 81559) -> Card:
    return Card(id=id, maker=Maker.NVIDIA, model=model, memory_mib=memory_mib, driver="580.1")


# Answers of NVIDIA's driver.

LISTED = f"""GPU 0: NVIDIA H100 (UUID: {H100})
  MIG 1g.10gb     Device  0: (UUID: {MIG})
  MIG 2g.20gb     Device  1: (UUID: MIG-{H100}/7/0)
GPU 1: NVIDIA H100 (UUID: {H101})
"""


@pytest.mark.parametrize(
    ("table", "listed", "found", "problem"),
    [
        pytest.param(
            f"0, {H100}, NVIDIA H100, 81559, Disabled, 580.1\n1, {H101}, NVIDIA H100, 81559, [N/A], 580.1\n",
            "",
            [nvidia(H100), nvidia(H101)],
            "",
            id="two cards are named by UUID, whether they know MIG or not",
        ),
        pytest.param(
            f"0, {H100}, NVIDIA GB10, [N/A], [N/A], 580.1\n",
            "",
            [nvidia(H100, "NVIDIA GB10", 0)],
            "",
            id="a card that shares the machine's memory is a card",
        ),
        pytest.param(
            f"0, {H100}, NVIDIA H100, [GPU is lost], [GPU is lost], 580.1\n"
            f"1, {H101}, NVIDIA H100, 81559, Disabled, 580.1\n",
            "",
            [nvidia(H101)],
            f"{H100} (NVIDIA H100) has failed: [GPU is lost]",
            id="a lost card is told and is none, and the other stays",
        ),
        pytest.param(
            f"Unable to determine the device handle for GPU0000:3B:00.0: GPU is lost.\n"
            f"1, {H101}, NVIDIA H100, 81559, Disabled, 580.1\n",
            "",
            [nvidia(H101)],
            "Unable to determine the device handle",
            id="a complaint between the lines is told",
        ),
        pytest.param(
            f"0, {H100}, NVIDIA H100, 81559, Enabled, 580.1\n"
            f"1, {H101}, NVIDIA H100, 81559, Disabled, 580.1\n",
            LISTED,
            [
                nvidia(MIG, "NVIDIA H100 MIG 1g.10gb", 10240),
                nvidia(f"MIG-{H100}/7/0", "NVIDIA H100 MIG 2g.20gb", 20480),
                nvidia(H101),
            ],
            "",
            id="instances count as cards in place of their card",
        ),
        pytest.param(
            f"0, {H100}, NVIDIA H100, 81559, Enabled, 580.1\n",
            f"GPU 0: NVIDIA H100 (UUID: {H100})\n",
            [],
            "has no instance",
            id="a card in MIG mode without instances is told and is none",
        ),
        pytest.param(
            f"0, {H100}, NVIDIA H100, {'9' * 13}, Disabled, 580.1\n", "", [], "failed", id="no such size"
        ),
        pytest.param("0, ../../x, T4, 15360, Disabled, 5\n", "", [], "says of a GPU", id="no such name"),
        pytest.param("\n\n", "", [], "", id="nothing is nothing"),
    ],
)
def test_what_the_nvidia_driver_says_is_read(
    table: str, listed: str, found: list[Card], problem: str
) -> None:
    read_cards, problems = gpu_nvidia.parse(table, listed)
    assert read_cards == found
    assert problem in " ".join(problems)
    assert bool(problem) == bool(problems)


@pytest.mark.parametrize(
    ("script", "count", "problem"),
    [
        pytest.param(f"echo '0, {H100}, Tesla T4, 15360, [N/A], 535.1'", 1, "", id="it answers"),
        pytest.param("echo no devices >&2; exit 9", 0, "ended with 9: no devices", id="it fails"),
        pytest.param(
            f"echo '0, {H100}, T4, 15360, [N/A], 5'; echo 'GPU is lost' >&2; exit 15",
            1,
            "GPU is lost",
            id="it tells of those that work and complains",
        ),
        pytest.param(
            f'case "$1" in -L) printf "GPU 0: H (UUID: {H100})\\n  MIG 1g.10gb Device 0: (UUID: {MIG})\\n";;'
            f" *) echo '0, {H100}, H, 81559, Enabled, 5';; esac",
            1,
            "",
            id="it is asked for instances where there are some",
        ),
    ],
)
def test_the_driver_is_a_program(
    script: str, count: int, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found, problems = gpu_nvidia.look()
    assert len(found) == count
    assert problem in " ".join(problems)


def test_without_a_driver_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpu_nvidia.look() == ([], [])


# Words of the kernel on AMD's and Intel's.


def add_render(root: Path, number: int, place: str, *, nodes: bool = True, **files: str) -> None:
    device = root / "sys/devices" / place
    device.mkdir(parents=True)
    for name, text in files.items():
        (device / name).write_text(f"{text}\n")
    driver = root / "sys/bus/pci/drivers" / {"0x1002": "amdgpu", "0x8086": "xe"}.get(files["vendor"], "x")
    driver.mkdir(parents=True, exist_ok=True)
    (device / "driver").symlink_to(driver)
    render = root / gpu_drm.DRM / f"renderD{number}"
    render.mkdir(parents=True)
    (render / "device").symlink_to(device)
    if nodes:
        for node in (f"dev/dri/renderD{number}", "dev/kfd"):
            (root / node).parent.mkdir(parents=True, exist_ok=True)
            (root / node).touch()


AMD = {"vendor": "0x1002", "device": "0x74a1", "mem_info_vram_total": str(192 * 1024**3)}


@pytest.mark.parametrize(
    ("files", "place", "nodes", "expected"),
    [
        pytest.param(
            {**AMD, "unique_id": "3a4b5c6d7e8f9011", "product_name": "AMD Instinct MI300X"},
            "0000:c1:00.0",
            True,
            ("amd-3a4b5c6d7e8f9011", "AMD Instinct MI300X", 196608, ("/dev/dri/renderD129", "/dev/kfd")),
            id="a large AMD card has a number of its own, and the compute node as well",
        ),
        pytest.param(
            AMD,
            "0000:c1:00.0",
            True,
            ("0000:c1:00.0", "AMD GPU 74a1", 196608, ("/dev/dri/renderD129", "/dev/kfd")),
            id="another goes by its place",
        ),
        pytest.param(
            {"vendor": "0x8086", "device": "0x56c0"},
            "0000:03:00.0",
            True,
            ("0000:03:00.0", "Intel GPU 56c0", 0, ("/dev/dri/renderD129",)),
            id="an Intel card has its render node",
        ),
        pytest.param({"vendor": "0x8086"}, "0000:00:02.0", True, None, id="Intel's built-in is no card"),
        pytest.param(
            {**AMD, "mem_info_vram_total": str(512 * 1024**2)}, "0000:0a:00.0", True, None, id="nor is AMD's"
        ),
        pytest.param({"vendor": "0x10de"}, "0000:01:00.0", True, None, id="NVIDIA's are its driver's"),
        pytest.param(AMD, "0000:c1:00.0", False, "there is no /dev/dri/renderD129", id="no node is told"),
    ],
)
def test_what_the_kernel_says_of_cards_is_read(
    files: dict[str, str],
    place: str,
    nodes: bool,
    expected: tuple[str, str, int, tuple[str, ...]] | str | None,
    tmp_path: Path,
) -> None:
    add_render(tmp_path, 129, place, nodes=nodes, **files)
    found, problems = gpu_drm.look(tmp_path)
    if isinstance(expected, str):
        assert not found
        assert expected in problems[0]
    else:
        assert [(one.id, one.model, one.memory_mib, one.nodes) for one in found] == [expected] * bool(
            expected
        )
        assert not problems


def test_a_machine_without_drm_has_no_such_cards(tmp_path: Path) -> None:
    assert gpu_drm.look(tmp_path) == ([], [])


# Which an execution gets.

A, B, C = nvidia("GPU-aaaa"), nvidia("GPU-bbbb"), nvidia("GPU-cccc", "Tesla T4", 15360)


@pytest.mark.parametrize(
    ("held", "count", "chosen"),
    [
        pytest.param([], 0, [], id="none for none"),
        pytest.param([], 1, [C], id="one of the model of which least is left"),
        pytest.param([], 2, [A, B], id="two of one model"),
        pytest.param([], 3, [A, B, C], id="all, of two models as it must be"),
        pytest.param([A.id, C.id], 1, [B], id="never one that is held"),
        pytest.param([A.id], 2, [B, C], id="unlike ones where no others are free"),
        pytest.param([A.id], 3, None, id="not more than are free"),
    ],
)
def test_cards_are_chosen_that_nobody_holds(held: list[str], count: int, chosen: list[Card] | None) -> None:
    if chosen is None:
        with pytest.raises(NoCards, match="3 GPUs were reserved, but of the 3 that work here 1 are in use"):
            cards.choose([A, B, C], held, count)
    else:
        assert list(cards.choose([A, B, C], held, count)) == chosen


def test_a_node_lends_the_cards_of_one_maker() -> None:
    """A job for a card is written for one maker's, and nobody wants a processor's graphics for it."""
    intel = Card(id="0000:03:00.0", maker=Maker.INTEL, model="Intel GPU")
    assert cards.usable([intel, A, A]) == (A,)
    assert cards.usable([]) == ()


def test_the_names_of_cards_are_read_from_a_label() -> None:
    assert cards.from_text(cards.to_text([A.id, B.id])) == (A.id, B.id)
    assert cards.from_text("") == ()
    assert cards.from_text("GPU-aaaa,../x,\n,GPU bbbb") == ("GPU-aaaa",)


def test_labels_tell_of_models_memory_and_driver() -> None:
    assert cards.labels([A, C]) == {
        "GPU-0": "NVIDIA-H100",
        "GPU-0-Memory": "81559-MiB",
        "GPU-1": "Tesla-T4",
        "GPU-1-Memory": "15360-MiB",
        "GPU-Driver": "nvidia-580.1",
    }
    assert cards.labels([]) == {}
    many = cards.labels([nvidia(f"GPU-{number:04}", "x " * 500) for number in range(100)])
    assert len(many) == 2 * cards.LABELLED_MAX + 1
    assert all(len(text) <= cards.LABEL_LENGTH_MAX for text in many.values())


# How the engine is asked for them.


def info(text: str) -> Info:
    return msgspec.json.decode(text, type=Info)


RUNTIME = info('{"Runtimes": {"runc": {}, "nvidia": {}}}')
CDI = info(f'{{"DiscoveredDevices": [{{"Source": "cdi", "ID": "nvidia.com/gpu={A.id}"}}]}}')
NEITHER = info('{"Runtimes": {"runc": {}}, "DiscoveredDevices": null}')
PODMAN = info('{"Runtimes": {"nvidia": {}}, "BuildahVersion": "1.28.2"}')
CDI_BY_NUMBER = info('{"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]}')


@pytest.mark.parametrize(
    ("chosen", "engine", "expected"),
    [
        pytest.param(
            [A],
            CDI,
            GivenCards((A.id,), "cdi", (f"nvidia.com/gpu={A.id}",)),
            id="by CDI's name where the engine has it",
        ),
        pytest.param(
            [A, B],
            RUNTIME,
            GivenCards(
                (A.id, B.id),
                "nvidia",
                (A.id, B.id),
                ("gpu",),
                variables={"NVIDIA_VISIBLE_DEVICES": f"{A.id},{B.id}"},
            ),
            id="by UUID of NVIDIA's runtime else",
        ),
        pytest.param(
            [],
            RUNTIME,
            GivenCards(variables={"NVIDIA_VISIBLE_DEVICES": "void"}),
            id="no card, whatever an image says",
        ),
        pytest.param([], NEITHER, GivenCards(), id="nothing for nothing"),
    ],
)
def test_the_engine_is_asked_for_named_cards(chosen: list[Card], engine: Info, expected: GivenCards) -> None:
    assert gpus.given(chosen, engine) == expected


@pytest.mark.parametrize(
    ("engine", "can"),
    [(CDI, True), (RUNTIME, True), (NEITHER, False), (PODMAN, False), (CDI_BY_NUMBER, False)],
)
def test_a_card_counts_only_where_the_engine_can_pass_on_just_that(
    engine: Info, can: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpus.can_pass_on(A, engine) is can


# Answers to users on cards.


async def test_cards_that_come_and_go_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    looks = iter([([A, B], ["one has failed"]), ([A], ["one has failed"]), ([A], [])])
    known = Gpus("/nowhere", lambda: next(looks))
    with caplog.at_level("INFO"):
        for _ in range(3):
            await known.usable(0.0)
    told = [record.getMessage() for record in caplog.records]
    assert told.count("one has failed") == 1
    assert told.count(f"the GPU {B.id} ({B.model}) is gone, or has failed") == 1
    assert sum("there is a GPU" in one for one in told) == 2


@pytest.mark.parametrize("then", [[A], []])
async def test_a_card_that_is_missing_after_a_restart_is_told(
    then: list[Card], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for found in ([A, B], then):
        await Gpus("/nowhere", lambda found=found: (found, []), tmp_path / "gpus").usable()
    gone = {record.getMessage() for record in caplog.records if record.levelname == "WARNING"}
    assert gone == {
        f"the GPU {one.id} ({one.model}) is gone, or has failed" for one in (A, B) if one not in then
    }


async def test_a_spoilt_file_of_cards_is_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "gpus").write_bytes(b"\xff\x00\n../x y\n\n" + b"z" * 10**6)
    await Gpus("/nowhere", lambda: ([A], []), tmp_path / "gpus").usable()
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert (tmp_path / "gpus").read_text() == f"{A.id} {A.model}\n"
