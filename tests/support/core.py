"""What the tests of the core have in common: users, ways to open, and requests in few words."""

import errno
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import pytest

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.slot import Access, Answer, Caller, Directory, Handle

ROOT = Caller(uid=0, gid=0, pid=10)
ALICE = Caller(uid=1000, gid=100, pid=20)
BOB = Caller(uid=1001, gid=100, pid=30)

READS = Access(reads=True, writes=False)
WRITES = Access(reads=False, writes=True)
READS_AND_WRITES = Access(reads=True, writes=True)

MILLISECOND = 1_000_000


@contextmanager
def refused(code: int) -> Iterator[None]:
    """What is asked of the core in here is refused with this error code."""
    with pytest.raises(SlotError) as caught:
        yield
    assert errno.errorcode[caught.value.errno] == errno.errorcode[code]


def create(
    mail: Mailslots,
    name: str = "slot",
    access: Access = READS,
    by: Caller = ALICE,
    *,
    parent: Directory | None = None,
    mode: int = 0o600,
    now: int = 1,
) -> Handle:
    return mail.create(parent or mail.tree.root, name, mode, access, by, now)


def reopen(
    mail: Mailslots,
    handle: Handle,
    access: Access = WRITES,
    by: Caller = ALICE,
    *,
    mode: int = 0o640,
    now: int = 1,
) -> Handle:
    """Open the slot that `handle` is a handle of."""
    return mail.open(handle.slot, access, by, now, lambda: mode)


def write(mail: Mailslots, handle: Handle, *messages: bytes, now: int = 1) -> list[Answer]:
    answers: list[Answer] = []
    for data in messages:
        answers += mail.enqueue(handle.slot, data, handle.sender, now)
    return answers


def ask(
    mail: Mailslots,
    handle: Handle,
    token: Hashable,
    size: int = 4096,
    *,
    at: int = 0,
    now: int = 1,
) -> list[Answer]:
    """Read and wait; `at` is the monotonic time in milliseconds."""
    return mail.add_reader(handle, token, size, now, at * MILLISECOND)


def read(mail: Mailslots, handle: Handle, size: int = 4096, *, now: int = 1) -> bytes:
    """Read what is there.

    Raises:
        SlotError: EAGAIN for an empty slot, or what the read is answered.
    """
    ((_, data, code),) = mail.add_reader(handle, "read", size, now, 0, wait=False)
    if data is None:
        raise SlotError(code)
    return data
