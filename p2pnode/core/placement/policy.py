"""A node's policy: whose jobs it takes, and how much of each requester or namespace at a time.

An ask tells its requester and what the job needs, an award all of the job. A rule that asks for more
than is known leaves open what happens, so an ask is refused only where its award would be, too. This
node's own jobs are its operator's: for them counts only what names this node by its id.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from p2pnode.core.records.reservations import Reservation
from p2pnode.core.values import content_paths
from p2pnode.core.values.images import fits_form
from p2pnode.core.values.places import any_fits, labels_fit
from p2pnode.core.values.units import about_bytes, format_cpu
from p2pnode.core.wire.messages import Requirements
from p2pnode.core.wire.spec import DockerTask, JobSpec, Resources, Task, WasmTask

from .matching import requirements_of

_FORMS: Mapping[str, Callable[[int], str]] = {
    "cpu_millis": format_cpu,
    "memory_bytes": about_bytes,
    "disk_bytes": about_bytes,
    "gpus": str,
}
_WORDS = {"cpu_millis": "CPU", "memory_bytes": "memory", "disk_bytes": "disk", "gpus": "GPUs"}


@dataclass(frozen=True, slots=True)
class Contents:
    """The part of a job that only its award tells."""

    namespace: str
    labels: Mapping[str, str]
    # "": its engine runs no image, or no module that has a CID.
    image: str
    module: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of a job as it is decided on."""

    # "": anybody, whom no rule names.
    requester: str
    engine: str
    network: str
    # None: it is only asked about.
    contents: Contents | None = None
    # The requester's in the private network; "": not known, or in none.
    role: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    # None: what an ask tells leaves it open.
    taken: bool | None
    # The name of the rule that decides, or first may; "": none fits.
    rule: str

    @property
    def reason(self) -> str:
        """The words of a refusal."""
        return f"its policy refuses it: {self.rule}" if self.rule else "its policy takes no such job"


@dataclass(frozen=True, slots=True)
class TakeRule:
    """Jobs that fit all that it names are taken, or refused; of images and modules, one."""

    name: str
    takes: bool
    requesters: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    # A requester of no known role fits none.
    roles: tuple[str, ...] = ()
    # The cost of an execution of such a job; None: as the policy says.
    price_micros: int | None = None

    def fits(self, facts: Facts) -> bool | None:
        """Whether the job fits; None where that is not known yet."""
        asked = (
            (self.requesters, facts.requester),
            (self.engines, facts.engine),
            (self.networks, facts.network),
        )
        if self.roles and facts.role not in self.roles:
            return False
        if not all(not patterns or any_fits(patterns, text) for patterns, text in asked):
            return False
        runs = self.images or self.modules
        if runs and not {"docker": self.images, "wasm": self.modules}.get(facts.engine):
            return False
        contents = facts.contents
        if contents is None:
            return None if runs or self.namespaces or self.labels else True
        named = any(fits_form(one, contents.image) for one in self.images) if contents.image else False
        return (
            (not self.namespaces or any_fits(self.namespaces, contents.namespace))
            and labels_fit(self.labels, contents.labels)
            and (not runs or named or contents.module in self.modules)
        )


@dataclass(frozen=True, slots=True)
class Holding:
    """The resources that an execution holds, and for whom."""

    requester: str
    # "": its award has yet to tell.
    namespace: str
    resources: Resources


def holding_of(one: Reservation) -> Holding:
    return Holding(one.requester or one.owner, one.namespace, one.requirements.resources)


class QuotaParty(enum.StrEnum):
    """The parties that each have a quota of their own."""

    REQUESTER = "requester"
    NAMESPACE = "namespace"


@dataclass(frozen=True, slots=True)
class Quota:
    """The most that a party holds here at once, from its bids on; `of` narrows it to some parties."""

    each: QuotaParty
    of: tuple[str, ...] = ()
    executions: int | None = None
    # By the names of `Resources`.
    resources: Mapping[str, int] = field(default_factory=dict)

    def party(self, one: Holding, me: str) -> str:
        """The party that has this quota and holds it; "" where it has none."""
        party = one.requester if self.each is QuotaParty.REQUESTER else one.namespace
        if (self.of and not any_fits(self.of, party)) or (one.requester == me and me not in self.of):
            return ""
        return party

    def over(self, held: Collection[Holding]) -> str | None:
        """The limit that these together exceed; None where none is."""
        if self.executions is not None and len(held) > self.executions:
            return f"{self.executions} execution{'s' * (self.executions != 1)}"
        for name, limit in self.resources.items():
            if sum(getattr(one.resources, name) for one in held) > limit:
                return f"{_WORDS[name]} {_FORMS[name](limit)}"
        return None


@dataclass(frozen=True, slots=True)
class TakePolicy:
    """Rules in their order, and quotas."""

    rules: tuple[TakeRule, ...] = ()
    # Whether a job that fits no rule is taken.
    otherwise: bool = True
    quotas: tuple[Quota, ...] = ()
    # The cost of an execution whose price no rule names; told in the advert.
    price_micros: int = 0

    def price_of(self, facts: Facts) -> int:
        """The price in a bid on what an ask tells: that of the first rule that fits for sure and has one."""
        prices = (one.price_micros for one in self.rules if one.price_micros is not None and one.fits(facts))
        return next(prices, self.price_micros)

    def decide(self, facts: Facts, me: str) -> Decision:
        """The decision of the first rule that fits; left open where an earlier one may fit and differs."""
        own = facts.requester == me
        maybe: list[TakeRule] = []
        decision = Decision(own or self.otherwise, "")
        for rule in self.rules:
            fits = (not own or me in rule.requesters) and rule.fits(facts)
            if fits:
                decision = Decision(rule.takes, rule.name)
                break
            if fits is None:
                maybe.append(rule)
        differs = next((rule for rule in maybe if rule.takes is not decision.taken), None)
        return Decision(None, differs.name) if differs else decision

    def too_large(self, one: Holding, me: str) -> str | None:
        """Why an execution alone is more than a quota of its party's; None where it is not."""
        for quota in self.quotas:
            if quota.party(one, me) and (limit := quota.over([one])):
                return f"larger than its quota for each {quota.each}: {limit}"
        return None

    def over_quota(self, one: Holding, others: Iterable[Holding], me: str) -> str | None:
        """Why a party may not hold this beside the others that are held; None where it may."""
        held = list(others)
        for quota in self.quotas:
            if party := quota.party(one, me):
                theirs = [other for other in held if quota.party(other, me) == party]
                if limit := quota.over([*theirs, one]):
                    return f"its quota for each {quota.each} is used up: {limit}"
        return None


# Everything is taken, as far as there is room.
NO_POLICY = TakePolicy()


def facts_of_ask(requester: str, role: str, need: Requirements) -> Facts:
    return Facts(requester, need.engine, need.network, role=role)


def facts_of_job(requester: str, role: str, spec: JobSpec) -> Facts:
    need = requirements_of(spec)
    engine = spec.task.engine
    image = engine.image if isinstance(engine, DockerTask) else ""
    contents = Contents(spec.namespace, spec.labels, image, _module_of(spec.task))
    return Facts(requester, need.engine, need.network, contents, role)


def _module_of(task: Task) -> str:
    """The CID of the source that a WASM program is in; "" where it has none."""
    if not isinstance(task.engine, WasmTask):
        return ""
    path = f"{task.engine.entry_module}/"
    found = [one for one in task.inputs if path.startswith(one.target.rstrip("/") + "/")]
    source = max(found, key=lambda one: len(one.target)).source if found else None
    return content_paths.root_of(str(source.params["CID"])) if source and source.type == "ipfs" else ""
