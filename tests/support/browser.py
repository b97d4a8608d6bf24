"""Messages to and from nmbd in mailslots that it knows: [MS-BRWS] 2.2, [MS-ADTS] 6.3.1."""

import struct

LOCAL_MASTER_ANNOUNCEMENT = 0x0F
PRIMARY_RESPONSE = 0x0C

# Workstation, server, NT workstation.
_SERVER_TYPE = 0x1003


def announcement_request(name: str) -> bytes:
    """Have all hosts of a workgroup announce themselves now."""
    return b"\x02\0" + name.encode() + b"\0"


def host_announcement(name: str, comment: str) -> bytes:
    """A host says that it is there."""
    form = struct.Struct("<BBI16sBBIHH")
    fixed = form.pack(1, 0, 60_000, name.encode(), 6, 1, _SERVER_TYPE, 0x10F, 0xAA55)
    return fixed + comment.encode() + b"\0"


def primary_query(name: str, reply_slot: str) -> bytes:
    """Ask who is the primary domain controller; the answer goes to a slot of our choice."""
    return (
        b"\x07\0"
        + name.encode()
        + b"\0"
        + b"\\MAILSLOT\\"
        + reply_slot.encode()
        + b"\0"
        + (b"" if (len(name) + len(reply_slot)) % 2 else b"\0")
        + name.encode("utf-16-le")
        + b"\0\0"
        + struct.pack("<IHH", 1, 0xFFFF, 0xFFFF)
    )
