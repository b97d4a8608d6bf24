"""Who loses a name that he looked up, when there are too many."""

import hypothesis.strategies as st
from hypothesis import example, given

from msfs_fuse.fuse.recent import RecentLookups

ALICE, BOB, CAROL = 1, 2, 3
ROOT = 0


def noted(recent: RecentLookups, uid: int, *inodes: int) -> list[int | None]:
    return [recent.note(inode, uid, ROOT) for inode in inodes]


def test_who_has_most_loses_what_he_looked_up_longest_ago() -> None:
    recent = RecentLookups(4)
    assert noted(recent, ALICE, 10, 11, 12, 10) == [None] * 4
    assert noted(recent, BOB, 20, 21) == [None, 11]
    assert noted(recent, ALICE, 13) == [12]


def test_a_directory_is_used_with_what_is_in_it() -> None:
    recent = RecentLookups(2)
    noted(recent, ALICE, 10, 11)
    assert recent.note(12, ALICE, 10) == 11


def test_what_another_looked_up_too_is_still_his() -> None:
    recent = RecentLookups(3)
    noted(recent, BOB, 10)
    assert noted(recent, ALICE, 10, 11, 12, 13) == [None, None, None, 11]
    assert noted(recent, CAROL, 30) == [12]


def test_what_is_dropped_counts_no_more() -> None:
    recent = RecentLookups(2)
    noted(recent, ALICE, 10, 11)
    noted(recent, BOB, 10)
    recent.drop(10)
    recent.drop(99)
    assert noted(recent, BOB, 20) == [None]


@example(
    [
        (n, u, False)
        for n, u in ((1, 0), (1, 1), (1, 3), (2, 2), (3, 0), (3, 1), (3, 2), (4, 0), (1, 2))
    ]
)
@given(st.lists(st.tuples(st.integers(1, 10), st.integers(0, 3), st.booleans())))
def test_there_are_never_too_many_and_others_keep_their_share(
    steps: list[tuple[int, int, bool]],
) -> None:
    recent, known = RecentLookups(8), set[int]()
    for inode, uid, drops in steps:
        if drops:
            recent.drop(inode)
            known.discard(inode)
        else:
            known.add(inode)
            others = [set(own) for user, own in recent._of_user.items() if user != uid]
            few = [own for own in others if len(own) <= 2]
            known.discard(recent.note(inode, uid, ROOT) or 0)
            assert all(own <= known for own in few)
        assert len(known) <= 8
        assert known == recent._users.keys()
        assert all(recent._of_user.values())
