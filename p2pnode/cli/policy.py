"""`policy`: whose jobs this node takes, looked at and tried on a job file, without a node that runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click

from p2pnode import identity, own_network
from p2pnode.cli import jobfiles, options
from p2pnode.cli.answers import (
    PlaceJson,
    PolicyCheckJson,
    PolicyDecisionJson,
    PolicyJson,
    QuotaJson,
    TakeRuleJson,
)
from p2pnode.cli.forms import OutputForm, answer_form, labels_text, takes_form
from p2pnode.cli.groups import Group
from p2pnode.cli.options import GivenFile
from p2pnode.cli.output import fields
from p2pnode.cli.status import CommandError, Status
from p2pnode.config import loading
from p2pnode.config import policy as policies
from p2pnode.config.settings import NodeConfig
from p2pnode.core.placement.matching import requirements_of
from p2pnode.core.placement.policy import Decision, Holding, Quota, facts_of_ask, facts_of_job
from p2pnode.core.values.units import format_price
from p2pnode.core.wire import peer_ids
from p2pnode.core.wire.membership import Role
from p2pnode.own_network import OwnNetworkError

_WORDS = {True: "taken", False: "refused", None: "open"}


def _read_peer(text: str) -> str:
    if not peer_ids.is_peer_id(text):
        raise ValueError("expected a peer id, such as 12D3KooW... (p2pnode id prints a node's)")
    return text


@click.group(cls=Group)
def policy() -> None:
    """Look at whose jobs this node takes, and try one.

    The rules are in policy.toml in the data directory, or where the setting policy says.
    """


@policy.command()
@takes_form()
def show(form: OutputForm) -> int:
    """Show the rules, quotas and places that the next start takes."""
    found = policies.load(loading.load({}))
    shown = _shown(found)
    answer_form(form, shown, lambda wide: fields(list(_lines(shown))))
    return Status.OK


@policy.command()
@options.job_file
@click.option(
    "--requester",
    metavar="PEER",
    type=options.ParsedValue("peer id", _read_peer),
    help="The node whose job it is.",
)
@click.option(
    "--role",
    type=click.Choice([one.value for one in Role]),
    help="That node's role in this private network.",
)
@takes_form()
def check(given: GivenFile, requester: str | None, role: str | None, form: OutputForm) -> int:
    """Show which rule decides on a job file, at its ask and at its award.

    SPEC is a job file; without it, or with -, standard input is read. Without --requester it is of a node
    that no rule names. What is held now does not count. The exit status is 3 if the job would be refused.
    """
    job = jobfiles.read_valid(given)
    config = loading.load({})
    found = policies.load(config)
    is_open = _is_in_open_network(config)
    if role and is_open:
        raise click.UsageError("--role: this node is in the open network, where nobody has a role")
    me, peer, need, spec = _own_id(config), requester or "", requirements_of(job.spec), job.spec
    facts = facts_of_ask(peer, role or "", need)
    ask = found.policy.decide(facts, me)
    award = found.policy.decide(facts_of_job(peer, role or "", spec), me)
    asked, awarded = (Holding(peer, namespace, need.resources) for namespace in ("", spec.namespace))
    answered = PolicyCheckJson(
        file=str(found.path),
        requester=peer,
        role=role or "",
        unfit=list(found.of_roles) if is_open else [],
        price=format_price(found.policy.price_of(facts)),
        ask=_decision_json(ask, found.policy.too_large(asked, me)),
        award=_decision_json(award, found.policy.too_large(awarded, me)),
    )
    answer_form(form, answered, lambda wide: fields(_check_fields(answered, found.exists)))
    refused = "refused" in (answered["ask"]["decision"], answered["award"]["decision"])
    return Status.NO_PEER if refused else Status.OK


def _own_id(config: NodeConfig) -> str:
    """This node's id; where it has none yet, no job is its own."""
    there = (config.data_dir / identity.KEY_FILE_NAME).exists()
    return identity.load_or_create(config.data_dir).peer_id if there else "none"


def _is_in_open_network(config: NodeConfig) -> bool:
    try:
        return own_network.load(config.data_dir) is None
    except OwnNetworkError as error:
        raise CommandError(Status.FAILED, str(error)) from error


def _decision_json(decision: Decision, too_large: str | None) -> PolicyDecisionJson:
    if too_large and decision.taken is not False:
        return PolicyDecisionJson(decision="refused", rule="", reason=too_large)
    reason = decision.reason if decision.taken is False else ""
    return PolicyDecisionJson(decision=_WORDS[decision.taken], rule=decision.rule, reason=reason)


def _check_fields(found: PolicyCheckJson, exists: bool) -> list[tuple[str, str]]:
    return [
        ("Policy", found["file"] if exists else f"none ({found['file']} is not there)"),
        ("Requester", found["requester"] or "one that no rule names"),
        ("Role", found["role"]),
        *(
            ("Never fits", f"{one}: roles are of private networks, this is the open one")
            for one in found["unfit"]
        ),
        ("Price", found["price"] if found["price"] != "0" else ""),
        ("At the ask", _decision_text(found["ask"])),
        ("At the award", _decision_text(found["award"])),
    ]


def _decision_text(found: PolicyDecisionJson) -> str:
    if found["decision"] == "open":
        return f"open: {found['rule']} asks for more than an ask tells"
    if found["reason"]:
        return f"{found['decision']}: {found['reason']}"
    return f"{found['decision']}: {found['rule'] or 'no rule fits'}"


def _shown(found: policies.PolicyFile) -> PolicyJson:
    policy = found.policy
    return PolicyJson(
        file=str(found.path),
        exists=found.exists,
        take=[
            TakeRuleJson(
                name=rule.name,
                decision=_decided(rule.takes),
                requesters=list(rule.requesters),
                namespaces=list(rule.namespaces),
                engines=list(rule.engines),
                networks=list(rule.networks),
                images=list(rule.images),
                modules=list(rule.modules),
                labels=dict(rule.labels),
                roles=list(rule.roles),
                price=_price(rule.price_micros),
            )
            for rule in policy.rules
        ],
        otherwise=_decided(policy.otherwise),
        price=format_price(policy.price_micros),
        quotas=[_quota_json(one) for one in policy.quotas],
        places=[
            PlaceJson(
                name=one.name,
                peers=list(one.peers),
                labels=dict(one.labels),
                roles=list(one.roles),
                price_max=_price(one.price_micros_max),
            )
            for one in found.places
        ],
    )


def _quota_json(quota: Quota) -> QuotaJson:
    return QuotaJson(
        each=quota.each,
        of=list(quota.of),
        executions=quota.executions,
        resources=dict(quota.resources),
    )


def _price(micros: int | None) -> str | None:
    return None if micros is None else format_price(micros)


def _decided(takes: bool) -> str:
    return "take" if takes else "refuse"


def _lines(found: PolicyJson) -> Iterator[tuple[str, str]]:
    yield "Policy", found["file"] if found["exists"] else f"none ({found['file']} is not there)"
    for rule in found["take"]:
        yield rule["decision"].capitalize(), _named(rule["name"], rule, "decision")
    yield "Otherwise", found["otherwise"]
    if found["price"] != "0":
        yield "Price", found["price"]
    for quota in found["quotas"]:
        each = f"each {quota['each']}"
        limits = {"executions": quota["executions"], **quota["resources"]}
        yield "Quota", _named(each, {"of": quota["of"], **limits})
    for place in found["places"]:
        yield "Place", _named(place["name"], place)


def _named(name: str, parts: Mapping[str, object], *hidden: str) -> str:
    """A name, and behind it all that is named."""
    shown = []
    for key, value in parts.items():
        if key in ("name", *hidden) or value is None or value in ([], {}):
            continue
        if isinstance(value, list):
            value = ", ".join(value)
        elif isinstance(value, Mapping):
            value = labels_text(value)
        shown.append(f"{key} {value}")
    return f"{name}: {'; '.join(shown)}" if shown else name
