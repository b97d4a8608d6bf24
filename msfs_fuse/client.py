"""Mailslots for Python programs: `Mailslot`, `send` and what belongs to them.

Everything here is plain file I/O below a mount, so the rules are those of the files: one write is
one message, one read takes one, a slot has one server and goes with its last handle. A server:

    >>> from msfs_fuse import Mailslot, send
    >>> slot = Mailslot("alerts")

A client, in this or in any other process, and what the server gets:

    >>> send("alerts", "disk full")
    >>> message = slot.receive(timeout=5)
    >>> message.data, message.slot
    (b'disk full', 'alerts')
    >>> message.sender.pid == os.getpid()
    True

Iteration waits for more, for ever; `messages` can be told when to stop, and serves several slots:

    >>> send("alerts", "one"); send("alerts", "two")
    >>> [message.text for message in slot.messages(seconds=0.1)]
    ['one', 'two']
    >>> with Mailslot("other") as other:
    ...     send("other", "three")
    ...     [message.slot for message in messages(slot, other, seconds=0.1)]
    ['other']
    >>> slot.close()

Nobody listens any more. `wait` is how long to wait for a server to come:

    >>> send("alerts", "hello", wait=0.1)
    Traceback (most recent call last):
        ...
    FileNotFoundError: [Errno 2] nobody listens: '.../alerts'

Errors are OSError, as they come from the files, each with the path of the slot: FileNotFoundError
where nobody listens, PermissionError for what another serves or owns, TimeoutError, EMSGSIZE for
a message that is too long, ENOSPC where a slot, the mount or your share of it is full, EHOSTUNREACH
for a host that nobody knows, ENOTCONN after the mount has gone. Names that make no sense are
ValueError. Once there is a mount again, whoever served a slot makes it anew: `Mailslot(slot.name)`.

A third of this long module is documentation, which `help(msfs_fuse)` shows.
"""

import errno
import math
import os
import select
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from msfs_fuse.core.names import Address

# A message that is longer than this many bytes fits into no slot, whatever the mount's limits.
LONGEST_MESSAGE = 1024 * 1024 - 4096

_REMOTE_MARK = "@"
_UNC_MARK = "\\\\"
_ATTRIBUTE = "user.mailslot."
NEW_SLOT_MODE = 0o666  # less the umask, as for any file

_MILLISECONDS = 1000
_LONGEST_POLL = 2**31 - 1  # milliseconds

# How often one looks whether a server has come, in seconds: often at first, then less.
_FIRST_LOOK = 0.005
_SLOWEST_LOOK = 0.1

# What a write says while nobody serves the slot, or nobody knows the host, as may change.
MAY_COME = (errno.ENOENT, errno.EHOSTUNREACH)


# What some errors of a write mean, where their own words are of files and networks.
_REASONS = {
    errno.ENOENT: "nobody listens",
    errno.EHOSTUNREACH: "no such host or domain is known",
    errno.ENOSPC: "the slot is full, or the mount, or your share of it: servers have to read first",
}


class NoMountError(OSError):
    """No mailslots are mounted, or there is more than one mount to choose from."""


class Sender(NamedTuple):
    """Who wrote a message: the process that opened the slot, as the mount saw it.

    Attributes:
        host: its host.
        uid: its user there, by number.
        pid: its process there, which may have ended since.
        sent_at: when it wrote, in seconds since 1970, by that host's clock.
        proof: `local` for a process of this host, `proven` for a member of a domain, `claimed` for
            a host that anybody could pose as.

    What is not known is None.
    """

    host: str | None = None
    uid: int | None = None
    pid: int | None = None
    sent_at: float | None = None
    proof: str | None = None


class Message(NamedTuple):
    """One message.

    Attributes:
        data: its bytes, never empty.
        slot: the slot it came from, as it is called below the mount.
        sender: who wrote it.
    """

    data: bytes
    slot: str
    sender: Sender

    @property
    def text(self) -> str:
        """The data as UTF-8, with a replacement character for what is none."""
        return self.data.decode(errors="replace")


class Mailslot:
    """A slot that this process serves, until `close` or the end of the process.

    It is a context manager, and has a `fileno` for select, poll and epoll. A process that is
    forked or inherits the descriptor shares it. Threads may share a Mailslot: each message goes
    to one of them; only `Message.sender` may then be that of another message.

    Attributes:
        name: of the slot, as it is called below the mount.
        path: of its file.
    """

    _fd = -1

    # Any message fits, so that none is read in parts. One for all: a new one for each read would
    # cost more than the read. Reads here do not wait, so nobody holds the lock for long.
    _buffer = bytearray()
    _lock = threading.Lock()

    def __init__(
        self,
        name: str,
        *,
        mount: str | None = None,
        mode: int = NEW_SLOT_MODE,
        exclusive: bool = False,
    ) -> None:
        r"""Create the slot, or take over one that has no server.

        Args:
            name: `NAME`, `DIR/NAME` or `\\.\mailslot\NAME`; the directory must exist.
            mount: the mount point, if not $MSFS_MOUNT or the only one there is.
            mode: who may write: permissions, less the umask. 0o600 keeps other users out; other
                hosts are kept out by `network`.
            exclusive: fail if there is a slot of that name, served or not.

        Raises:
            ValueError: `name` names no slot of this host.
            NoMountError: no mailslots are mounted.
            PermissionError: the slot has a server already, is another user's, or may not be made.
            FileExistsError: there is one, and `exclusive` was asked for.
            OSError: as open(2).
        """
        self.name = parse_name(name).to_path()
        self.path = os.path.join(_find_mount(mount), self.name)
        flags = os.O_RDONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        self._fd = os.open(self.path, flags | (os.O_EXCL if exclusive else 0), mode)

    def __repr__(self) -> str:
        return f"<Mailslot {self.name!r}{' closed' if self.closed else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._fd < 0

    def close(self) -> None:
        """Serve no more. The slot goes, unless a client or another process has it open."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def fileno(self) -> int:
        """The descriptor, which is readable when there is a message.

        Raises:
            ValueError: the slot is closed.
        """
        if self._fd < 0:
            raise ValueError(f"the mailslot is closed: {self.name}")
        return self._fd

    def read(self, timeout: float | None = None) -> bytes:
        """Take the next message, only its data: that is faster than `receive`.

        Args:
            timeout: seconds to wait for one; 0 does not wait, None waits for ever.

        Raises:
            TimeoutError: none came.
            OSError: ENOTCONN, ECONNABORTED or ESHUTDOWN: the mount is gone.
        """
        data = self.take()
        if data is not None:
            return data
        deadline = _deadline(timeout)
        poll = select.poll()
        poll.register(self, select.POLLIN)
        while time.monotonic() < deadline:
            poll.poll(_milliseconds_until(deadline))
            data = self.take()
            if data is not None:
                return data
        raise self._timed_out()

    def receive(self, timeout: float | None = None) -> Message:
        """Take the next message.

        Args:
            timeout: seconds to wait for one; 0 does not wait, None waits for ever.

        Raises:
            TimeoutError: none came.
            OSError: ENOTCONN, ECONNABORTED or ESHUTDOWN: the mount is gone.
        """
        return Message(self.read(timeout), self.name, self.sender())

    def take(self) -> bytes | None:
        """The data of the next message; None if there is none now.

        Raises:
            OSError: ENOTCONN, ECONNABORTED or ESHUTDOWN: the mount is gone.
        """
        fd = self.fileno()
        with self._lock:
            buffer = self._buffer
            if not buffer:
                buffer.extend(bytes(LONGEST_MESSAGE))
            try:
                return bytes(buffer[: os.readv(fd, [buffer])])
            except BlockingIOError:
                return None
            except OSError as error:
                raise self._named(error) from None

    def sender(self) -> Sender:
        """Who wrote the message that was taken last."""
        host, uid, pid, sent_at, proof = map(
            self.attribute,
            ("sender_host", "sender_uid", "sender_pid", "sent_at", "sender_proof"),
        )
        return Sender(
            host,
            None if uid is None else int(uid),
            None if pid is None else int(pid),
            None if sent_at is None else float(sent_at),
            proof,
        )

    def messages(self, seconds: float | None = None) -> Iterator[Message]:
        """Take each message as it comes.

        Args:
            seconds: end after this time in all; None never ends.
        """
        return messages(self, seconds=seconds)

    def __iter__(self) -> Iterator[Message]:
        return messages(self)

    @property
    def max_message_size(self) -> int:
        """The longest message that may be written, in bytes.

        It can be set, up to the limit of the mount; 0 stands for that limit. OSError EINVAL if it
        is more.
        """
        return int(self.attribute("max_message_size") or 0)

    @max_message_size.setter
    def max_message_size(self, size: int) -> None:
        self._set_attribute("max_message_size", str(size))

    @property
    def network(self) -> bool:
        """Whether other hosts may write here. It can be set."""
        return self.attribute("network") == "on"

    @network.setter
    def network(self, allowed: bool) -> None:
        self._set_attribute("network", "on" if allowed else "off")

    @property
    def message_count(self) -> int:
        """How many messages wait."""
        return int(self.attribute("message_count") or 0)

    @property
    def next_size(self) -> int | None:
        """The size of the next message in bytes, None if there is none."""
        size = self.attribute("next_size")
        return None if size is None or size == "none" else int(size)

    def attribute(self, name: str) -> str | None:
        """Any attribute `user.mailslot.NAME` of the slot as text; None if it has no value now."""
        try:
            return os.fsdecode(os.getxattr(self.fileno(), _ATTRIBUTE + name))
        except OSError as error:
            if error.errno == errno.ENODATA:
                return None
            raise self._named(error) from None

    def _set_attribute(self, name: str, value: str) -> None:
        try:
            os.setxattr(self.fileno(), _ATTRIBUTE + name, value.encode())
        except OSError as error:
            raise self._named(error) from None

    def _named(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror, self.path)

    def _timed_out(self) -> OSError:
        return TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), self.path)


def messages(*slots: Mailslot, seconds: float | None = None) -> Iterator[Message]:
    """Take messages from several slots as they come; those that have some take turns.

    A message is taken when the caller asks for the next one, not before.

    Args:
        slots: at least one.
        seconds: end after this time in all, counted from the first that is asked for; None never
            ends.

    Raises:
        ValueError: there are no slots.
        OSError: ENOTCONN, ECONNABORTED or ESHUTDOWN: the mount is gone.
    """
    if not slots:
        raise ValueError("no slots to take messages from")
    deadline = _deadline(seconds)
    poll = select.poll()
    for slot in slots:
        poll.register(slot, select.POLLIN)
    while True:
        idle = True
        for slot in slots:
            if time.monotonic() >= deadline:
                return
            data = slot.take()
            if data is not None:
                idle = False
                yield Message(data, slot.name, slot.sender())
        if idle:
            poll.poll(_milliseconds_until(deadline))


def send(target: str, data: bytes | str, *, mount: str | None = None, wait: float = 0) -> None:
    r"""Write one message. Nothing confirms that it is read.

    Args:
        target: a slot of this host (`NAME`, `DIR/NAME`), of another one (`@HOST/NAME`, or
            `HOST/NAME` where there is no directory HOST), of each host of a domain
            (`@DOMAIN/NAME`), of the primary domain (`@*/NAME`), or as Windows writes it,
            `\\HOST\mailslot\NAME`.
        data: the message; text is sent as UTF-8.
        mount: the mount point, if not $MSFS_MOUNT or the only one there is.
        wait: seconds to wait until somebody serves the slot, or knows the host. Whether a slot on
            another host is served cannot be known from here.

    Raises:
        ValueError: `target` names no slot, or the message is empty.
        NoMountError: no mailslots are mounted.
        FileNotFoundError: nobody listens.
        OSError: EMSGSIZE, ENOSPC, ENOBUFS, EHOSTUNREACH and others, as in the text above.
    """
    message = checked(data)
    path, is_here = locate(target, mount=mount)
    awaited = is_here and wait > 0
    for pause in pauses(wait):
        try:
            return write(path, message, served=awaited)
        except OSError as error:
            if error.errno not in MAY_COME:
                raise
        time.sleep(pause)
    return write(path, message, served=awaited)


def checked(data: bytes | str) -> bytes:
    """A message as bytes.

    Raises:
        ValueError: it is empty.
    """
    if not data:
        raise ValueError("there is no empty message: it needs one byte at least")
    return os.fsencode(data) if isinstance(data, str) else data


def write(path: str, message: bytes, *, served: bool = False) -> None:
    """Write one message to the file of a slot. OSError as `send`, with the path.

    Args:
        served: a slot that other clients alone have open is as good as none. One that has a server
            shows a size.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if served and not os.fstat(fd).st_size:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            os.write(fd, message)
        finally:
            os.close(fd)
    except OSError as error:
        what = _REASONS.get(error.errno or 0, error.strerror)
        raise OSError(error.errno, what, path) from None


def pauses(seconds: float) -> Iterator[float]:
    """How long to pause, in seconds, between looks whether a server has come; until `seconds`."""
    deadline = time.monotonic() + seconds
    pause = _FIRST_LOOK
    while (rest := deadline - time.monotonic()) > 0:
        yield min(pause, rest)
        pause = min(2 * pause, _SLOWEST_LOOK)


def path_of(target: str, *, mount: str | None = None) -> str:
    """The file to open for a target of `send`, for those who write many messages.

    Raises:
        ValueError: `target` names no slot.
        NoMountError: no mailslots are mounted.
    """
    return locate(target, mount=mount)[0]


def locate(target: str, *, mount: str | None = None) -> tuple[str, bool]:
    """The file to open for a target of `send`, and whether it is a slot of this host.

    Raises what `path_of` does.
    """
    directory = _find_mount(mount)
    address = parse_target(target, directory)
    return file_of(address, directory), address.host is None


def parse_target(text: str, mount: str) -> "Address":
    """The address that a target of `send` stands for.

    Args:
        mount: the mount point. `A/NAME` is a slot in the directory A if it has one, and else one
            on the host A.

    Raises:
        ValueError: the text names no slot.
    """
    from msfs_fuse.core.names import Address

    if text.startswith(_UNC_MARK):
        return Address.from_unc(text)
    first, slash, _ = text.partition("/")
    if slash and first and not os.path.isdir(os.path.join(mount, first)):
        return Address.from_path(_REMOTE_MARK + text.removeprefix(_REMOTE_MARK))
    return Address.from_path(text)


def parse_name(text: str) -> "Address":
    r"""The address of a slot of this host: `NAME`, `DIR/NAME` or `\\.\mailslot\NAME`.

    Raises:
        ValueError: the text names no slot, or one on another host.
    """
    from msfs_fuse.core.names import Address

    is_unc = text.startswith(_UNC_MARK)
    address = Address.from_unc(text) if is_unc else Address.from_path(text)
    if address.host is not None:
        raise ValueError("a slot on another host can be written, but neither read nor looked at")
    return address


def file_of(address: "Address", mount: str) -> str:
    """The file to open for an address, below the mount point."""
    if address.host is None:
        return os.path.join(mount, *address.path)
    # Nested names on another host are written with backslashes: that needs no directories there.
    return os.path.join(mount, _REMOTE_MARK + address.host, "\\".join(address.path))


def _find_mount(mount: str | None) -> str:
    from msfs_fuse.errors import CommandError
    from msfs_fuse.mounts import find_mount

    try:
        return find_mount(mount)
    except CommandError as error:
        raise NoMountError(errno.ENODEV, str(error)) from None


def _deadline(seconds: float | None) -> float:
    return math.inf if seconds is None else time.monotonic() + seconds


def _milliseconds_until(deadline: float) -> int | None:
    """How long poll(2) may wait."""
    if deadline == math.inf:
        return None
    rest = math.ceil((deadline - time.monotonic()) * _MILLISECONDS)
    return max(0, min(rest, _LONGEST_POLL))
