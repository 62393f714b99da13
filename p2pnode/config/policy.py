"""The operator's policy file: whose jobs the node takes, how much of each, and where its own go.

It is `policy.toml` in the data directory, or where the setting `policy` says. An error names the file, the
line and the field.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pnode.config import ConfigError, kinds
from p2pnode.config.loading import parse_text, read_text
from p2pnode.config.settings import NodeConfig
from p2pnode.core.placement.policy import NO_POLICY, Quota, QuotaParty, TakePolicy, TakeRule
from p2pnode.core.values import units
from p2pnode.core.values.places import Place
from p2pnode.core.wire import peer_ids
from p2pnode.core.wire import places as wire_places
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.membership import Role
from p2pnode.core.wire.spec import NetworkType

POLICY_FILE = "policy.toml"
# A line or so of a refusal, which quotes it.
RULE_NAME_LENGTH_MAX = 80

_TOP = ("otherwise", "price", "take", "quota", "place", "probe")
# A bid has the price, and an ask tells of a job the former alone.
_PRICED_BY = ("requesters", "roles", "engines", "networks")
_TOLD_BY_AWARDS = ("namespaces", "images", "modules", "labels")
_DECISIONS = {"take": True, "refuse": False}
_ID_PATTERN = re.compile(r"[1-9A-HJ-NP-Za-km-z*?]{1,64}")
_CID = re.compile(r"[A-Za-z0-9]{40,128}")
_Read = Callable[[object], Any]


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """The policy of a node, and the file that it is from, which may not be there."""

    path: Path
    exists: bool = False
    policy: TakePolicy = NO_POLICY
    places: tuple[Place, ...] = ()
    # The words of the operator's own program, asked at each award; (): none.
    probe: tuple[str, ...] = ()
    # The URL that is asked instead; "": none.
    probe_url: str = ""

    @property
    def of_roles(self) -> tuple[str, ...]:
        """The names of the rules and places that name roles: in the open network they fit nobody."""
        rules = [one.name for one in self.policy.rules if one.roles]
        return (*rules, *(one.name for one in self.places if one.roles))


@dataclass(frozen=True, slots=True)
class _Field:
    expected: str
    read: _Read
    # The value may hold a login.
    is_secret: bool = False


def load(config: NodeConfig) -> PolicyFile:
    """The policy of a node with these settings; raises `ConfigError`."""
    path = Path(config.policy) if config.policy else config.data_dir / POLICY_FILE
    if not config.policy and not path.exists():
        return PolicyFile(path)
    text = read_text(path)
    return _Reading(path, parse_text(text, path), lines_of_tables(text)).policy_file()


def lines_of_tables(text: str) -> dict[tuple[str | int, ...], int]:
    """The line of each key of a valid file: by its name, or its table, number and name."""
    found: dict[tuple[str | int, ...], int] = {}
    piece, began = "", 0
    table: tuple[str | int, ...] = ()
    for number, line in enumerate(text.split("\n"), start=1):
        if not piece and not line.partition("#")[0].strip():
            continue
        began = began if piece else number
        piece += line + "\n"
        try:
            names = tomllib.loads(piece)
        except tomllib.TOMLDecodeError:
            # An array or a text goes on in the next line.
            continue
        if piece.lstrip().startswith("["):
            (name,) = names
            table = (name, sum(key[:1] == (name,) and len(key) == 2 for key in found))
            found[table] = began
        else:
            found.update({(*table, name): began for name in names})
        piece = ""
    return found


class _Reading:
    """One reading of a file's values."""

    def __init__(
        self, path: Path, values: Mapping[str, Any], lines: Mapping[tuple[str | int, ...], int]
    ) -> None:
        self._path = path
        self._values = values
        self._lines = lines

    def policy_file(self) -> PolicyFile:
        for name in self._values:
            if name not in _TOP:
                raise self._error((name,), f"no such field; there are {', '.join(_TOP)}")
        otherwise = self._values.get("otherwise", "take")
        places = [
            Place(found.pop("name", _shown(found)), price_micros_max=found.pop("price_max", None), **found)
            for found in self._tables("place", _PLACE, needs="peers or labels or roles or price_max")
        ]
        self._check_told(places)
        policy = TakePolicy(
            tuple(self._rules()),
            self._read(("otherwise",), _TAKE["decision"], otherwise),
            tuple(self._quotas()),
            self._read(("price",), _PRICE, self._values.get("price", 0)),
        )
        return PolicyFile(self._path, True, policy, tuple(places), **self._probe())

    def _check_told(self, places: Collection[Place]) -> None:
        """Raises `ConfigError` for more than the deputies of this node's jobs can be told."""
        try:
            wire_places.told(places)
        except BadMessage as exc:
            fewer = "write fewer or shorter ones, such as labels or roles in place of peer ids"
            raise self._error(
                ("place", 0), f"deputies cannot be told these places: {fewer} ({exc})"
            ) from None

    def _rules(self) -> Iterator[TakeRule]:
        for number, found in enumerate(self._tables("take", _TAKE, needs="decision")):
            if "price" in found and not found["decision"]:
                raise self._error(("take", number, "price"), "what is refused has no price")
            unpriced = next((one for one in _TOLD_BY_AWARDS if "price" in found and one in found), None)
            if unpriced:
                there = ", ".join(_PRICED_BY)
                told = f"a bid has the price, and an ask tells {there} only, not the job's {unpriced}"
                raise self._error(("take", number, "price"), told)
            name, takes = found.pop("name", f"take rule {number + 1}"), found.pop("decision")
            yield TakeRule(name, takes, price_micros=found.pop("price", None), **found)

    def _probe(self) -> dict[str, Any]:
        table = self._values.get("probe")
        if table is None:
            return {}
        if not isinstance(table, dict) or list(table) not in (["command"], ["url"]):
            raise self._error(("probe",), "expected a table [probe] with command or url, and nothing else")
        if "url" in table:
            return {"probe_url": self._read(("probe",), _URL, table["url"])}
        return {"probe": self._read(("probe",), _COMMAND, table["command"])}

    def _quotas(self) -> list[Quota]:
        found = self._tables("quota", _QUOTA, needs="each")
        quotas = []
        for number, table in enumerate(found):
            each, of = table.pop("each"), table.pop("of", ())
            executions = table.pop("executions", None)
            if executions is None and not table:
                raise self._error(("quota", number), f"expected one of {', '.join(_LIMITS)}")
            resources = {_LIMITS[name]: value for name, value in table.items()}
            quotas.append(Quota(each, of, executions, resources))
        return quotas

    def _tables(self, name: str, fields: Mapping[str, _Field], *, needs: str) -> list[dict[str, Any]]:
        tables = self._values.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
            raise self._error((name,), f"expected tables [[{name}]]")
        found = []
        for number, table in enumerate(tables):
            for key in table:
                if key not in fields:
                    hint = " (otherwise stands before the first table)" if key == "otherwise" else ""
                    there = ", ".join(fields)
                    raise self._error((name, number, key), f"no such field; there are {there}{hint}")
            if not any(key in table for key in needs.split(" or ")):
                raise self._error((name, number), f"{needs} is missing")
            found.append(
                {key: self._read((name, number, key), fields[key], value) for key, value in table.items()}
            )
        return found

    def _read(self, where: tuple[str | int, ...], field: _Field, value: object) -> Any:
        try:
            return field.read(value)
        except ValueError:
            got = "another" if field.is_secret else repr(value)
            raise self._error(where, f"expected {field.expected}, got {got}") from None

    def _error(self, where: tuple[str | int, ...], said: str) -> ConfigError:
        line = next((self._lines[key] for key in (where, where[:2], where[:1]) if key in self._lines), 1)
        shown = where[0] if len(where) < 2 else f"[[{where[0]}]] {int(where[1]) + 1}"
        name = f"{shown}: {where[2]}" if len(where) > 2 else shown
        return ConfigError(f"{self._path}:{line}: {name}: {said}")


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError(value)
    return value


def _name(value: object) -> str:
    if len(text := _text(value)) > RULE_NAME_LENGTH_MAX:
        raise ValueError(value)
    return text


def _decision(value: object) -> bool:
    if not isinstance(value, str) or value not in _DECISIONS:
        raise ValueError(value)
    return _DECISIONS[value]


def _list_of(read: Callable[[str], str]) -> _Read:
    def read_list(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not value:
            raise ValueError(value)
        return tuple(read(_text(one)) for one in value)

    return read_list


def _peer(text: str) -> str:
    """A peer id, or a part of one with `*`."""
    if not _ID_PATTERN.fullmatch(text) or not ("*" in text or "?" in text or peer_ids.is_peer_id(text)):
        raise ValueError(text)
    return text


def _cid(text: str) -> str:
    if not _CID.fullmatch(text):
        raise ValueError(text)
    return text


def _command(value: object) -> object:
    if not value:
        raise ValueError(value)
    return kinds.COMMAND.read(value)


def _url(value: object) -> str:
    kinds.WEBHOOKS.read([text := _text(value)])
    return text


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        raise ValueError(value)
    return {_text(key): _text(text) for key, text in value.items()}


def _price(value: object) -> int:
    # Not isinstance: true is no number. TOML's numbers are read as they are written, 0.1 as 0.1.
    if type(value) not in (int, float, str):
        raise ValueError(value)
    return units.parse_price(str(value))


def _count(value: object) -> int:
    # Not isinstance: true is no number.
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value


def _shown(place: Mapping[str, Any]) -> str:
    """The words for a place without a name."""
    peers = ["a peer that it names"] if "peers" in place else []
    price = [f"at most {units.format_price(place['price_max'])}"] if "price_max" in place else []
    roles = [f"a role of {' or '.join(place['roles'])}"] if "roles" in place else []
    labels = [f"{key}={value}" for key, value in place.get("labels", {}).items()]
    return " and ".join(peers + roles + labels + price)


_TEXTS = _Field("a list of texts, in which * is any text", _list_of(_text))
_PEERS = _Field("a list of peer ids (p2pnode id prints one), or of parts of them with *", _list_of(_peer))
_LABELS = _Field('a table of texts, such as { team = "data" }', _labels)
_ROLES = _Field(f"a list of {', '.join(Role)}", _list_of(lambda text: Role(text).value))
_PRICE = _Field(f"{units.PRICE_ALLOWED}", _price)
_NAME = _Field(f"a text of at most {RULE_NAME_LENGTH_MAX} characters", _name)
_TAKE = {
    "decision": _Field('"take" or "refuse"', _decision),
    "name": _NAME,
    "requesters": _PEERS,
    "namespaces": _TEXTS,
    "engines": _Field('a list of engines, such as "docker" and "wasm"', _list_of(str.lower)),
    "networks": _Field(
        f"a list of {', '.join(NetworkType)}", _list_of(lambda text: NetworkType(text.lower()).value)
    ),
    "images": _TEXTS,
    "modules": _Field("a list of CIDs", _list_of(_cid)),
    "labels": _LABELS,
    "roles": _ROLES,
    "price": _PRICE,
}
_QUOTA = {
    "each": _Field('"requester" or "namespace"', lambda value: QuotaParty(_text(value))),
    "of": _TEXTS,
    "executions": _Field("a number of executions, such as 10", _count),
    "cpu": _Field('CPUs, such as "4" or "500m"', lambda value: units.parse_cpu(_text(value))),
    "memory": _Field('a size, such as "16gb"', lambda value: units.parse_bytes(_text(value))),
    "disk": _Field('a size, such as "100gb"', lambda value: units.parse_bytes(_text(value))),
    "gpus": _Field("a number of GPUs, such as 1", _count),
}
_LIMITS = {
    "executions": "executions",
    "cpu": "cpu_millis",
    "memory": "memory_bytes",
    "disk": "disk_bytes",
    "gpus": "gpus",
}
_COMMAND = _Field(f"as its command {kinds.COMMAND.expected}", _command)
_URL = _Field("as its url an http or https URL without a fragment", _url, is_secret=True)
_PLACE = {"name": _NAME, "peers": _PEERS, "labels": _LABELS, "roles": _ROLES, "price_max": _PRICE}
