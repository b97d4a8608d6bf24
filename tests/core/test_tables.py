"""What was held for a moment leaves no room behind."""

import sys

from msfs_fuse.core.limits import Limits
from msfs_fuse.core.mailslots import Mailslots
from msfs_fuse.core.tables import is_too_roomy
from tests.support.core import ALICE, create

MANY = 3000
LITTLE = 8192  # bytes; a dictionary that ever held MANY has 100,000 and more


def test_a_directory_that_was_full() -> None:
    mail = Mailslots(Limits())
    tree = mail.tree
    directory = tree.mkdir(tree.root, "dir", 0o700, ALICE, 1)
    for number in range(MANY):
        tree.mkdir(directory, str(number), 0o700, ALICE, 1)
    for number in range(MANY - 1):
        tree.rmdir(directory, str(number), ALICE, 1)
    assert list(directory.children) == [str(MANY - 1)]
    assert sys.getsizeof(directory.children) + sys.getsizeof(directory.folded) < LITTLE
    assert [node.name for _, node in directory.order.after(0)] == [str(MANY - 1)]


def test_a_slot_at_which_many_waited() -> None:
    mail = Mailslots(Limits())
    server = create(mail)
    for number in range(MANY):
        assert not mail.add_reader(server, number, 10, 1, 1)
    for number in range(MANY - 2):
        assert mail.cancel_reader(number)
    assert list(server.slot.waiting) == [MANY - 2, MANY - 1]
    assert sys.getsizeof(server.slot.waiting) < LITTLE


def test_copies_are_few() -> None:
    """A table that is emptied is copied each time that it is down to a part of what it was."""
    table = dict.fromkeys(range(100_000))
    copies = 0
    for number in range(100_000):
        del table[number]
        if is_too_roomy(table):
            table = dict(table)
            copies += 1
    assert copies < 20
