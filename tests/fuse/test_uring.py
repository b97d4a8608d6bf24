"""What io_uring asks for in one read, as `fuse/uring` follows it."""

from msfs_fuse.fuse.uring import UringReads

ME, OTHER = 1, 2


def short_read(reads: UringReads, tid: int, rest: int) -> None:
    assert reads.may_read(tid, True)
    assert reads.is_read(tid)
    reads.note_short(tid, rest)


def test_a_short_read_is_followed_by_its_rest_once() -> None:
    reads = UringReads()
    short_read(reads, ME, 5)
    assert reads.wants_rest(ME)
    assert reads.may_read(ME, False)
    assert reads.is_read(ME)
    assert not reads.is_rest(4)
    assert reads.is_rest(5)
    assert not reads.is_rest(5)
    assert not reads.may_read(ME, False)


def test_other_threads_are_not_meant() -> None:
    reads = UringReads()
    short_read(reads, ME, 5)
    assert not reads.wants_rest(OTHER)
    assert not reads.is_read(OTHER)
    assert reads.wants_rest(ME)


def test_a_read_without_the_question_is_not_by_io_uring() -> None:
    reads = UringReads()
    assert not reads.is_read(ME)
    assert not reads.may_read(ME, False)  # it does not read then
    assert not reads.is_read(ME)


def test_what_does_not_go_on_leaves_nothing() -> None:
    """As with RWF_NOWAIT: its short read is all, and the thread does something else."""
    reads = UringReads()
    short_read(reads, ME, 5)
    assert not reads.is_read(ME)  # read(2)
    assert not reads.wants_rest(ME)
    assert not reads.may_read(ME, False)


def test_threads_that_are_killed_do_not_add_up() -> None:
    reads = UringReads()
    for tid in range(10_000):
        short_read(reads, tid, 5)
        reads.wants_rest(tid)
    assert len(reads._threads) <= 64
    assert len(reads._rests) <= 64
