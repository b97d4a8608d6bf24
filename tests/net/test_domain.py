"""A member of a domain: what it takes from whom, and what refused datagrams leave behind."""

import time

import pytest

from msfs_fuse.core.slot import Sender
from msfs_fuse.net.datagram import Kind, Message, Presence, Reason, Refused, Scope
from msfs_fuse.net.domain import Domain
from msfs_fuse.net.keyring import Key, Keyring

OLD, NEW = Key(b"o" * 32), Key(b"n" * 32)
NOW = 1_700_000_000_000
SENDER = Sender("ignored", 1000, 42)


def member(host: str, *keys: Key, name: str = "corp") -> Domain:
    return Domain(name, host, Keyring(keys or (OLD,)), NOW)


def message(domain: Domain, scope: Scope = Scope.DOMAIN, to: str = "corp", at: int = NOW) -> bytes:
    return domain.seal_message(scope, to, ("slot",), b"hi", SENDER, at)


def reason_of(domain: Domain, datagram: bytes, now: int = NOW) -> Reason:
    with pytest.raises(Refused) as caught:
        domain.open(datagram, now)
    return caught.value.reason


def test_a_message_reaches_another_member_once() -> None:
    a, b = member("a"), member("b")
    datagram = message(a)
    opened = b.open(datagram, NOW)
    assert opened.kind is Kind.MESSAGE
    assert opened.epoch == a.epoch
    expected = Message(NOW, Sender("a", 1000, 42), Scope.DOMAIN, "corp", ("slot",), b"hi")
    assert opened.body == expected
    assert reason_of(b, datagram) is Reason.REPLAYED
    b.open(message(a), NOW)


def test_presence() -> None:
    a, b = member("a"), member("b")
    for kind in (Kind.HELLO, Kind.BYE):
        opened = b.open(a.seal_presence(kind, NOW), NOW)
        assert (opened.kind, opened.body) == (kind, Presence(NOW, "a"))


def test_only_a_hello_can_have_been_stored() -> None:
    a, b = member("a"), member("b")
    before = NOW - 1
    for _ in range(2):
        assert b.open(a.seal_presence(Kind.HELLO, before), NOW, stored=True).kind is Kind.HELLO
    for datagram in (message(a, at=before), a.seal_presence(Kind.BYE, before)):
        with pytest.raises(Refused, match="before_start"):
            b.open(datagram, NOW, stored=True)


def test_a_carrier_may_know_who_it_can_be_from() -> None:
    a, b = member("a"), member("b")
    b.open(message(a), NOW, sender="A")
    datagram = message(a)
    with pytest.raises(Refused, match="other_sender"):
        b.open(datagram, NOW, sender="c")
    b.open(datagram, NOW, sender="a")  # what was refused has left nothing behind


def test_it_is_for_a_host_or_for_all() -> None:
    a, b = member("a"), member("b")
    assert b.open(message(a, Scope.HOST, "B"), NOW)
    assert b.open(message(a, Scope.DOMAIN, "Corp"), NOW)
    assert reason_of(b, message(a, Scope.HOST, "c")) is Reason.OTHER_DESTINATION
    assert reason_of(b, message(a, Scope.HOST, "corp")) is Reason.OTHER_DESTINATION
    assert reason_of(b, message(a, Scope.DOMAIN, "b")) is Reason.OTHER_DESTINATION


def test_other_keys_domains_and_ourselves() -> None:
    a, b = member("a"), member("b")
    assert reason_of(b, message(member("x", NEW))) is Reason.UNKNOWN_KEY
    assert reason_of(b, message(member("x", name="other"), to="other")) is Reason.UNKNOWN_KEY
    assert reason_of(a, message(a)) is Reason.OWN


def test_keys_change_without_a_gap() -> None:
    a, b = member("a", OLD), member("b", OLD)
    b.open(message(a), NOW)
    b.use_keys(Keyring((OLD, NEW)))
    b.open(message(a), NOW)
    a.use_keys(Keyring((NEW, OLD)))
    b.open(message(a), NOW)
    a.open(message(b), NOW)
    b.use_keys(Keyring((NEW,)))
    b.open(message(a), NOW)
    a.use_keys(Keyring((OLD,)))  # one that has not heard of it
    assert reason_of(b, message(a)) is Reason.UNKNOWN_KEY


def test_keys_with_the_same_id_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Key, "id_in", lambda self, domain: 1)
    a, b = member("a", NEW), member("b", OLD, NEW)
    b.open(message(a), NOW)
    assert reason_of(b, message(member("c", Key(b"x" * 32)))) is Reason.FORGED


def test_what_is_refused_leaves_nothing_behind() -> None:
    a, b = member("a"), member("b")
    good = message(a)
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        reason_of(b, bytes(bad))
    assert reason_of(b, good, NOW + 60_001) is Reason.STALE
    assert reason_of(b, message(a, at=NOW - 1)) is Reason.BEFORE_START
    assert len(b._replays) == 0
    b.open(good, NOW)


@pytest.mark.parametrize("name", ["", ".", "a/b", "a b", "ä", "x" * 65, "-x", "a\n"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        member(name)
    with pytest.raises(ValueError, match="cannot be the name"):
        member("a", name=name)


def test_refusal_is_cheap() -> None:
    """Printed, not asserted: µs for each kind of datagram that anybody can send."""
    a, b = member("a"), member("b")
    good = message(a)
    b.open(good, NOW)
    other = message(member("c"))
    bad = {
        "noise": bytes(len(good)),
        "unknown key": good[:2] + b"\0\0" + good[4:],
        "replayed": good,
        "forged, known sender": good[:27] + b"\xff" + good[28:],
        "forged, unknown sender": other[:-1] + bytes([other[-1] ^ 1]),
    }
    lines = []
    for name, datagram in bad.items():
        best = float("inf")
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(2000):
                try:
                    b.open(datagram, NOW)
                except Refused:
                    continue
                raise AssertionError
            best = min(best, (time.perf_counter() - began) / 2000)
        lines.append(f"{name}: {best * 1e6:.1f} µs")
    print("\nrejected:", ", ".join(lines))
