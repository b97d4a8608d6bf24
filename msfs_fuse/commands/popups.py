"""Where messages to people are shown: the desktop, terminals, the journal.

The text is others': what a terminal might obey, and what a desktop might take for markup, is
escaped, and long texts are cut.
"""

import contextlib
import html
import os
import pwd
import socket
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

from jeepney import DBusAddress, DBusErrorResponse, new_method_call
from jeepney.io.blocking import open_dbus_connection

from msfs_fuse.commands.output import printable

MAX_LINES = 30
MAX_LINE = 500  # characters

_LOG = "/dev/log"
_NOTICE = 8 * 1 + 5  # facility user, severity notice
_BELL = "\a"
_DBUS_TIMEOUT = 2.0  # seconds
_GROUP_WRITE = stat.S_IWGRP  # what mesg(1) sets

_TERMINALS = ("/dev/pts", "/dev")


def lines_of(text: str) -> list[str]:
    """A text as lines that can be shown anywhere."""
    lines = text.split("\n")
    shown = [printable(line.expandtabs(4))[:MAX_LINE] for line in lines[:MAX_LINES]]
    return [*shown, "…"] if len(lines) > MAX_LINES else shown


class Desktop(Protocol):
    """Shows popups."""

    def show(self, title: str, text: str, replaces: int = 0) -> int | None:
        """Show a popup; its number, None if there is no desktop that shows it.

        Args:
            replaces: the number of the popup that this one takes the place of.
        """


class Notifications:
    """org.freedesktop.Notifications on the session bus, through jeepney."""

    def show(self, title: str, text: str, replaces: int = 0) -> int | None:
        """Show a popup; its number, None if there is no desktop that shows it."""
        address = DBusAddress(
            "/org/freedesktop/Notifications",
            bus_name="org.freedesktop.Notifications",
            interface="org.freedesktop.Notifications",
        )
        body = html.escape("\n".join(lines_of(text)), quote=False)
        words: tuple[object, ...] = (
            "msfs",
            replaces,
            "mail-message-new",
            " ".join(lines_of(title)),
            body,
            [],
            {},
            -1,
        )
        message = new_method_call(address, "Notify", "susssasa{sv}i", words)
        try:
            with open_dbus_connection("SESSION") as connection:
                reply = connection.send_and_get_reply(message, timeout=_DBUS_TIMEOUT)
        except (OSError, KeyError, ValueError, DBusErrorResponse, TimeoutError):
            return None
        if reply.header.message_type.name == "error":
            return None
        number: int = reply.body[0]
        return number


def terminals(uids: Iterable[int] | None = None) -> Iterator[str]:
    """The terminals to write to: of each user the one last used, if he lets others write (mesg).

    Args:
        uids: whose; None for everybody's.
    """
    wanted = None if uids is None else set(uids)
    latest: dict[int, tuple[float, str]] = {}
    for directory in _TERMINALS:
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                if directory == "/dev" and not entry.name.startswith("tty"):
                    continue
                with contextlib.suppress(OSError):
                    node = entry.stat(follow_symlinks=False)
                    if not stat.S_ISCHR(node.st_mode) or not node.st_mode & _GROUP_WRITE:
                        continue
                    if wanted is None or node.st_uid in wanted:
                        latest[node.st_uid] = max(
                            latest.get(node.st_uid, (0.0, "")), (node.st_atime, entry.path)
                        )
    for _, path in latest.values():
        yield path


def write_to(terminal: str, title: str, text: str) -> bool:
    """Write a message to a terminal as write(1) does; whether it took it. Never waits."""
    clock = time.strftime("%H:%M")
    body = [f"{' '.join(lines_of(title))} at {clock} …", *lines_of(text), "EOF"]
    data = ("\r\n" + _BELL + "".join(f"{line}\r\n" for line in body)).encode(errors="replace")
    try:
        fd = os.open(terminal, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.write(fd, data) == len(data)
    except OSError:
        return False
    finally:
        os.close(fd)


def log(text: str, path: str = _LOG) -> None:
    """Put a line into the journal or the system's log. Never waits; it may be lost."""
    line = " | ".join(lines_of(text))
    with contextlib.suppress(OSError):
        if "JOURNAL_STREAM" in os.environ and sys.stderr is not None:
            print(f"<5>{line}", file=sys.stderr, flush=True)
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log_socket:
            log_socket.setblocking(False)
            log_socket.connect(path)
            log_socket.send(f"<{_NOTICE}>msfs-messenger[{os.getpid()}]: {line}".encode())


def uid_of(name: str) -> int | None:
    """The user of that name here, if there is one."""
    with contextlib.suppress(KeyError, ValueError):
        return pwd.getpwnam(name).pw_uid
    return None
