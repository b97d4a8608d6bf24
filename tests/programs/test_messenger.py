"""The body of NET SEND, and its form by an SMB session."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.programs import FormatError, messenger
from msfs_fuse.programs import messenger_session as session
from msfs_fuse.programs.messenger import Notice

# Neither a NUL, nor what stands for a line end, nor halves of surrogate pairs.
TEXT = st.text(st.characters(exclude_characters="\0\r\x14", exclude_categories=["Cs"]))
OEM_TEXT = st.text(
    st.sampled_from("".join(bytes([code]).decode("cp850") for code in range(1, 256)))
).filter(lambda text: not set(text) & {"\r", "\x14"})

# One whole start request, as `smbclient -M` sent it.
SMBCLIENT_START = bytes.fromhex(
    "0000002eff534d42d500000000000000000000000000000000000000 00007d03"
    "00000000000b00040004504f50484f535400"
)


@given(st.builds(Notice, TEXT, TEXT, TEXT))
def test_what_is_encoded_is_decoded(notice: Notice) -> None:
    assert messenger.decode(messenger.encode(notice)) == notice


@given(st.builds(Notice, OEM_TEXT, OEM_TEXT, OEM_TEXT))
def test_code_pages(notice: Notice) -> None:
    data = messenger.encode(notice, "cp850")
    assert [part.decode("cp850") for part in data.split(b"\0")][:2] == [*notice[:2]]
    decoded = messenger.decode(data, "cp850")
    for part, text in zip(decoded, notice, strict=True):
        # What looks like UTF-8 as well is taken for that.
        assert part == text or text.encode("cp850").decode() == part.replace("\n", "\r\n")


def test_as_windows_writes_it() -> None:
    body = b"ADMIN\0\x8eRGER\0T\x81r zu\r\nJa\x14Nein\0"
    assert messenger.decode(body) == Notice("ADMIN", "ÄRGER", "Tür zu\nJa\nNein")
    assert messenger.encode(Notice("a", "b", "ü\n☃"), "cp850") == b"a\0b\0\x81\r\n?\0"


@pytest.mark.parametrize(
    ("body", "notice"),
    [
        (b"a\0b\0c", Notice("a", "b", "c")),  # scripts forget the last NUL
        (b"a\0b\0c\0\0\0", Notice("a", "b", "c")),  # or pad with more
        (b"\0\0c\0", Notice("", "", "c")),
        (b"a\0b\0\0", Notice("a", "b", "")),
    ],
)
def test_bodies_that_are_not_quite_right(body: bytes, notice: Notice) -> None:
    assert messenger.decode(body) == notice


@pytest.mark.parametrize("body", [b"", b"text", b"a\0b", b"a\0b\0c\0d\0", b"\0\0\0\0x"])
def test_bodies_that_are_none(body: bytes) -> None:
    with pytest.raises(FormatError):
        messenger.decode(body)


@given(st.binary())
def test_anything_is_a_notice_or_refused(body: bytes) -> None:
    try:
        notice = messenger.decode(body)
    except FormatError:
        return
    assert not any("\0" in part for part in notice)


def test_a_nul_cannot_be_sent() -> None:
    for notice in (Notice("a\0", "b", "c"), Notice("a", "b", "c\0d")):
        with pytest.raises(FormatError):
            messenger.encode(notice)


# ---- by a session ----


def deliver(notice: Notice, *, names: tuple[str, ...] = ("HOST",)) -> list[Notice]:
    """Have our client speak to our server, byte for byte as they come."""
    receiver = session.Receiver(lambda name: name.upper() in names, "cp850")
    client = session.converse(notice, "cp850")
    packets = session.PacketBuffer()
    request = next(client)
    try:
        while True:
            answer = b"".join(receiver.feed(bytes([byte])) for byte in request)
            (reply,) = packets.feed(answer)
            request = client.send(reply)
    except StopIteration:
        return receiver.notices


LABEL = st.text(st.sampled_from("ABCXYZ0-_ÄÖ"), min_size=1, max_size=15)


@given(LABEL, OEM_TEXT.filter(lambda text: len(text) < 4000))
def test_our_client_reaches_our_server(sender: str, text: str) -> None:
    (notice,) = deliver(Notice(sender, "host", text))
    assert notice.sender == sender
    assert notice.recipient == "host"
    got, sent = notice.text, text
    assert got == sent or sent.replace("\n", "\r\n").encode("cp850").decode() == got.replace(
        "\n", "\r\n"
    )


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 700, session.MAX_TEXT])
def test_long_texts_come_in_blocks(size: int) -> None:
    text = "".join(chr(ord("a") + number % 26) for number in range(size))
    assert deliver(Notice("a", "HOST", text)) == [Notice("a", "HOST", text)]


def test_a_text_that_is_too_long_or_a_name_is_refused_before_it_is_sent() -> None:
    for notice in (
        Notice("a", "HOST", "x" * (session.MAX_TEXT + 1)),
        Notice("a", "x" * 16, "text"),
        Notice("", "HOST", "text"),
        Notice("a", "HOST", "a\0b"),
    ):
        with pytest.raises(FormatError):
            next(session.converse(notice, "cp850"))


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(session.Refused, match="OTHER"):
        deliver(Notice("a", "OTHER", "text"))


def opened() -> session.Receiver:
    """A server whose client has asked for a session."""
    receiver = session.Receiver(lambda name: True, "cp850")
    names = session.encode_name(b"HOST", 0x03) + session.encode_name(b"A", 0x00)
    assert receiver.feed(b"\x81\0\0\x44" + names) == b"\x82\0\0\0"
    return receiver


def test_the_start_that_smbclient_sends() -> None:
    answer = opened().feed(SMBCLIENT_START)
    assert answer[4:9] == b"\xffSMB\xd5"
    assert struct.unpack_from("<H", answer, 4 + 26) == (0x037D,)  # the pid comes back
    assert answer[36:] == b"\1\1\0\0\0"  # one word, the group id, and no bytes


def test_a_short_message_in_one_packet() -> None:
    receiver = opened()
    data = b"\x04A\0\x04HOST\0\x01\x05\0hello"
    smb = b"\xffSMB\xd0" + bytes(27) + b"\0" + struct.pack("<H", len(data)) + data
    answer = receiver.feed(struct.pack(">BBH", 0, 0, len(smb)) + smb)
    assert answer[8] == 0xD0
    assert receiver.notices == [Notice("A", "HOST", "hello")]


@pytest.mark.parametrize(
    "stream",
    [
        SMBCLIENT_START,  # without a session
        b"\x81\0\0\x02ab",
        b"\x81\0\0\x44" + bytes(68),
        b"\x00\1\0\0",
        b"\x00\0\xff\xff",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
)
def test_strangers_are_hung_up_on(stream: bytes) -> None:
    with pytest.raises(FormatError):
        session.Receiver(lambda name: True, "cp850").feed(stream)


def test_text_without_end_is_hung_up_on() -> None:
    receiver = opened()
    receiver.feed(SMBCLIENT_START)
    data = b"\x01" + struct.pack("<H", 1000) + bytes(1000)
    smb = b"\xffSMB\xd7" + bytes(27) + b"\1\1\0" + struct.pack("<H", len(data)) + data
    packet = struct.pack(">BBH", 0, 0, len(smb)) + smb
    for _ in range(8):
        receiver.feed(packet)
    with pytest.raises(FormatError, match="too long"):
        receiver.feed(packet)


@given(st.binary())
def test_a_session_with_anything_in_it(payload: bytes) -> None:
    receiver = opened()
    for smb in (payload, b"\xffSMB\xd5" + payload, b"\xffSMB\xd0" + bytes(27) + payload):
        try:
            receiver.feed(struct.pack(">BBH", 0, 0, len(smb)) + smb)
        except FormatError:
            receiver = opened()


@given(st.binary(max_size=200))
def test_a_server_that_answers_anything(payload: bytes) -> None:
    client = session.converse(Notice("a", "HOST", "text"), "cp850")
    next(client)
    client.send(session.Packet(0x82, b""))
    with pytest.raises((FormatError, session.Refused)):
        client.send(session.Packet(0, payload))


@given(st.binary(min_size=1, max_size=15).map(lambda label: label.upper()), st.integers(0, 255))
def test_names_of_sessions(label: bytes, suffix: int) -> None:
    expected = label.rstrip(b" "), suffix
    assert session.decode_name(session.encode_name(label, suffix)) == expected
