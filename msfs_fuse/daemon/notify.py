"""What a service manager wants to hear of a service: the protocol of sd_notify(3)."""

import contextlib
import os
import socket

_MICROSECONDS = 1_000_000


def notify(*assignments: str) -> None:
    """Tell the service manager, if there is one that listens, e.g. `READY=1`.

    What cannot be told is lost: a service is not to fail for that.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # an abstract name
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        sock.setblocking(False)
        sock.sendto("\n".join(assignments).encode(errors="replace"), address)


def watchdog_interval() -> float | None:
    """How often to say `WATCHDOG=1`, in seconds: twice as often as needed; None for never."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdigit() or not int(microseconds) or pid != str(os.getpid()):
        return None
    return int(microseconds) / _MICROSECONDS / 2
