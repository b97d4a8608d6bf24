"""The sealed datagram: what it looks like, and that nothing else is taken for one."""

import struct

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.core.names import REMOTE_MESSAGE_SIZE
from msfs_fuse.core.slot import Sender
from msfs_fuse.net import datagram
from msfs_fuse.net.datagram import Header, Kind, Message, Presence, Reason, Refused, Scope
from msfs_fuse.net.keyring import Key

KEY = Key(bytes(range(32)))
EPOCH = bytes(range(100, 116))
CIPHER = KEY.cipher("corp", EPOCH)
HEADER = Header(Kind.MESSAGE, KEY.id_in("corp"), EPOCH, 7)
MESSAGE = Message(
    1_700_000_000_123,
    Sender("build7", 1000, 4711),
    Scope.DOMAIN,
    "CORP",
    ("53cb31a0", "UnimodemNotifyTSP"),
    b"hi\n",
)

GOLDEN = bytes.fromhex(
    "0101df266465666768696a6b6c6d6e6f7071727300000000000000079f8d7b5e43d5c3cd64c5168a"
    "c8077cce193ead5ce1c275e82f48e8a2ecf71fc2fd63ea9c6ec6e77aacda7c1d84da14fc801881d1"
    "4db08ade0c79d9ea7393e4dbc32ef49662db9168718ded"
)

hosts = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", fullmatch=True)
parts = st.text(
    st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=20
).filter(lambda part: not part.startswith((".", "@")))
messages = st.builds(
    Message,
    st.integers(0, 2**64 - 1),
    st.builds(
        lambda host, uid, pid: Sender(host, uid, pid),
        hosts,
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
    ),
    st.sampled_from(Scope),
    hosts,
    st.lists(parts, min_size=1, max_size=3).map(tuple),
    st.binary(min_size=1, max_size=REMOTE_MESSAGE_SIZE),
)


def reason_of(data: bytes, cipher: ChaCha20Poly1305 = CIPHER) -> Reason | None:
    """Why a datagram is refused."""
    try:
        header = datagram.parse_header(data)
        body = datagram.open_body(cipher, header.counter, data)
        if header.kind is Kind.MESSAGE:
            datagram.decode_message(body)
        else:
            datagram.decode_presence(body)
    except Refused as refused:
        return refused.reason
    return None


def sealed(body: bytes, kind: Kind = Kind.MESSAGE) -> bytes:
    return datagram.seal(CIPHER, HEADER._replace(kind=kind), body)


def test_golden_vector() -> None:
    assert sealed(datagram.encode_message(MESSAGE)) == GOLDEN


def test_golden_vector_by_the_primitives_alone() -> None:
    """Another program would do it so."""
    derived = HKDF(SHA256(), 32, salt=EPOCH, info=b"mailslot v1|corp").derive(KEY.secret)
    clear, rest = GOLDEN[:28], GOLDEN[28:]
    assert struct.unpack(">BBH16sQ", clear) == (1, 1, KEY.id_in("corp"), EPOCH, 7)
    body = ChaCha20Poly1305(derived).decrypt(bytes(4) + clear[-8:], rest, clear)
    assert body == (
        struct.pack(">Q", 1_700_000_000_123)
        + b"\x06build7"
        + struct.pack(">IIB", 1000, 4711, 1)
        + b"\x04CORP"
        + b"\x1a53cb31a0\\UnimodemNotifyTSP"
        + b"hi\n"
    )


@given(messages)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    data = sealed(datagram.encode_message(message))
    assert len(data) <= datagram.MAX_SIZE
    assert datagram.parse_header(data) == HEADER
    assert datagram.decode_message(datagram.open_body(CIPHER, 7, data)) == message


@given(st.builds(Presence, st.integers(0, 2**64 - 1), hosts))
def test_presence_comes_out_as_it_went_in(presence: Presence) -> None:
    assert datagram.decode_presence(datagram.encode_presence(presence)) == presence


def test_the_largest_datagram_is_never_fragmented() -> None:
    message = MESSAGE._replace(
        sender=Sender("h" * 64, 0, 0), destination="d" * 64, path=("s" * 255,), data=b"x" * 424
    )
    assert len(sealed(datagram.encode_message(message))) == 871 <= 1280 - 48


def test_every_truncation_is_refused() -> None:
    for size in range(len(GOLDEN)):
        assert reason_of(GOLDEN[:size]) in (Reason.TOO_SHORT, Reason.FORGED)
    assert reason_of(GOLDEN + b"\0") is Reason.FORGED


def test_every_flipped_bit_is_refused() -> None:
    for bit in range(8 * len(GOLDEN)):
        changed = bytearray(GOLDEN)
        changed[bit // 8] ^= 1 << bit % 8
        assert reason_of(bytes(changed)) in (Reason.VERSION, Reason.KIND, Reason.FORGED)


@given(st.binary(max_size=1300))
def test_noise_is_refused(noise: bytes) -> None:
    assert reason_of(noise) is not None
    assert reason_of(GOLDEN[:2] + noise) is not None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.TOO_SHORT),
        (GOLDEN[:54], Reason.FORGED),
        (GOLDEN[:53], Reason.TOO_SHORT),
        (GOLDEN + bytes(1201 - len(GOLDEN)), Reason.TOO_LONG),
        (b"\x02" + GOLDEN[1:], Reason.VERSION),
        (GOLDEN[:1] + b"\x00" + GOLDEN[2:], Reason.KIND),
        (GOLDEN[:1] + b"\x02" + GOLDEN[2:], Reason.FORGED),
    ],
)
def test_the_reason_is_told(data: bytes, reason: Reason) -> None:
    assert reason_of(data) is reason


BODY = datagram.encode_message(MESSAGE)


def test_every_truncation_by_a_member_is_refused() -> None:
    for size in range(10, len(BODY) - 3):
        assert reason_of(sealed(BODY[:size])) is Reason.MALFORMED
    assert reason_of(sealed(BODY[:-3])) is Reason.EMPTY


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x06build7", b"\x00"),
        (b"\x06build7", b"\x06bui/d7"),
        (b"\x06build7", b"\x06bui\nd7"),
        (b"\x06build7", b"\x02.."),
        (b"\x06build7", b"\x04b\xc3\xbcx"),
        (b"\x01\x04CORP", b"\x02\x04CORP"),
        (b"\x04CORP", b"\x01*"),
        (b"\x1a53cb31a0\\", b"\x1a53cb31a0/"),
        (b"\x1a53cb31a0\\", b"\x1a\\3cb31a0\\"),
        (b"\x1a53cb31a0\\", b"\x1a5\x00cb31a0\\"),
        (b"\x1a53cb31a0\\", b"\x1a.msfs1a0\\"),
        (b"\x1a53cb31a0\\", b"\x1a@3cb31a0\\"),
        (b"\x1a53cb31a0\\", b"\x1a..\\b31a0\\"),
        (b"hi\n", b"x" * 425),
    ],
)
def test_what_no_mailslot_sends_is_malformed(old: bytes, new: bytes) -> None:
    assert old in BODY
    assert reason_of(sealed(BODY.replace(old, new))) is Reason.MALFORMED


@pytest.mark.parametrize("body", [bytes(8) + b"\x02a", bytes(8) + b"\x01ab", bytes(10)])
def test_malformed_presence(body: bytes) -> None:
    assert reason_of(sealed(body, Kind.HELLO)) is Reason.MALFORMED


@pytest.mark.parametrize(
    "change",
    [
        {"data": b""},
        {"data": b"x" * 425},
        {"destination": "h" * 65},
        {"destination": ""},
        {"path": ("s" * 256,)},
        {"path": ("a/b",)},
        {"path": ()},
    ],
)
def test_what_cannot_be_carried_is_not_encoded(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        datagram.encode_message(MESSAGE._replace(**change))  # type: ignore[arg-type]
