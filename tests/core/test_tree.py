"""Names that come and go, and whose they are, rule by rule."""

import errno

import pytest

from msfs_fuse.core.limits import Limits
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.slot import Caller
from tests.support.core import ALICE, BOB, ROOT, create, refused


@pytest.fixture
def mail() -> Mailslots:
    return Mailslots(Limits(max_slots_per_user=2))


# ---- unlink, chmod, chown ----


def test_a_slot_cannot_be_removed(mail: Mailslots) -> None:
    """Its server would wait for ever, without a name."""
    server = create(mail, "a")
    with refused(errno.EBUSY):
        mail.tree.unlink(mail.tree.root, "a")
    assert mail.tree.find(("a",)) is server.slot


def test_directories_are_bounded_however_many_users_there_are() -> None:
    mail = Mailslots(Limits(max_handles=64))
    users = [Caller(uid, 100, 1) for uid in range(100_000, 100_062)]
    for user in users:
        mail.tree.mkdir(mail.tree.root, str(user.uid), 0o700, user, 1)
    with refused(errno.EDQUOT):
        mail.tree.mkdir(mail.tree.root, "one more", 0o700, ALICE, 1)
    for name in ("root's", "and another"):
        mail.tree.mkdir(mail.tree.root, name, 0o700, ROOT, 1)
    with refused(errno.EDQUOT):
        mail.tree.mkdir(mail.tree.root, "too many", 0o700, ROOT, 1)
    mail.tree.rmdir(mail.tree.root, "root's", ROOT, 1)
    mail.tree.rmdir(mail.tree.root, str(users[0].uid), users[0], 1)
    mail.tree.mkdir(mail.tree.root, "again", 0o700, ROOT, 1)


def test_unlink_is_for_slots(mail: Mailslots) -> None:
    mail.tree.mkdir(mail.tree.root, "d", 0o777, ALICE, 1)
    with refused(errno.EISDIR):
        mail.tree.unlink(mail.tree.root, "d")
    with refused(errno.ENOENT):
        mail.tree.unlink(mail.tree.root, "a")


def test_chmod_and_chown(mail: Mailslots) -> None:
    slot = create(mail).slot
    mail.tree.set_mode(slot, 0o604, 5)
    assert (slot.mode, slot.ctime) == (0o604, 5)
    mail.tree.set_owner(slot, BOB.uid, 555, 6)
    assert (slot.uid, slot.gid, slot.ctime) == (BOB.uid, 555, 6)


def test_chown_of_a_directory_moves_the_charge(mail: Mailslots) -> None:
    directory = mail.tree.mkdir(mail.tree.root, "a", 0o777, ALICE, 1)
    mail.tree.set_owner(directory, BOB.uid, BOB.gid, 2)
    create(mail, "b", by=ALICE)
    create(mail, "c", by=ALICE)
    with refused(errno.EDQUOT):
        mail.tree.set_owner(directory, ALICE.uid, ALICE.gid, 3)
    assert directory.uid == BOB.uid
    create(mail, "d", by=BOB)
    with refused(errno.EDQUOT):
        create(mail, "e", by=BOB)


def test_chown_of_what_is_gone_charges_nobody(mail: Mailslots) -> None:
    """A descriptor reaches it still: of a removed directory, or one with O_PATH of a slot."""
    server = create(mail, "a", by=ALICE)
    mail.close_handle(server, 2)
    directory = mail.tree.mkdir(mail.tree.root, "d", 0o777, ALICE, 3)
    mail.tree.rmdir(mail.tree.root, "d", ALICE, 4)
    mail.tree.set_owner(server.slot, BOB.uid, BOB.gid, 5)
    mail.tree.set_owner(directory, BOB.uid, BOB.gid, 5)
    for user in (ALICE, BOB):
        create(mail, f"{user.uid}-1", by=user)
        create(mail, f"{user.uid}-2", by=user)
        with refused(errno.EDQUOT):
            create(mail, "one too many", by=user)


# ---- directories ----


def test_nested_slots(mail: Mailslots) -> None:
    directory = mail.tree.mkdir(mail.tree.root, "53cb31a0", 0o755, ALICE, 4)
    server = create(mail, "UnimodemNotifyTSP", parent=directory, now=5)
    assert mail.tree.find(("53cb31a0", "UnimodemNotifyTSP")) is server.slot
    assert mail.tree.find(("53cb31a0", "UnimodemNotifyTSP", "deeper")) is None
    assert (mail.tree.root.mtime, directory.mtime) == (4, 5)


def test_a_directory_lives_until_rmdir(mail: Mailslots) -> None:
    directory = mail.tree.mkdir(mail.tree.root, "d", 0o755, ALICE, 1)
    server = create(mail, "a", parent=directory)
    with refused(errno.ENOTEMPTY):
        mail.tree.rmdir(mail.tree.root, "d", ALICE, 2)
    mail.close_handle(server, 3)
    assert mail.tree.find(("d",)) is directory
    mail.tree.rmdir(mail.tree.root, "d", ALICE, 4)
    assert mail.tree.find(("d",)) is None


def test_nothing_is_made_in_a_directory_that_is_gone(mail: Mailslots) -> None:
    directory = mail.tree.mkdir(mail.tree.root, "d", 0o755, ALICE, 1)
    mail.tree.rmdir(mail.tree.root, "d", ALICE, 2)
    with refused(errno.ENOENT):
        create(mail, "a", parent=directory)
    with refused(errno.ENOENT):
        mail.tree.mkdir(directory, "e", 0o755, ALICE, 3)


def test_who_may_rmdir(mail: Mailslots) -> None:
    mail.tree.mkdir(mail.tree.root, "d", 0o777, ALICE, 1)
    create(mail, "a", by=ALICE)
    with refused(errno.EPERM):
        mail.tree.rmdir(mail.tree.root, "d", BOB, 2)
    with refused(errno.ENOTDIR):
        mail.tree.rmdir(mail.tree.root, "a", ALICE, 2)
    mail.tree.rmdir(mail.tree.root, "d", ALICE, 2)


# ---- how many ----


def test_slots_and_directories_count_together(mail: Mailslots) -> None:
    create(mail, "a")
    mail.tree.mkdir(mail.tree.root, "d", 0o755, ALICE, 1)
    with refused(errno.EDQUOT):
        create(mail, "b")
    with refused(errno.EDQUOT):
        mail.tree.mkdir(mail.tree.root, "e", 0o755, ALICE, 1)
    mail.tree.rmdir(mail.tree.root, "d", ALICE, 2)
    create(mail, "b")


def test_root_has_no_quota(mail: Mailslots) -> None:
    for number in range(10):
        create(mail, str(number), by=ROOT)
    assert mail.slots == 10


def test_numbers_are_never_used_again(mail: Mailslots) -> None:
    """The kernel tells inodes apart by them."""
    ids = set()
    for _ in range(5):
        server = create(mail, "a")
        ids.add(server.slot.id)
        mail.close_handle(server, 2)
    assert len(ids - {mail.tree.root.id}) == 5
