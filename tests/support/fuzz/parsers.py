"""What takes bytes or text apart: valid seeds, what to do with them, and how it may refuse."""

import base64
import os
import random
import re
import socket
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import trio
from cryptography.hazmat.primitives.serialization import Encoding
from paho.mqtt.enums import MQTTProtocolVersion

from msfs_fuse.config.file import read_settings
from msfs_fuse.core.names import Address
from msfs_fuse.errors import CommandError
from msfs_fuse.net.mqtt.connection import Connection
from msfs_fuse.net.mqtt.dial import Login
from msfs_fuse.net.mqtt.settings import BrokerSettings
from msfs_fuse.net.netbios import datagram, mailslot, nameservice, unexpected
from msfs_fuse.net.netbios.names import Name
from msfs_fuse.net.netbios.refusal import Refused as NetbiosRefused
from msfs_fuse.net.trust.authority import Authority
from msfs_fuse.net.trust.identity import IdentityError, load_identity
from msfs_fuse.net.trust.wire import Refused
from msfs_fuse.programs import (
    FormatError,
    alerter,
    browse,
    chat,
    discovery,
    messenger,
    messenger_session,
)
from tests.support.fuzz.mutate import mutate
from tests.support.trust import WALL, Corp

Feed = Callable[[bytes], None]


class Parser:
    """One of them.

    Args:
        refusals: what it may raise.
    """

    def __init__(
        self,
        rng: random.Random,
        name: str,
        feed: Feed,
        seeds: list[bytes],
        *refusals: type[Exception],
        change: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.name = name
        self._rng = rng
        self._feed = feed
        self._seeds = seeds
        self._refusals = refusals
        self._change = change or (lambda seed: mutate(rng, seed, seeds))
        for seed in seeds:  # each is valid
            feed(seed)

    def make(self) -> bytes:
        return self._change(self._rng.choice(self._seeds))

    def feed(self, data: bytes) -> None:
        try:
            self._feed(data)
        except self._refusals as refused:
            if str(refused).count("\n"):
                raise AssertionError(f"more than a line: {refused}") from refused


# ---- identity ----

_PEM = re.compile(rb"(-----BEGIN [A-Z0-9 ]+-----\n)(.*?)(-----END [A-Z0-9 ]+-----\n)", re.DOTALL)


def _mutate_pem(rng: random.Random, text: bytes) -> bytes:
    """Change the text, or what is in one of its blocks."""
    blocks = list(_PEM.finditer(text))
    if not blocks or rng.random() < 0.4:
        return mutate(rng, text, [text])
    block = rng.choice(blocks)
    try:
        inner = base64.b64decode(block[2])
    except ValueError:
        return mutate(rng, text, [text])
    inner = mutate(rng, inner, [inner])
    return text[: block.start(2)] + base64.encodebytes(inner) + text[block.end(2) :]


def _rewrite(path: str, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)


def identity_parsers(rng: random.Random, directory: Path) -> list[Parser]:
    authority = Authority.create(str(directory / "corp"))
    (member,) = map(Path, authority.admit(["ada"]))
    authority.admit(["bob"])
    revoked = Path(authority.revoke("bob"))
    texts = {name: Path(name).read_bytes() for name in map(str, (member, revoked))}
    keys = (directory / "corp/corp.key").read_bytes()

    def load(path: Path) -> Feed:
        def feed(data: bytes) -> None:
            _rewrite(str(path), data)
            try:
                load_identity(str(member), None, WALL)
            finally:
                if str(path) in texts:
                    _rewrite(str(path), texts[str(path)])

        return feed

    def change(seed: bytes) -> bytes:
        return _mutate_pem(rng, seed)

    corp = Corp()

    def certify(der: bytes) -> None:
        corp.anchor.certify(der)

    der = corp.admit("ada").certificate.der
    return [
        Parser(rng, "certificates", certify, [der], Refused),
        Parser(
            rng, "member files", load(member), [texts[str(member)]], IdentityError, change=change
        ),
        Parser(
            rng,
            "lists of revoked",
            load(revoked),
            [texts[str(revoked)], _der_of(texts[str(revoked)])],
            IdentityError,
            change=change,
        ),
        Parser(
            rng,
            "domain keys",
            load(directory / "corp/corp.key"),
            [keys],
            IdentityError,
            change=change,
        ),
    ]


def _der_of(pem: bytes) -> bytes:
    from cryptography import x509

    return x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER)


# ---- brokers ----


def broker_parser(rng: random.Random, version: MQTTProtocolVersion, name: str) -> Parser:
    """What a broker sends, from its first answer on. Needs trio's time."""
    broker = BrokerSettings(url="mqtt://127.0.0.1")
    is_new = version == MQTTProtocolVersion.MQTTv5
    empty = b"\0" if is_new else b""
    connack = bytes([0x20, 2 + len(empty), 0, 0]) + empty
    suback = bytes([0x90, 3 + len(empty), 0, 1]) + empty + b"\0"
    topic = b"msfs/corp/n/ada"
    body = len(topic).to_bytes(2) + topic + empty + bytes(64)
    publish = b"\x31" + bytes([len(body)]) + body
    goodbye = b"\xe0\x02\x8b\0" if is_new else b"\xd0\0"
    seeds = [
        connack,
        connack + suback,
        connack + suback + publish + b"\xd0\0",
        connack + publish * 3 + goodbye,
    ]
    if is_new:
        properties = b"\x1f\0\x04text\x11\0\0\0\x05"
        seeds.append(bytes([0x20, 3 + len(properties), 0, 0, len(properties)]) + properties)

    def feed(data: bytes) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            link = Connection(
                broker, Login(None, None, None), version, "id", ("msfs/#",), "will", "trial"
            )
            client = link._make_client(ours)
            link._before_close = lambda sock: None  # type: ignore[method-assign]
            client.reconnect()
            theirs.sendall(data)
            for _ in range(len(data) + 2):
                if client.loop_read() or link._trouble is not None:
                    break
                if not client.has_input and client._in_packet["to_process"] == 0:
                    break
            assert len(client.arrived) <= len(data), "more messages than bytes"

    return Parser(rng, name, feed, seeds)


# ---- configuration ----

_TOML = [
    b'host = "ada"\n[mount]\noptions = ["max_messages=10", "strict"]\n',
    b'[domain.corp]\nmember = "corp/ada.member"\nport = 4424\nmulticast = false\n'
    b'peers = ["build8", "10.0.0.9:4424", "[::1]:5"]\n',
    b'[domain.corp]\nmember = "m"\ntransport = ["udp://", '
    b'{ url = "mqtts://broker.example:8883", cert = "a", key = "b", keepalive = 9.5 }]\n',
    b'[netbios]\ninterfaces = ["eth0"]\nnames = ["ADA", "CORP"]\n',
]


def configuration_parser(rng: random.Random, directory: Path) -> Parser:
    path = str(directory / "msfs.toml")

    def feed(data: bytes) -> None:
        _rewrite(path, data)
        read_settings("/mnt", [], config=path)

    return Parser(rng, "configuration", feed, _TOML, CommandError)


# ---- NetBIOS ----


def netbios_parsers(rng: random.Random) -> list[Parser]:
    ada, corp = Name.make(b"ADA"), Name.make(b"CORP", 0x1E)
    address = IPv4Address("10.0.0.7")
    smb = mailslot.encode(mailslot.Write(("messngr",), b"hello"))
    packets = [
        datagram.encode(datagram.Datagram(kind, 7, address, 138, ada, to, smb))
        for kind, to in ((datagram.Kind.UNIQUE, ada), (datagram.Kind.GROUP, corp))
    ]
    holding = nameservice.Holding(address, False)
    register = nameservice.Request(1, nameservice.Opcode.REGISTER, ada, holding=holding)
    names = [
        nameservice.encode_request(nameservice.Request(1, nameservice.Opcode.QUERY, ada)),
        nameservice.encode_request(register),
        nameservice.encode_response(
            nameservice.Response(1, nameservice.Opcode.QUERY, ada, 0, (holding, holding))
        ),
    ]

    def take_datagram(data: bytes) -> None:
        mailslot.decode(datagram.decode(data).data)

    def take_smb(data: bytes) -> None:
        mailslot.decode(data)

    def take_name(data: bytes) -> None:
        nameservice.decode(data)

    def take_stream(data: bytes) -> None:
        for record in unexpected.Stream().feed(data):
            datagram.decode(record.packet)

    record = unexpected._RECORD
    streams = [
        b"\0" + record.pack(len(each), unexpected.DATAGRAM, 0, address.packed, 138) + each
        for each in packets
    ]
    return [
        Parser(rng, "NetBIOS datagrams", take_datagram, packets, NetbiosRefused),
        Parser(rng, "SMBs", take_smb, [smb], NetbiosRefused),
        Parser(rng, "name service", take_name, names, NetbiosRefused),
        Parser(rng, "nmbd", take_stream, streams, NetbiosRefused, unexpected.NotNmbd),
    ]


# ---- programs ----


def program_parsers(rng: random.Random) -> list[Parser]:
    joiner = chat.Joiner()
    clock = iter(range(1 << 60))

    def take_alert(data: bytes) -> None:
        alerter.is_alert(data)
        alerter.describe(alerter.decode(data))

    def take_line(data: bytes) -> None:
        joiner.add(rng.randrange(1000), chat.parse(data), next(clock) / 100)

    def take_session(data: bytes) -> None:
        receiver = messenger_session.Receiver(lambda name: True, "cp850")
        for start in range(0, len(data), 50):
            receiver.feed(data[start : start + 50])

    def take(decode: Callable[[bytes], object]) -> Feed:
        return lambda data: (decode(data), None)[1]

    alerts: list[alerter.Admin | alerter.ErrorLog | alerter.Print | alerter.User | bytes] = [
        alerter.Admin(5, ("one", "two")),
        alerter.ErrorLog(5, 1),
        alerter.Print(1, 2, 3, 4, "ada", "eve", "queue", "lpt1", "ready"),
        alerter.User(5, ("one",), "eve", "ada"),
        b"any",
    ]
    events = ("ADMIN", "ERRORLOG", "PRINTING", "USER", "OTHER")
    query = discovery.encode(discovery.Query(Address.from_unc("\\\\.\\mailslot\\ask.1\\x"), b"who"))
    notice = messenger.Notice("ada", "bob", "text\nmore")
    session = b""
    talk = messenger_session.converse(notice, "cp850")
    receiver = messenger_session.Receiver(lambda name: True, "cp850")
    sent = next(talk)
    while True:
        session += sent
        (reply,) = messenger_session.PacketBuffer().feed(receiver.feed(sent))
        try:
            sent = talk.send(reply)
        except StopIteration:
            break
    return [
        Parser(rng, "notices", take(messenger.decode), [messenger.encode(notice)], FormatError),
        Parser(
            rng,
            "alerts",
            take_alert,
            [
                alerter.encode(alerter.Alert(7, event, "service", details))
                for event, details in zip(events, alerts, strict=True)
            ],
            FormatError,
        ),
        Parser(
            rng,
            "browser frames",
            take(browse.decode),
            [
                browse.encode(browse.Announcement(1, "ADA", "comment")),
                browse.encode(browse.AnnouncementRequest("ADA")),
            ],
            FormatError,
        ),
        Parser(
            rng,
            "chat",
            take_line,
            chat.split(chat.Line("say", "0123abcd", "ada", "long text " * 60)),
            FormatError,
        ),
        Parser(rng, "queries", take(discovery.decode), [query], FormatError),
        Parser(
            rng,
            "locator queries",
            take(discovery.decode_locator_query),
            [discovery.encode_locator(discovery.LocatorQuery("ada"))],
            FormatError,
        ),
        Parser(
            rng,
            "locator replies",
            take(discovery.decode_locator_reply),
            [discovery.encode_locator(discovery.LocatorReply("ada", 7))],
            FormatError,
        ),
        Parser(rng, "sessions", take_session, [session], FormatError),
    ]


def all_parsers(rng: random.Random, directory: Path) -> list[Parser]:
    """All of them. Call it within trio."""
    trio.current_time()
    return [
        *identity_parsers(rng, directory),
        broker_parser(rng, MQTTProtocolVersion.MQTTv5, "MQTT 5"),
        broker_parser(rng, MQTTProtocolVersion.MQTTv311, "MQTT 3.1.1"),
        configuration_parser(rng, directory),
        *netbios_parsers(rng),
        *program_parsers(rng),
    ]
