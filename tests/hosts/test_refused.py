"""Datagrams that no member has sent, or that come at the wrong time or place, at a real mount."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msfs_fuse.net.datagram import Header, Kind, Message, Reason, Scope
from msfs_fuse.net.domain import Domain
from msfs_fuse.net.keyring import Key, Keyring

from msfs_fuse.core.slot import Sender
from msfs_fuse.net import datagram
from tests.conftest import Mount
from tests.support.network import Host, Lan, metric, sees, served, settle, write
from tests.support.processes import is_root, wait_until

pytestmark = pytest.mark.skipif(not is_root(), reason="needs network namespaces")

KEY = Key(b"k" * 32)
SENDER = Sender("mallory", 0, 0)
MINUTE = 60_000

_SEND = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for line in sys.stdin:
    sock.sendto(bytes.fromhex(line), (sys.argv[1], 4424))
"""

# Takes down what comes by Ethernet, as tcpdump would, until a frame holds a port of ours `count`
# times.
_CAPTURE = """
import socket, sys
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
sock.bind(("eth0", 0))
print("ready", flush=True)
count = int(sys.argv[1])
while count:
    frame = sock.recv(65536)
    if (4424).to_bytes(2, "big") in frame[30:60] and len(frame) > 100:
        print(frame.hex(), flush=True)
        count -= 1
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    lan = Lan(tmp_path)
    try:
        yield [lan.add(name) for name in ("ada", "bob")]
    finally:
        lan.close()


def send(host: Host, to: Host, *datagrams: bytes) -> None:
    subprocess.run(
        [*host.inside, "/usr/bin/python3", "-c", _SEND, to.address],
        input="".join(f"{each.hex()}\n" for each in datagrams),
        text=True,
        check=True,
        timeout=20,
    )


def make_bad_datagrams() -> list[tuple[str, Reason, bytes]]:
    """What is sent, in words and in bytes, and the reason it is refused for."""
    now = time.time_ns() // 10**6
    keyring = Keyring((KEY,))

    def member(name: str = "corp", keys: Keyring = keyring) -> Domain:
        return Domain(name, "mallory", keys, now)

    def message(
        domain: Domain, at: int = now, scope: Scope = Scope.DOMAIN, to: str = "corp"
    ) -> bytes:
        return domain.seal_message(scope, to, ("slot",), b"bad", SENDER, at)

    def sealed(body: bytes, kind: Kind = Kind.MESSAGE) -> bytes:
        epoch = bytes(16)
        header = Header(kind, KEY.id_in("corp"), epoch, 1)
        return datagram.seal(KEY.cipher("corp", epoch), header, body)

    def flipped(data: bytes, at: int) -> bytes:
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    body = datagram.encode_message(
        Message(now, SENDER, Scope.DOMAIN, "corp", ("sub", "slot"), b"bad")
    )
    good = message(member())
    return [
        ("nothing at all", Reason.TOO_SHORT, b""),
        ("53 bytes", Reason.TOO_SHORT, good[:53]),
        ("1201 bytes", Reason.TOO_LONG, good + bytes(1201 - len(good))),
        ("9000 bytes, in fragments", Reason.TOO_LONG, good + bytes(9000 - len(good))),
        ("zeros", Reason.VERSION, bytes(400)),
        ("another version", Reason.VERSION, b"\x02" + good[1:]),
        ("an unknown kind", Reason.KIND, good[:1] + b"\x09" + good[2:]),
        ("a message as HELLO", Reason.FORGED, good[:1] + b"\x02" + good[2:]),
        ("another key", Reason.UNKNOWN_KEY, message(member(keys=Keyring((Key(b"x" * 32),))))),
        ("the key in another domain", Reason.UNKNOWN_KEY, message(member("lab"), to="lab")),
        ("a bit of the epoch", Reason.FORGED, flipped(good, 4)),
        ("a bit of the counter", Reason.FORGED, flipped(good, 27)),
        ("a bit of the body", Reason.FORGED, flipped(good, 40)),
        ("a bit of the tag", Reason.FORGED, flipped(good, len(good) - 1)),
        ("the last byte missing", Reason.FORGED, good[:-1]),
        ("one byte more", Reason.FORGED, good + b"\0"),
        ("61 seconds old", Reason.STALE, message(member(), now - 61_000)),
        ("two minutes ahead", Reason.STALE, message(member(), now + 2 * MINUTE)),
        ("from before the mount", Reason.BEFORE_START, message(member(), now - MINUTE // 2)),
        (
            "to another host",
            Reason.OTHER_DESTINATION,
            message(member(), scope=Scope.HOST, to="bob"),
        ),
        ("a member's, cut short", Reason.MALFORMED, sealed(body[:-10])),
        ("a member's, ../slot", Reason.MALFORMED, sealed(body.replace(b"sub\\", b"..\\\\"))),
        ("a member's, 425 bytes", Reason.MALFORMED, sealed(body + b"x" * 422)),
        ("a member's HELLO with more", Reason.MALFORMED, sealed(body, Kind.HELLO)),
        ("a member's, no bytes", Reason.EMPTY, sealed(body[:-3])),
    ]


def drops(mount: Mount) -> dict[Reason, int]:
    return {reason: metric(mount, "dropped", reason=reason.value) for reason in Reason}


def test_each_is_dropped_for_its_reason(hosts: list[Host]) -> None:
    ada, bob = hosts
    config = ada.configure("[domain.corp]\nmulticast = false")
    lines = []
    with ada.mounted(config=config) as mount, served(mount, "slot") as slot:
        for name, reason, data in make_bad_datagrams():
            before = drops(mount)
            send(bob, ada, data)
            wait_until(lambda before=before: drops(mount) != before)  # type: ignore[misc]
            after = drops(mount)
            changed = {each: after[each] - before[each] for each in Reason}
            assert {each: n for each, n in changed.items() if n} == {reason: 1}, name
            lines.append(f"{name:30} {reason}")
        assert settle(slot, 0) == []
        assert metric(mount, "received") == 0
        assert not sees(mount, "mallory")
        # Each came from a port of its own, so each is a source of its own to the log.
        assert mount.log.read_text().count("dropped a datagram") == len(lines)
        now = time.time_ns() // 10**6
        member = Domain("corp", "mallory", Keyring((KEY,)), now)
        good = member.seal_message(Scope.DOMAIN, "corp", ("slot",), b"good", SENDER, now)
        send(bob, ada, good, good, good)
        assert settle(slot, 1) == [b"good"]
        assert drops(mount)[Reason.REPLAYED] == 2
    print("\n" + "\n".join([*lines, f"{'a good one, three times':30} taken once, replayed"]))


def test_nothing_can_be_read_on_the_wire(hosts: list[Host]) -> None:
    text = "[domain.corp]"
    with (
        hosts[0].mounted(config=hosts[0].configure(text)) as ada,
        hosts[1].mounted(config=hosts[1].configure(text)) as bob,
        served(bob, "payroll") as slot,
    ):
        wait_until(lambda: sees(ada, "bob") and sees(bob, "ada"))
        command = [*hosts[1].inside, "/usr/bin/python3", "-c", _CAPTURE, "4"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as capture:
            try:
                assert capture.stdout is not None
                assert capture.stdout.readline() == "ready\n"
                write(ada, "@bob/payroll", b"attack at dawn")
                write(ada, "@corp/payroll", b"attack at dusk")
                assert len(settle(slot, 2)) == 2
                write(ada, "@bob/payroll", b"attack at dawn")
                frames = [bytes.fromhex(capture.stdout.readline()) for _ in range(4)]
            finally:
                capture.kill()
    for frame in frames:
        for secret in (b"attack", b"payroll", b"ada", b"bob", b"corp"):
            assert secret not in frame.lower()
    print(f"\non the wire: {frames[0].hex(' ', 4)}")
