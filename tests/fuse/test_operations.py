"""Names and attributes: what each request becomes, and what it is answered."""

import errno
import os
import stat
import tracemalloc

import pytest

from msfs_fuse.core.slot import Slot
from tests.support.fuse import ALICE, BOB, ROOT, ROOT_INODE, Kernel, OtherHosts, RecordedRoute
from tests.support.fuse import refused as refused_with


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


async def test_a_created_slot_is_found_and_shown(kernel: Kernel) -> None:
    await kernel.create("slot", mode=0o600)
    entry = await kernel.stat("slot")
    assert stat.S_IMODE(entry.st_mode) == 0o600
    assert stat.S_ISREG(entry.st_mode)
    assert (entry.st_uid, entry.st_gid) == (ALICE.uid, ALICE.gid)


async def test_what_is_not_there(kernel: Kernel) -> None:
    with refused_with(errno.ENOENT):
        await kernel.lookup("slot")
    with refused_with(errno.ENAMETOOLONG):
        await kernel.lookup("x" * 256)


async def test_a_slot_is_gone_with_its_last_handle(kernel: Kernel) -> None:
    server = await kernel.create("slot")
    client = await kernel.open("slot")
    kernel.release(server)
    await kernel.lookup("slot")
    kernel.release(client)
    with refused_with(errno.ENOENT):
        await kernel.lookup("slot")


async def test_an_inode_that_the_kernel_forgot_is_stale(kernel: Kernel) -> None:
    await kernel.create("slot")
    inode = await kernel.lookup("slot")
    await kernel.ask("forget", [(inode, 2)])
    with refused_with(errno.ESTALE):
        await kernel.ask("getattr", inode, ALICE)


async def test_exclusive_creation_of_what_is_there(kernel: Kernel) -> None:
    await kernel.create("slot")
    with refused_with(errno.EEXIST):
        await kernel.create("slot", os.O_RDWR | os.O_EXCL)


async def test_creation_of_what_came_in_between_checks_the_mode(kernel: Kernel) -> None:
    await kernel.create("slot", mode=0o600)
    with refused_with(errno.EACCES):
        await kernel.create("slot", os.O_WRONLY, by=BOB)
    await kernel.create("slot", os.O_WRONLY)


async def test_directories(kernel: Kernel) -> None:
    await kernel.ask("mkdir", ROOT_INODE, b"d", 0o755, ALICE)
    with refused_with(errno.EISDIR):
        await kernel.create("d", os.O_WRONLY)
    with refused_with(errno.EISDIR):
        await kernel.open("d")
    await kernel.ask("rmdir", ROOT_INODE, b"d", ALICE)
    with refused_with(errno.ENOENT):
        await kernel.lookup("d")


@pytest.mark.parametrize("name", [b".msfs", b"@there"])
@pytest.mark.parametrize("method", ["rmdir", "unlink"])
async def test_reserved_names_stay(kernel: Kernel, name: bytes, method: str) -> None:
    with refused_with(errno.EPERM):
        await kernel.ask(method, ROOT_INODE, name, ROOT)


async def test_a_mailslot_has_no_other_names(kernel: Kernel) -> None:
    await kernel.create("slot")
    inode = await kernel.lookup("slot")
    for request in (
        ("rename", ROOT_INODE, b"slot", ROOT_INODE, b"other", 0, ALICE),
        ("link", inode, ROOT_INODE, b"other", ALICE),
        ("symlink", ROOT_INODE, b"other", b"slot", ALICE),
        ("mknod", ROOT_INODE, b"other", 0o600, 0, ALICE),
    ):
        with refused_with(errno.EPERM):
            await kernel.ask(*request)


async def test_attributes(kernel: Kernel) -> None:
    await kernel.create("slot")
    inode = await kernel.lookup("slot")
    await kernel.ask("setxattr", inode, b"user.mailslot.read_timeout", b"250", ALICE)
    value = await kernel.ask("getxattr", inode, b"user.mailslot.read_timeout", ALICE)
    assert value == b"250"
    assert b"user.mailslot.read_timeout" in await kernel.ask("listxattr", inode, ALICE)
    with refused_with(errno.EPERM):
        await kernel.ask("setxattr", inode, b"user.mailslot.read_timeout", b"1", BOB)
    with refused_with(errno.ENODATA):
        await kernel.ask("getxattr", ROOT_INODE, b"user.mailslot.read_timeout", ALICE)


async def test_a_value_that_is_far_too_long_is_not_decoded(kernel: Kernel) -> None:
    """64 KiB that are no text took more than a millisecond, in which everybody waits."""
    await kernel.create("slot")
    inode, value = await kernel.lookup("slot"), b"\xff" * (64 << 10)
    tracemalloc.start()
    try:
        with refused_with(errno.EINVAL):
            await kernel.ask("setxattr", inode, b"user.mailslot.network", value, ALICE)
        assert tracemalloc.get_traced_memory()[1] < len(value)
    finally:
        tracemalloc.stop()


async def test_what_goes_wrong_inside_is_eio_and_logged(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(*unused: object) -> None:
        raise RuntimeError("injected")

    monkeypatch.setattr(kernel.mail, "create", faulty)
    with refused_with(errno.EIO):
        await kernel.create("slot")
    assert "injected" in caplog.text


async def test_a_host_that_is_known_can_be_written_to_and_no_other() -> None:
    route = RecordedRoute()
    kernel = Kernel(router=OtherHosts(there=route))
    client = await kernel.open("@there/a\\b")
    assert kernel.write(client, b"hello") == 0
    assert route.sent == [(("a", "b"), b"hello")]
    with refused_with(errno.EHOSTUNREACH):
        await kernel.open("@nowhere/a")
    with refused_with(errno.EACCES):
        await kernel.open("@there/a", os.O_RDONLY)


async def test_this_host_by_its_name_in_any_case(kernel: Kernel) -> None:
    server = await kernel.create("slot", mode=0o666)
    client = await kernel.open("@HERE/slot")
    kernel.write(client, b"hello")
    assert kernel.read(server).answer == b"hello"
    with refused_with(errno.ENOENT):
        await kernel.open("@here/other")


async def test_new_limits_are_for_what_comes(kernel: Kernel) -> None:
    from msfs_fuse.core.limits import Limits

    kernel.operations.use_limits(Limits(max_slots_per_user=1), strict=True)
    with refused_with(errno.ENOENT):
        await kernel.create("slot", os.O_WRONLY)
    await kernel.create("slot")
    with refused_with(errno.EDQUOT):
        await kernel.create("other")
    assert isinstance(kernel.mail.tree.find(("slot",)), Slot)
