"""Datagrams that no member has sent, or that come at the wrong time or place, at a real mount."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from msfs_fuse.net.trust.bodies import GroupType, Message, Probe, Proof
from msfs_fuse.net.trust.identity import load_identity
from msfs_fuse.net.trust.keys import DomainKey, domain_context
from msfs_fuse.net.trust.own import Own
from msfs_fuse.net.trust.wire import Kind, Reason, pack_header, seal
from tests.conftest import Mount
from tests.support.network import Host, Lan, admitted, metric, sees, served, settle, write
from tests.support.processes import is_root, wait_until

pytestmark = pytest.mark.skipif(not is_root(), reason="needs network namespaces")

_SEND = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", int(sys.argv[2])))
sock.sendto(bytes.fromhex(sys.stdin.read()), (sys.argv[1], 4424))
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


def send(host: Host, port: int, to: Host, datagram: bytes) -> None:
    subprocess.run(
        [*host.inside, "/usr/bin/python3", "-c", _SEND, to.address, str(port)],
        input=datagram.hex(),
        text=True,
        check=True,
        timeout=20,
    )


def make_bad_datagrams(directory: Path, now: float) -> list[tuple[str, Reason, bytes]]:
    """What is sent, in words and in bytes, and the reason it is refused for."""
    mallory = load_identity(str(admitted(directory / "corp", "mallory")), None, time.time())
    (key,) = mallory.keys
    context = domain_context("corp")
    own = Own(mallory, context, now)
    other = Own(mallory, context, now)
    other.use_keys((DomainKey(b"x" * 32),))

    def sealed(body: bytes, kind: Kind = Kind.GROUP, id: bytes = own.mount) -> bytes:
        header = pack_header(kind, id, 1)
        return seal(key.group_cipher(context, id), key.mask(context), header, bytes(4), body)

    def flipped(data: bytes, at: int) -> bytes:
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    message = bytes([GroupType.MESSAGE]) + Message(0, 0, 0, ("sub", "slot"), b"bad").pack()
    hello = bytes([GroupType.HELLO]) + own.card.raw
    good = own.seal_signed(message, now)
    probe = Probe(bytes(8), "elsewhere", bytes(16), 0, False, own.card).pack()
    return [
        ("nothing at all", Reason.LENGTH, b""),
        ("63 bytes", Reason.LENGTH, good[:63]),
        ("1280 bytes", Reason.LENGTH, good + bytes(1280 - len(good))),
        ("9000 bytes, in fragments", Reason.LENGTH, good + bytes(9000 - len(good))),
        ("the first version's", Reason.VERSION, b"\x01" + good[1:100]),
        ("zeros", Reason.UNMASKED, bytes(448)),
        ("another key", Reason.UNMASKED, other.seal_signed(message, now)),
        ("a bit of the salt", Reason.FORGED, flipped(good, 17)),
        ("a bit of the body", Reason.FORGED, flipped(good, 60)),
        ("another's id", Reason.FORGED, flipped(good, 5)),
        ("the counter", Reason.FORGED, flipped(good, 15)),
        ("a member's, cut short", Reason.MALFORMED, sealed(message[:-10] + bytes(64))),
        ("../slot", Reason.MALFORMED, sealed(message.replace(b"sub\\", b"..\\\\") + bytes(64))),
        ("425 bytes", Reason.MALFORMED, sealed(message + b"x" * 422 + bytes(64))),
        ("no bytes", Reason.EMPTY, sealed(message[:-3] + bytes(64))),
        ("a HELLO with more", Reason.MALFORMED, sealed(hello + b"x" + bytes(64))),
        ("a HELLO that is not signed", Reason.BAD_SIGNATURE, sealed(hello + bytes(64))),
        ("another's card", Reason.MALFORMED, sealed(hello + bytes(64), id=bytes(8))),
        ("to another host", Reason.OTHER_DESTINATION, sealed(probe, Kind.PROBE)),
        ("half a PROBE", Reason.MALFORMED, sealed(probe[:100], Kind.PROBE)),
        ("an answer to nothing", Reason.UNASKED, sealed(_proof(own), Kind.PROOF)),
    ]


def _proof(own: Own) -> bytes:
    proof = Proof(bytes(16), own.mount, bytes(16), 0, 0, bytes(18), False, own.card)
    return proof.pack() + bytes(16)


# What happens every day where all is well, and what turns out when the source is no longer known.
NOT_LOGGED = (Reason.OTHER_DESTINATION, Reason.BAD_SIGNATURE)


def drops(mount: Mount) -> dict[Reason, int]:
    return {reason: metric(mount, "dropped", reason=reason.value) for reason in Reason}


def test_each_is_dropped_for_its_reason(hosts: list[Host]) -> None:
    ada, bob = hosts
    config = ada.configure("[domain.corp]\nmulticast = false")
    lines: list[str] = []
    logged: list[str] = []
    with ada.mounted(config=config) as mount, served(mount, "slot") as slot:
        bad = make_bad_datagrams(ada.directory, time.monotonic())
        # Each from a port of its own: the log names a source once.
        for port, (name, reason, data) in enumerate(bad, start=5000):
            before = drops(mount)
            send(bob, port, ada, data)
            wait_until(lambda before=before: drops(mount) != before)  # type: ignore[misc]
            after = drops(mount)
            changed = {each: after[each] - before[each] for each in Reason}
            assert {each: n for each, n in changed.items() if n} == {reason: 1}, name
            if reason not in NOT_LOGGED:
                logged.append(f"dropped a datagram from {bob.address}:{port}: {reason}")
            lines.append(f"{name:30} {reason}")
        assert settle(slot, 0) == []
        assert metric(mount, "received") == 0
        assert not sees(mount, "mallory")
    assert re.findall("dropped a datagram.*", mount.log.read_text()) == logged
    print("\n" + "\n".join(lines))


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
