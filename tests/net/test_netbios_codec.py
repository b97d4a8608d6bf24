"""Datagrams of Windows and Samba: byte for byte what they send, and nothing else is taken."""

import struct
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.net.netbios import datagram, mailslot, names
from msfs_fuse.net.netbios.datagram import Datagram, Kind
from msfs_fuse.net.netbios.mailslot import Write
from msfs_fuse.net.netbios.names import Name
from msfs_fuse.net.netbios.refusal import Reason, Refused

# The example of [MS-MAIL] 4, made by Windows.
GOLDEN_SMB = (
    bytes.fromhex(
        """
        FF534D42 25000000 00180400 00000000 00000000 00000000 0000FFFE 00000000
        11000024 00020000 00000002 00000000 00000000 00680024 00680003 00010000
        00020047 005C4D41 494C534C 4F545C74 65737431 5C73616D 706C655F 6D61696C
        736C6F74 00000000
        """
    )
    + b"\xca" * 36
)

# nmbd 4.17 answers who asked for a domain controller; its data are not aligned.
NMBD = bytes.fromhex(
    """
    100a182a0a4d0001008a00d2000020454f454e454345494550464446454341434143414341434143
    4143414341414100204641464a454945504644464543414341434143414341434143414341434141
    4100ff534d4225000000000000000000000000000000000000000000000000000000110000340000
    000000000000000000000000000000000034005a00030001000100020049005c4d41494c534c4f54
    5c4d5346535c5245504c59000c004e4d42484f5354004e004d00420048004f005300540000004d00
    5300460053005400450053005400000001000000ffffffff
    """
)

# smbtorture 4.17, Samba's other codec, asks, from any port.
TORTURE = bytes.fromhex(
    """
    100ea6240a4d0002ec4800e800002046454550464346454646464345464650464545464644464543
    414341434141410020454e4644454746444645454646444645434143414341434143414341434142
    4d00ff534d4225000000000000000000000000000000000000000000000000000000110000480000
    00000000000000e803000000000000000048005c0003000100010002005f005c4d41494c534c4f54
    5c4e45545c4e45544c4f474f4e000700544f52545552455f54455354005c4d41494c534c4f545c4e
    45545c47455444433930370054004f00520054005500520045005f00540045005300540000000100
    0000ffffffff
    """
)

LABELS = st.binary(min_size=1, max_size=15).map(bytes.upper)
NAMES = st.builds(
    Name, LABELS.filter(lambda raw: raw[-1:] != b" " and raw[:1] != b"*"), st.integers(0, 255)
)
PARTS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/\\@"),
    min_size=1,
    max_size=12,
).filter(lambda part: not part.startswith("."))
PATHS = st.lists(PARTS, min_size=1, max_size=3).map(tuple)
WRITES = st.builds(Write, PATHS, st.binary(min_size=1, max_size=424))
DATAGRAMS = st.builds(
    Datagram,
    st.sampled_from(Kind),
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1).map(IPv4Address),
    st.integers(0, 65535),
    NAMES,
    NAMES,
    WRITES.map(mailslot.encode),
)

WRITE = Write(("msfs", "inbox"), b"hello")
SMB = mailslot.encode(WRITE)
FRAME = datagram.encode(
    Datagram(
        Kind.UNIQUE,
        0x1234,
        IPv4Address("10.77.0.2"),
        138,
        Name(b"PYHOST"),
        Name(b"NMBHOST"),
        SMB,
    )
)


def reason_of(packet: bytes) -> Reason | None:
    """Why a datagram is refused; None for one that is taken."""
    try:
        mailslot.decode(datagram.decode(packet).data)
    except Refused as refused:
        return refused.reason
    return None


def with_smb(smb: bytes) -> bytes:
    """The valid datagram with another SMB."""
    return datagram.encode(datagram.decode(FRAME)._replace(data=smb))


def patched(packet: bytes, at: int, form: str, value: int) -> bytes:
    """A packet with another number at an offset."""
    changed = bytearray(packet)
    struct.pack_into(form, changed, at, value)
    return bytes(changed)


def test_the_example_of_the_specification() -> None:
    write = Write(("test1", "sample_mailslot"), b"\xca" * 36)
    assert mailslot.encode(write) == GOLDEN_SMB
    assert mailslot.decode(GOLDEN_SMB) == write


def test_what_nmbd_sends() -> None:
    taken = datagram.decode(NMBD)
    assert taken[:-1] == (
        Kind.UNIQUE,
        0x182A,
        IPv4Address("10.77.0.1"),
        138,
        Name(b"NMBHOST"),
        Name(b"PYHOST"),
    )
    write = mailslot.decode(taken.data)
    assert write.path == ("msfs", "reply")
    assert write.data.startswith(b"\x0c\0NMBHOST\0")
    assert datagram.encode(taken) == NMBD


def test_what_smbtorture_sends() -> None:
    taken = datagram.decode(TORTURE)
    assert taken[:-1] == (
        Kind.UNIQUE,
        0xA624,
        IPv4Address("10.77.0.2"),
        60488,
        Name(b"TORTURE_TEST"),
        Name(b"MSFSTEST", 0x1C),
    )
    write = mailslot.decode(taken.data)
    assert write.path == ("net", "netlogon")
    assert write.data.startswith(b"\x07\0TORTURE_TEST\0\\MAILSLOT\\NET\\GETDC907\0")


@given(DATAGRAMS)
def test_datagrams_come_back_as_they_went(sent: Datagram) -> None:
    assert datagram.decode(datagram.encode(sent)) == sent


@given(WRITES)
def test_writes_come_back_as_they_went(sent: Write) -> None:
    smb = mailslot.encode(sent)
    assert mailslot.decode(smb) == Write(tuple(part.lower() for part in sent.path), sent.data)
    assert (len(smb) - len(sent.data)) % 4 == 0


@given(PATHS, st.sampled_from([mailslot.WINDOWS_SIZE, mailslot.SAMBA_SIZE]))
def test_capacity_is_what_fits(path: tuple[str, ...], size: int) -> None:
    smb = mailslot.encode(Write(path, bytes(mailslot.capacity(path, size))))
    assert len(smb) == size


@pytest.mark.parametrize(
    ("length", "windows", "samba"),
    [(1, 428, 410), (4, 428, 410), (5, 424, 406), (8, 424, 406), (9, 420, 402), (16, 416, 398)],
)
def test_how_much_one_may_send(length: int, windows: int, samba: int) -> None:
    """The name may be that long behind `\\MAILSLOT\\`; the first is [MS-MAIL]'s own table."""
    path = ("x" * length,)
    assert mailslot.capacity(path, mailslot.WINDOWS_SIZE) == windows
    assert mailslot.capacity(path, mailslot.SAMBA_SIZE) == samba


def test_names_of_slots_are_ascii() -> None:
    with pytest.raises(ValueError, match="ASCII"):
        mailslot.encode(Write(("grüße",), b"x"))


@given(NAMES)
def test_names_are_text_and_back(name: Name) -> None:
    assert Name.parse(str(name)) == name
    assert not set(str(name)) & set("/\\@ \0")
    assert str(name).isascii()
    assert str(name).isprintable()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("build7", Name(b"BUILD7")),
        ("MsfsTest#1e", Name(b"MSFSTEST", 0x1E)),
        ("a%20b", Name(b"A B")),
        ("%01%02__MSBROWSE__%02#01", names.MASTERS),
        ("*", names.ANY),
    ],
)
def test_names_in_text(text: str, name: Name) -> None:
    assert Name.parse(text) == name


@pytest.mark.parametrize("text", ["", "#1e", "x" * 16, "a/b", "a b", "a#1", "a#123", "a#zz", "%2"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="not a NetBIOS name"):
        Name.parse(text)


def test_case_does_not_matter_in_names() -> None:
    lower = FRAME.replace(names.encode(Name(b"NMBHOST")), names.encode(Name(b"nmbhost")))
    assert lower != FRAME
    assert datagram.decode(lower) == datagram.decode(FRAME)


def test_a_name_may_be_a_pointer_to_the_first() -> None:
    packet = FRAME[:48] + b"\xc0\x0e" + FRAME[82:]
    packet = patched(packet, 10, ">H", len(packet) - 14)
    assert datagram.decode(packet).destination == Name(b"PYHOST")


NAME_END = 69 + len("\\MAILSLOT\\msfs\\inbox")

BAD_HEADERS: dict[str, tuple[bytes, Reason]] = {
    "nothing": (b"", Reason.TOO_SHORT),
    "13 bytes": (FRAME[:13], Reason.TOO_SHORT),
    "no smb": (datagram.encode(datagram.decode(FRAME)._replace(data=b"")), Reason.TOO_SHORT),
    "length 0": (patched(FRAME, 10, ">H", 0), Reason.LENGTH),
    "length 65535": (patched(FRAME, 10, ">H", 65535), Reason.LENGTH),
    "cut short": (FRAME[:-1], Reason.LENGTH),
    "something behind": (FRAME + b"\0", Reason.LENGTH),
    "offset 256": (patched(FRAME, 12, ">H", 256), Reason.FRAGMENT),
    "flags 0": (patched(FRAME, 1, "B", 0), Reason.FRAGMENT),
    "first and more": (patched(FRAME, 1, "B", 3), Reason.FRAGMENT),
    "flags 255": (patched(FRAME, 1, "B", 0xFF), Reason.FRAGMENT),
    "an error": (patched(FRAME, 0, "B", 0x13), Reason.KIND),
    "a query": (patched(FRAME, 0, "B", 0x14), Reason.KIND),
    "label of 31": (patched(FRAME, 14, "B", 31), Reason.NAME),
    "bad letter": (patched(FRAME, 15, "B", ord("Q")), Reason.NAME),
    "small letter": (patched(FRAME, 15, "B", ord("a")), Reason.NAME),
    "scope": (patched(FRAME, 47, "B", 4), Reason.SCOPE),
    "pointer to itself": (patched(FRAME, 14, ">H", 0xC00E), Reason.NAME),
    "pointer forward": (patched(FRAME, 14, ">H", 0xC030), Reason.NAME),
    "pointer into the header": (patched(FRAME, 48, ">H", 0xC000), Reason.NAME),
    "pointer to a pointer": (
        patched(patched(FRAME, 14, ">H", 0xC030), 48, ">H", 0xC00E),
        Reason.NAME,
    ),
    "blank name": (FRAME[:15] + b"CA" * 16 + FRAME[47:], Reason.NAME),
}

BAD_SMBS: dict[str, tuple[bytes, Reason]] = {
    "cut in the header": (SMB[:31], Reason.TOO_SHORT),
    "cut in the words": (SMB[:60], Reason.TOO_SHORT),
    "cut in the data": (SMB[:-1], Reason.DATA),
    "too long": (mailslot.encode(Write(("x",), bytes(490))), Reason.TOO_LONG),
    "magic": (patched(SMB, 0, "B", ord("X")), Reason.NOT_A_MAILSLOT),
    "command": (patched(SMB, 4, "B", 0x32), Reason.NOT_A_MAILSLOT),
    "16 words": (patched(SMB, 32, "B", 16), Reason.NOT_A_MAILSLOT),
    "2 setup words": (patched(SMB, 59, "B", 2), Reason.NOT_A_MAILSLOT),
    "opcode 2": (patched(SMB, 61, "<H", 2), Reason.NOT_A_MAILSLOT),
    "priority 99": (patched(SMB, 63, "<H", 99), Reason.NOT_A_MAILSLOT),
    "class 0": (patched(SMB, 65, "<H", 0), Reason.NOT_A_MAILSLOT),
    "class 99": (patched(SMB, 65, "<H", 99), Reason.NOT_A_MAILSLOT),
    "parameters": (patched(SMB, 33, "<H", 1), Reason.NOT_A_MAILSLOT),
    "count of parameters": (patched(SMB, 51, "<H", 1), Reason.NOT_A_MAILSLOT),
    "total data": (patched(SMB, 35, "<H", 6), Reason.DATA),
    "count of bytes 0": (patched(SMB, 67, "<H", 0), Reason.DATA),
    "count of bytes 65535": (patched(SMB, 67, "<H", 65535), Reason.DATA),
    "offset 0": (patched(SMB, 57, "<H", 0), Reason.DATA),
    "offset in the name": (patched(SMB, 57, "<H", NAME_END), Reason.DATA),
    "offset 65535": (patched(SMB, 57, "<H", 65535), Reason.DATA),
    "count 65535": (patched(patched(SMB, 55, "<H", 65535), 35, "<H", 65535), Reason.DATA),
    "count too small": (patched(patched(SMB, 55, "<H", 4), 35, "<H", 4), Reason.DATA),
    "no data": (mailslot.encode(Write(("x",), b"")), Reason.EMPTY),
    "name without end": (
        SMB[:69] + b"\\MAILSLOT\\msfs".ljust(len(SMB) - 69, b"x"),
        Reason.SLOT_NAME,
    ),
    "another prefix": (SMB.replace(b"\\MAILSLOT\\", b"\\PIPE\\xxx\\"), Reason.SLOT_NAME),
    "no name": (SMB.replace(b"\\msfs\\inbox", b"\\\0\0\0\0\0\0\0\0\0\0"), Reason.SLOT_NAME),
    "empty part": (SMB.replace(b"msfs\\inbox", b"msfs\\\\nbox"), Reason.SLOT_NAME),
    "up": (SMB.replace(b"msfs\\inbox", b"..\\toinbox"[:10]), Reason.SLOT_NAME),
    "slash": (SMB.replace(b"msfs\\inbox", b"msfs/inbox"), Reason.SLOT_NAME),
    "reserved": (SMB.replace(b"msfs\\inbox", b"@hst\\inbox"), Reason.SLOT_NAME),
    "control": (SMB.replace(b"msfs\\inbox", b"msfs\\i\x1bbox"), Reason.SLOT_NAME),
    "not ascii": (SMB.replace(b"msfs\\inbox", b"msfs\\in\xe4ox"), Reason.SLOT_NAME),
}


def test_the_valid_one_is_taken() -> None:
    assert reason_of(FRAME) is None
    assert reason_of(with_smb(SMB)) is None


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_bad_headers(case: str) -> None:
    packet, reason = BAD_HEADERS[case]
    assert reason_of(packet) is reason


@pytest.mark.parametrize("case", BAD_SMBS)
def test_bad_smbs(case: str) -> None:
    smb, reason = BAD_SMBS[case]
    assert reason_of(with_smb(smb)) is reason


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [
        (9, "B", 0),  # flags of nmbd
        (10, "<H", 0),
        (26, "<H", 0),  # no process
        (37, "<H", 0),  # no parameters wanted
        (45, "<I", 1000),  # smbtorture's timeout
        (53, "<H", 0),  # no offset of the parameters
        (63, "<H", 1),  # priority
        (65, "<H", 1),  # class
    ],
)
def test_what_windows_nmbd_and_smbtorture_do_differently(at: int, form: str, value: int) -> None:
    assert reason_of(with_smb(patched(SMB, at, form, value))) is None


def test_data_need_not_be_aligned() -> None:
    offset = NAME_END + 1
    smb = bytearray(SMB[:offset] + WRITE.data)
    struct.pack_into("<H", smb, 57, offset)
    struct.pack_into("<H", smb, 67, len(smb) - 69)
    assert mailslot.decode(bytes(smb)) == WRITE


MUTATIONS: list[Callable[[bytearray, int, int], object]] = [
    lambda packet, at, byte: packet.__setitem__(at, byte),
    lambda packet, at, byte: packet.insert(at, byte),
    lambda packet, at, byte: packet.__delitem__(slice(at, at + byte)),
    lambda packet, at, byte: packet.__setitem__(slice(at, None), packet[at : at + byte]),
]


@given(
    DATAGRAMS.map(datagram.encode),
    st.lists(st.tuples(st.sampled_from(MUTATIONS), st.floats(0, 0.999), st.integers(0, 255))),
)
def test_nothing_but_refusals(
    packet: bytes, mutations: list[tuple[Callable[[bytearray, int, int], object], float, int]]
) -> None:
    changed = bytearray(packet)
    for mutate, where, byte in mutations:
        if changed:
            mutate(changed, int(where * len(changed)), byte)
    reason_of(bytes(changed))  # raises nothing but what it looks for


@given(st.binary(max_size=700))
def test_noise_is_refused(packet: bytes) -> None:
    assert reason_of(packet) is not None
