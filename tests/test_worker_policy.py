"""Asks and awards under a policy, event by event: refused for ever, or for as long as a quota is used up."""

from __future__ import annotations

from p2pnode.core.job.refusals import REFUSED_AWARD_HOLDS_S
from p2pnode.core.placement.policy import Quota, QuotaParty, TakePolicy, TakeRule
from p2pnode.core.records import membership
from p2pnode.core.records.events import Finished, Received, Start, Tick
from p2pnode.core.records.reservations import ReservationState
from p2pnode.core.values.places import Place
from p2pnode.core.values.trust import Trust
from p2pnode.core.wire import codec
from p2pnode.core.wire.membership import Role
from p2pnode.core.wire.messages import Ask, Award, Bid, Refusal, Release
from p2pnode.core.wire.spec import Timeouts
from p2pnode.core.wire.states import RefusalKind
from p2pnode.core.worker.machine import Worker

from .core_support import advert, ask, award, bid, known, new_job, receipt, sent, signed, spec
from .test_roster import PEER, joined
from .worker_support import ASK, ID, new, refusal_of

NO_WASM = TakePolicy((TakeRule("no wasm", takes=False, engines=("wasm",)),))
NO_BOB = TakePolicy((TakeRule("no bob", takes=False, namespaces=("bob",)),))
ONE_EACH = TakePolicy(quotas=(Quota(QuotaParty.REQUESTER, executions=1),))
ONE_OF_A_NAMESPACE = TakePolicy(quotas=(Quota(QuotaParty.NAMESPACE, executions=1),))


def under(policy: TakePolicy) -> Worker:
    worker = new()
    worker.policy = policy
    return worker


def test_an_ask_that_is_certain_to_be_refused_gets_no_bid_and_hears_the_rule() -> None:
    refusal = refusal_of(under(NO_WASM))
    assert (refusal.refusal_kind, refusal.reason) == (
        RefusalKind.UNSUITABLE,
        "its policy refuses it: no wasm",
    )


def test_this_node_s_own_job_is_taken_whatever_the_rules_of_others_say() -> None:
    assert sent(under(NO_WASM).handle(Received("node", ASK), 0), Bid)


def test_an_award_is_refused_by_what_only_it_tells_and_costs_its_requester_nothing() -> None:
    worker, wanted = under(NO_BOB), spec(namespace="bob")
    assert sent(worker.handle(Received("me", ask(wanted)), 0), Bid)
    actions = worker.handle(Received("me", award(ASK, wanted)), 1)
    ((_, refusal),) = sent(actions, Refusal)
    assert isinstance(refusal, Refusal)
    assert (refusal.refusal_kind, refusal.reason) == (
        RefusalKind.UNSUITABLE,
        "its policy refuses it: no bob",
    )
    assert not worker.held and not worker.standing.misses("me", 1)


def test_an_award_that_no_rule_refuses_is_started() -> None:
    worker = under(NO_BOB)
    worker.handle(Received("me", ASK), 0)
    assert any(isinstance(one, Start) for one in worker.handle(Received("me", award(ASK)), 1))


def test_an_ask_beyond_a_requester_s_quota_waits_until_it_is_free_and_others_do_not() -> None:
    worker = under(ONE_EACH)
    worker.handle(Received("me", ASK), 0)
    worker.handle(Received("me", award(ASK)), 0)
    refusal = refusal_of(worker, ask(slot=1))
    assert refusal.refusal_kind is RefusalKind.QUEUED
    assert refusal.reason.startswith("its quota for each requester is used up: 1 execution; the ask waits")
    assert sent(worker.handle(Received("other", ask(slot=2)), 1), Bid)
    actions = worker.handle(Finished(ID, signed(receipt(ID))), 2)
    assert [message.execution for _, message in sent(actions, Bid)] == [ask(slot=1).execution]


def test_a_job_larger_than_its_quota_is_never_taken() -> None:
    too_small = TakePolicy(quotas=(Quota(QuotaParty.REQUESTER, resources={"cpu_millis": 500}),))
    refusal = refusal_of(under(too_small))
    assert (refusal.refusal_kind, refusal.reason) == (
        RefusalKind.UNSUITABLE,
        "larger than its quota for each requester: CPU 500m",
    )


def test_an_award_beyond_its_namespace_s_quota_is_busy_and_its_next_ask_waits() -> None:
    worker = under(ONE_OF_A_NAMESPACE)
    for slot in range(2):
        assert sent(worker.handle(Received("me", ask(slot=slot)), 0), Bid)
    worker.handle(Received("me", award(ask(slot=0))), 0)
    ((_, refusal),) = sent(worker.handle(Received("me", award(ask(slot=1))), 0), Refusal)
    assert isinstance(refusal, Refusal) and refusal.refusal_kind is RefusalKind.BUSY
    assert refusal.reason == "its quota for each namespace is used up: 1 execution"
    again = refusal_of(worker, ask(slot=2))
    assert again.refusal_kind is RefusalKind.QUEUED
    assert worker.reservations[ask(slot=2).execution].state is ReservationState.WAITING
    assert sent(worker.handle(Finished(ID, signed(receipt(ID))), 2), Bid)


def test_a_peer_that_refused_the_award_is_not_asked_again_however_it_advertises() -> None:
    table = known(advert("a"))
    job = new_job("a", spec(timeouts=Timeouts(queue_s=3600)), table)
    ((_, asked),) = sent(job.begin(0), Ask)
    offer = bid(asked.execution)
    job.handle(Received("a", offer), 0)
    refusal = Refusal(
        execution=asked.execution, round=1, refusal_kind=RefusalKind.UNSUITABLE, reason="no bob"
    )
    assert not sent(job.handle(Received("a", refusal), 1), Ask)
    table.update(known(advert("a", number=9)))
    assert not sent(job.handle(Tick(), REFUSED_AWARD_HOLDS_S), Ask)
    assert sent(job.handle(Tick(), 1 + REFUSED_AWARD_HOLDS_S), Ask)


def test_a_job_is_placed_only_where_its_own_node_s_policy_says() -> None:
    job = new_job("", spec(), known(advert("a"), advert("b", labels={"zone": "north"})))
    job._trust = Trust(places=(Place("north", labels={"zone": "north"}),))
    assert [peer for peer, _ in sent(job.begin(0), Ask)] == ["b"]


def test_a_rule_on_roles_looks_at_who_asks_and_at_the_award_at_whose_job_it_is() -> None:
    worker = under(TakePolicy((TakeRule("no guests", takes=False, roles=("guest",)),)))
    roles = {"gus": "guest", "me": "member"}
    worker.role_of = lambda peer: roles.get(peer, "")
    assert refusal_of(worker, ask(slot=1), "gus").reason == "its policy refuses it: no guests"
    assert sent(worker.handle(Received("me", ASK), 0), Bid)
    # The one who asked is a member; the requester, as the charter names it, has become a guest since.
    roles["me"] = "guest"
    ((_, refusal),) = sent(worker.handle(Received("me", award(ASK)), 1), Refusal)
    assert isinstance(refusal, Refusal) and refusal.reason == "its policy refuses it: no guests"


def test_a_place_of_a_role_is_where_peers_have_it_in_the_private_network() -> None:
    member = codec.replace(advert("b"), extensions=membership.in_advert(joined(PEER, Role.MEMBER)))
    job = new_job("", spec(), known(advert("a"), member))
    job._trust = Trust(places=(Place("members", roles=("member",)),))
    assert [peer for peer, _ in sent(job.begin(0), Ask)] == ["b"]


def test_a_bid_is_for_the_price_that_the_policy_has_for_who_asks() -> None:
    rule = TakeRule("ours", takes=True, requesters=("me",), price_micros=5)
    worker = under(TakePolicy((rule,), price_micros=7))
    for peer, slot, price in (("me", 0, 5), ("else", 1, 7)):
        ((_, offer),) = sent(worker.handle(Received(peer, ask(slot=slot)), 0), Bid)
        assert isinstance(offer, Bid) and offer.price_micros == price


def test_peers_that_cost_too_much_are_not_asked_and_a_bid_above_its_advert_is_let_go() -> None:
    job = new_job("", spec(), known(advert("a", price_micros=9), advert("b", price_micros=5)))
    job._trust = Trust(places=(Place("cheap", price_micros_max=5),))
    ((peer, asked),) = sent(job.begin(0), Ask)
    assert peer == "b"
    actions = job.handle(Received("b", bid(asked.execution, price=6_000_000)), 0)
    assert not sent(actions, Award) and [peer for peer, _ in sent(actions, Release)] == ["b"]
    (refused,) = job.record.refusals.values()
    assert refused.reason == "bid for 6: is not where the requester's policy places its jobs: cheap"


def test_a_job_costs_nothing_on_its_requester_s_own_node() -> None:
    job = new_job("", spec(), known(advert("me", price_micros=9)))
    job._trust = Trust(places=(Place("cheap", price_micros_max=5),))
    assert [peer for peer, _ in sent(job.begin(0), Ask)] == ["me"]
