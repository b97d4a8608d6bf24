"""What each user looked up lately, so that one who makes up names costs no other user his."""

from collections import OrderedDict


class RecentLookups:
    """Inodes by the users who looked them up, so many in all.

    One is too many: then the user who has most loses what he looked up longest ago. An inode that
    another user looked up too is still his.

    Args:
        most: how many, counted for each user who has one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._of_user: dict[int, OrderedDict[int, None]] = {}  # looked up last comes last
        self._users: dict[int, set[int]] = {}  # by inode

    def note(self, inode: int, uid: int, parent: int) -> int | None:
        """A user looked an inode up.

        Args:
            parent: its directory, which he uses as well.

        Returns:
            An inode that now is nobody's any more.
        """
        own = self._of_user.setdefault(uid, OrderedDict())
        if inode not in own:
            self._users.setdefault(inode, set()).add(uid)
            self._count += 1
        own[inode] = None
        own.move_to_end(inode)
        if parent in own:
            own.move_to_end(parent)
        return self._lose(uid) if self._count > self._most else None

    def _lose(self, uid: int) -> int | None:
        if len(self._of_user[uid]) * len(self._of_user) <= self._count:  # another may have more
            uid = max(self._of_user, key=lambda each: len(self._of_user[each]))
        oldest = next(iter(self._of_user[uid]))
        self._take(oldest, uid)
        return None if oldest in self._users else oldest

    def _take(self, inode: int, uid: int) -> None:
        own, users = self._of_user[uid], self._users[inode]
        del own[inode]
        users.remove(uid)
        self._count -= 1
        if not own:
            del self._of_user[uid]
        if not users:
            del self._users[inode]

    def drop(self, inode: int) -> None:
        """The inode is known no more."""
        for uid in tuple(self._users.get(inode, ())):
            self._take(inode, uid)
