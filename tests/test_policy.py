"""A policy: its rules and quotas on whose jobs a node takes, and the file that they are from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from p2pnode import own_network
from p2pnode.cli.main import main
from p2pnode.config import ConfigError
from p2pnode.config.policy import POLICY_FILE, PolicyFile, load
from p2pnode.config.settings import NodeConfig
from p2pnode.core.placement.policy import Contents, Facts, Holding, facts_of_job
from p2pnode.core.values.places import Place, why_not_in
from p2pnode.core.wire import codec
from p2pnode.core.wire.spec import DockerTask, InputSource, Resources, Source

from .core_support import spec

ME = "12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu"
ADA = "12D3KooWRfPDjkXsFMEnuwH8Gu6tXYgKQ7Rn9hLSHFqQmUEgFGTr"
BOB = "12D3KooWBobBobBob"
CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
GB = 1_000_000_000
ROOT = Path(__file__).parent.parent


def read(tmp_path: Path, text: str) -> PolicyFile:
    (tmp_path / POLICY_FILE).write_text(text)
    return load(NodeConfig(data_dir=tmp_path))


def decided(tmp_path: Path, text: str, facts: Facts) -> tuple[bool | None, str]:
    decision = read(tmp_path, text).policy.decide(facts, ME)
    return decision.taken, decision.rule


def job(requester: str = BOB, **changes: str) -> Facts:
    """A job in full, of a container in the namespace `default`."""
    contents = Contents(
        changes.get("namespace", "default"),
        {"team": changes["team"]} if "team" in changes else {},
        changes.get("image", "busybox"),
        changes.get("module", ""),
    )
    return Facts(requester, changes.get("engine", "docker"), changes.get("network", "none"), contents)


def ask(requester: str = BOB, engine: str = "docker", network: str = "none") -> Facts:
    return Facts(requester, engine, network)


HOST = '[[take]]\ndecision = "refuse"\nname = "no host"\nnetworks = ["Host"]\n'
BOBS = '[[take]]\ndecision = "refuse"\nname = "bob"\nnamespaces = ["bob-*"]\n'
ONLY_ADA = f'otherwise = "refuse"\n[[take]]\ndecision = "take"\nname = "ada"\nrequesters = ["{ADA}"]\n'
OURS = 'images = ["ghcr.io/acme/*", "busybox"]\n'
IMAGES = 'otherwise = "refuse"\n[[take]]\ndecision = "take"\nname = "ours"\n' + OURS
MODULES = f'otherwise = "refuse"\n[[take]]\ndecision = "take"\nname = "module"\nmodules = ["{CID}"]\n'
TEAM = 'otherwise = "refuse"\n[[take]]\ndecision = "take"\nname = "data"\nlabels = { team = "data" }\n'


@pytest.mark.parametrize(
    ("text", "facts", "decided_as"),
    [
        ("", ask(), (True, "")),
        (HOST, ask(), (True, "")),
        (HOST, ask(network="host"), (False, "no host")),
        # Words that an ask does not tell leave it open ...
        (BOBS, ask(), (None, "bob")),
        (BOBS, job(namespace="bob-1"), (False, "bob")),
        (BOBS, job(namespace="bobby"), (True, "")),
        # ... where it would make a difference.
        (BOBS + HOST, ask(network="host"), (False, "no host")),
        (HOST + BOBS, ask(), (None, "bob")),
        ('otherwise = "refuse"\n' + BOBS, ask(), (False, "")),
        (ONLY_ADA, ask(), (False, "")),
        (ONLY_ADA, ask(ADA), (True, "ada")),
        (IMAGES, ask(), (None, "ours")),
        (IMAGES, ask(engine="wasm"), (False, "")),
        (IMAGES, job(image="ghcr.io/acme/app:2"), (True, "ours")),
        (IMAGES, job(image="docker.io/library/busybox:1.36"), (True, "ours")),
        (IMAGES, job(image="ghcr.io/acmee/app"), (False, "")),
        (MODULES, ask(engine="wasm"), (None, "module")),
        (MODULES, job(engine="wasm", image="", module=CID), (True, "module")),
        (MODULES, job(engine="wasm", image="", module=""), (False, "")),
        (MODULES, ask(engine="docker"), (False, "")),
        (TEAM, job(team="data"), (True, "data")),
        (TEAM, job(team="web"), (False, "")),
        # This node's own jobs: only what names it.
        ('otherwise = "refuse"', job(ME), (True, "")),
        (HOST, ask(ME, network="host"), (True, "")),
        (HOST + f'requesters = ["12D3*", "{ME}"]', ask(ME, network="host"), (False, "no host")),
    ],
)
def test_the_first_rule_that_fits_decides_and_what_is_unknown_leaves_it_open(
    tmp_path: Path, text: str, facts: Facts, decided_as: tuple[bool | None, str]
) -> None:
    assert decided(tmp_path, text, facts) == decided_as


def test_a_job_s_facts_are_its_image_or_the_cid_that_its_module_is_from() -> None:
    wasm = spec(namespace="n", labels={"a": "b"})
    source = Source(type="ipfs", params={"CID": f"{CID}/below"})
    task = codec.replace(wasm.task, inputs=(InputSource(source=source, target="/m"),))
    found = facts_of_job(BOB, "", codec.replace(wasm, task=task))
    assert found == Facts(BOB, "wasm", "none", Contents("n", {"a": "b"}, "", CID))
    container = codec.replace(wasm, task=codec.replace(wasm.task, engine=DockerTask(image="busybox")))
    assert facts_of_job(BOB, "", container).contents == Contents("n", {"a": "b"}, "busybox", "")
    assert facts_of_job(BOB, "", wasm).contents == Contents("n", {"a": "b"}, "", "")


def holding(requester: str = BOB, namespace: str = "", cpu: int = 1000, memory: int = GB) -> Holding:
    return Holding(requester, namespace, Resources(cpu_millis=cpu, memory_bytes=memory))


TWO_EACH = '[[quota]]\neach = "requester"\nexecutions = 2\n'
CPU_OF_RENDER = '[[quota]]\neach = "namespace"\nof = ["render-*"]\ncpu = "2"\n'


@pytest.mark.parametrize(
    ("text", "held", "one", "over"),
    [
        (TWO_EACH, 1, holding(), None),
        (TWO_EACH, 2, holding(), "its quota for each requester is used up: 2 executions"),
        (TWO_EACH, 2, holding(ADA), None),
        (TWO_EACH, 2, holding(ME), None),
        (TWO_EACH + f'of = ["{ADA}"]', 2, holding(), None),
        (CPU_OF_RENDER, 2, holding(namespace="render-1"), None),
        ('[[quota]]\neach = "requester"\nmemory = "2gb"', 2, holding(), "used up: memory 2 GB"),
    ],
)
def test_a_quota_is_each_party_s_own(
    tmp_path: Path, text: str, held: int, one: Holding, over: str | None
) -> None:
    found = read(tmp_path, text).policy.over_quota(one, [holding()] * held, ME)
    assert (found or "").endswith(over or "") and (found is None) == (over is None)


def test_a_namespace_s_quota_counts_all_its_requesters(tmp_path: Path) -> None:
    policy = read(tmp_path, CPU_OF_RENDER).policy
    held = [holding(ADA, "render-1"), holding(BOB, "render-1"), holding(ADA, "render-2")]
    one = holding("carol", "render-1")
    assert policy.over_quota(one, held, ME) == "its quota for each namespace is used up: CPU 2"
    assert policy.over_quota(holding("carol", "render-2"), held, ME) is None
    assert policy.too_large(holding(namespace="render-1", cpu=2500), ME) is not None
    assert policy.too_large(holding(namespace="other", cpu=2500), ME) is None


def test_a_job_goes_where_one_of_the_places_fits() -> None:
    places = (Place("north", labels={"zone": "north*"}), Place("ada", (ADA,)))
    assert why_not_in((), BOB, "", {}, 0) is None
    assert why_not_in(places, BOB, "", {"zone": "north-1"}, 0) is None
    assert why_not_in(places, ADA, "", {}, 0) is None
    why = why_not_in(places, BOB, "", {}, 0)
    assert why == "is not where the requester's policy places its jobs: north or ada"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("otherwise = 3", r':1: otherwise: expected "take" or "refuse", got 3'),
        ("\n\nrules = 1", ":3: rules: no such field; there are otherwise, price, take"),
        ("[[take]]\nname = 'a'", r":1: \[\[take\]\] 1: decision is missing"),
        (
            f"{HOST}{BOBS}requesters = ['0OIl']",
            r":9: \[\[take\]\] 2: requesters: expected a list of peer",
        ),
        (f"{HOST}requesters = ['{ADA[:-1]}']", r":5: \[\[take\]\] 1: requesters: expected"),
        (
            '[[take]]\ndecision = "take"\nnetworks = [\n "None",\n "Full"]',
            ":3: .*networks: expected a list",
        ),
        ('[[take]]\ndecision = "allow"', ":2: .*decision: expected"),
        ('[[take]]\ndecision = "take"\nmodules = ["a/b"]', ":3: .*modules: expected a list of CIDs"),
        ('[[take]]\ndecision = "take"\nimages = []', ":3: .*images: expected a list of texts"),
        ('[[take]]\ndecision = "take"\nlabels = { a = 1 }', ":3: .*labels: expected a table of texts"),
        ('[[take]]\ndecision = "take"\notherwise = "take"', "otherwise stands before the first table"),
        ('[[quota]]\neach = "peer"', ':2: .*each: expected "requester" or "namespace"'),
        ('[[quota]]\neach = "requester"', r":1: \[\[quota\]\] 1: expected one of executions, cpu"),
        ('[[quota]]\neach = "requester"\nexecutions = true', ":3: .*executions: expected a number"),
        ('[[quota]]\neach = "requester"\nmemory = 16', ':3: .*memory: expected a size, such as "16gb"'),
        ("[[place]]", r":1: \[\[place\]\] 1: peers or labels or roles or price_max is missing"),
        ("price = -1", ":1: price: expected an amount of at most 6 decimals, such as 0.05, got -1"),
        ("price = true", ":1: price: expected an amount"),
        ("price = 0.0000001", ":1: price: expected an amount"),
        ("price = 1e300", ":1: price: expected an amount"),
        ("price = inf", ":1: price: expected an amount"),
        ('[[place]]\nprice_max = "cheap"', r":2: \[\[place\]\] 1: price_max: expected an amount"),
        (f"{HOST}price = 1", ":5: .*price: what is refused has no price"),
        (f"{TEAM}price = 1", ":6: .*price: a bid has the price, .* not the job's labels"),
        ("[place]\npeers = []", r":1: place: expected tables \[\[place\]\]"),
        ('[probe]\nurls = ["http://a.example"]', ":1: probe: expected a table"),
        ('[probe]\ncommand = ["probe"]', ":1: probe: expected as its command an absolute path"),
        ("[probe]\ncommand = []", ":1: probe: expected as its command"),
        ("= 1", "not TOML"),
    ],
)
def test_a_wrong_policy_is_named_with_its_line_and_field(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, text)


def test_a_policy_that_is_named_has_to_be_there_and_the_usual_one_need_not(tmp_path: Path) -> None:
    assert not load(NodeConfig(data_dir=tmp_path)).exists
    with pytest.raises(ConfigError, match="No such file"):
        load(NodeConfig(data_dir=tmp_path, policy=str(tmp_path / "rules.toml")))
    (tmp_path / "rules.toml").write_text(HOST)
    assert load(NodeConfig(data_dir=tmp_path, policy=str(tmp_path / "rules.toml"))).policy.rules


GUESTS = '[[take]]\ndecision = "refuse"\nname = "no guests"\nroles = ["guest"]\n'
MEMBERS = 'otherwise = "refuse"\n[[take]]\ndecision = "take"\nname = "ours"\nroles = ["member", "operator"]\n'


@pytest.mark.parametrize(
    ("text", "role", "decided_as"),
    [
        (GUESTS, "guest", (False, "no guests")),
        (GUESTS, "member", (True, "")),
        (GUESTS, "", (True, "")),
        (MEMBERS, "guest", (False, "")),
        (MEMBERS, "operator", (True, "ours")),
        (MEMBERS, "", (False, "")),
    ],
)
def test_a_role_is_known_at_the_ask_and_who_has_none_fits_no_rule_on_roles(
    tmp_path: Path, text: str, role: str, decided_as: tuple[bool, str]
) -> None:
    for facts in (ask(), job()):
        assert decided(tmp_path, text, replace(facts, role=role)) == decided_as


def test_a_place_may_be_of_a_role(tmp_path: Path) -> None:
    found = read(tmp_path, '[[place]]\nroles = ["member"]\nlabels = { zone = "n*" }\n')
    assert why_not_in(found.places, BOB, "member", {"zone": "north"}, 0) is None
    for role, zone in (("guest", "north"), ("", "north"), ("member", "south")):
        why = why_not_in(found.places, BOB, role, {"zone": zone}, 0)
        assert why == "is not where the requester's policy places its jobs: a role of member and zone=n*"
    assert found.of_roles == ("a role of member and zone=n*",)
    assert read(tmp_path, GUESTS + BOBS).of_roles == ("no guests",)


def test_a_probe_is_a_command_or_a_url_and_an_error_shows_no_login(tmp_path: Path) -> None:
    url = "https://ada:secret@takes.example/"
    assert read(tmp_path, f'[probe]\nurl = "{url}"\n').probe_url == url
    assert read(tmp_path, '[probe]\ncommand = ["/bin/true"]\n').probe_url == ""
    both = f'url = "{url}"\ncommand = ["/bin/true"]'
    for wrong in (f'url = "{url}#x"', f'url = "ftp{url}"', both, "url = 7"):
        with pytest.raises(ConfigError, match="probe") as error:
            read(tmp_path, f"[probe]\n{wrong}\n")
        assert "secret" not in str(error.value)


def checked(tmp_path: Path, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main(["policy", "check", *words, str(ROOT / "devnet/jobs/noop.yaml")])
    out, err = capfd.readouterr()
    return status, out + err


def test_a_check_says_that_roles_fit_nobody_in_the_open_network_and_tries_one_in_a_private_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P2PNODE_DATA_DIR", str(tmp_path))
    (tmp_path / POLICY_FILE).write_text(GUESTS)
    status, said = checked(tmp_path, capfd)
    assert status == 0 and "no guests: roles are of private networks" in said
    status, said = checked(tmp_path, capfd, "--role", "guest")
    assert status == 2 and "the open network" in said
    own_network.create(tmp_path, "acme", 1_800_000_000_000)
    status, said = checked(tmp_path, capfd, "--role", "guest")
    assert status == 3 and "its policy refuses it: no guests" in said and "Never fits" not in said
    assert checked(tmp_path, capfd, "--role", "member")[0] == 0


def test_a_bid_has_the_price_of_the_first_rule_that_fits_what_is_asked_and_has_one(tmp_path: Path) -> None:
    free = f'[[take]]\ndecision = "take"\nrequesters = ["{ADA}"]\nprice = 0\n'
    wasm = '[[take]]\ndecision = "take"\nengines = ["wasm"]\nprice = "0.05"\n'
    policy = read(tmp_path, f"price = 1.25\n{BOBS}{free}{wasm}").policy
    prices = [policy.price_of(one) for one in (ask(), ask(engine="wasm"), ask(ADA, "wasm"))]
    assert prices == [1_250_000, 50_000, 0]


def test_a_place_may_have_a_price_that_peers_there_do_not_exceed(tmp_path: Path) -> None:
    found = read(tmp_path, "[[place]]\nprice_max = 0.1\n").places
    assert why_not_in(found, BOB, "", {}, 100_000) is None
    why = why_not_in(found, BOB, "", {}, 100_001)
    assert why == "is not where the requester's policy places its jobs: at most 0.1"


def test_places_that_deputies_could_not_be_told_are_refused_with_what_to_write_instead(
    tmp_path: Path,
) -> None:
    peers = ", ".join(['"12D3KooWJ1*"'] * 65)
    with pytest.raises(ConfigError, match=r":2: \[\[place\]\] 1: .*labels or roles in place of peer ids"):
        read(tmp_path, f"# many\n[[place]]\npeers = [{peers}]\n")
