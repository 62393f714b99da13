"""An advert that would be too large is cut as its page says."""

from __future__ import annotations

from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import ADVERT_SIZE_BYTES_MAX
from p2pnode.core.wire.messages import Advert, Capacity
from p2pnode.core.wire.spec import NetworkType, Resources
from p2pnode.node.advertiser import ADDRESSES_KEPT, fitted
from p2pnode.system.host_resources import BUILT_IN_LABELS, labels


def advert(own, addresses=4):
    total = Resources(cpu_millis=8000, memory_bytes=10**10, disk_bytes=10**11)
    capacity = Capacity(
        engines=("wasm", "docker"),
        publishers=("ipfs",),
        sources=("ipfs",),
        networks=(NetworkType.NONE,),
        labels=labels("here", own),
        total=total,
        free=total,
    )
    return Advert(
        peer="12D3KooWQrvLp1taxxkTfe4NKN4CowxorVqjknQJCjL1rmq4RnYP",
        number=1,
        issued_ms=1,
        ttl_ms=90_000,
        name="here",
        version="0.1.0",
        capacity=capacity,
        addresses=tuple(f"/ip6/2001:db8::1234:5678:{number}/tcp/4001" for number in range(addresses)),
    )


def test_an_advert_that_fits_is_sent_as_it_is():
    whole = advert({"zone": "north"})
    assert fitted(whole) == (whole, ())


def test_labels_beyond_the_limit_go_last_key_first_and_are_named():
    cut, left_out = fitted(advert({f"key-{number:02}": "x" * 200 for number in range(32)}))
    assert len(codec.encode(cut)) <= ADVERT_SIZE_BYTES_MAX
    assert len(cut.addresses) == ADDRESSES_KEPT
    assert left_out[0] == "key-31"
    assert set(BUILT_IN_LABELS) <= set(cut.capacity.labels)
    assert "key-00" in cut.capacity.labels
    assert not set(left_out) & set(cut.capacity.labels)


def test_addresses_go_before_labels():
    cut, left_out = fitted(advert({"zone": "north"}, addresses=60))
    assert left_out == ()
    assert len(cut.addresses) == ADDRESSES_KEPT
