"""What the kernel has split: a piece of a write is no message, and the rest of a read gets none."""

from msfs_fuse.fuse import interpose
from msfs_fuse.fuse.pages import ENOUGH, PAGE_SIZE, USUAL, smallest_piece
from msfs_fuse.fuse.procfs import MACHINE, system_calls

# Numbers of system calls, by what they write: one buffer whose length is the third argument, or so
# many segments. Those of i386 are among those of x86_64, since no number that writes in one of them
# writes in the other.
_ONE_BUFFER = {
    "x86_64": {b"1", b"18", b"4", b"181"},  # write, pwrite64; of i386
    "aarch64": {b"64", b"68"},
}
_SEGMENTS = {
    "x86_64": {b"20", b"296", b"328", b"146", b"334", b"379"},  # writev, pwritev, pwritev2
    "aarch64": {b"66", b"70", b"287"},
}
# Those that begin writes of one buffer or of segments, and fetch nothing: io_submit.
_SUBMITTING = {
    "x86_64": {b"209", b"248"},
    "aarch64": {b"2"},
}
# Those that fetch what they write, in pieces of their own, and which argument has how much.
_FETCHING = {
    "x86_64": {
        b"40": 4,  # sendfile
        b"275": 5,  # splice
        b"326": 5,  # copy_file_range
        b"187": 4,  # and of i386: sendfile, sendfile64, splice, copy_file_range
        b"239": 4,
        b"313": 5,
        b"377": 5,
    },
    "aarch64": {b"71": 4, b"76": 5, b"285": 5},
}

# sendfile(2) moves sixteen pages at a time. Less than that, less one that may be begun at either
# end, is the end of what it was to move.
_FETCHED_AT_ONCE = 15 * PAGE_SIZE


class Pieces:
    """Tells pieces from whole writes."""

    def __init__(self) -> None:
        self.use(USUAL, USUAL * PAGE_SIZE)

    def use(self, pages: int, longest: int) -> None:
        """Take how many pages and bytes of a write come at most in one request.

        The extension finds out by itself what is plain.

        What is so short that it is no piece, or is all that a plain write(2) was given, comes to
        `on_write` without the number of its thread. The rest is asked for by `is_whole_write`.
        """
        self._pages = pages
        smallest = min(smallest_piece(pages, longest), _FETCHED_AT_ONCE)
        interpose.set_pieces(smallest, bytes(map(int, _ONE_BUFFER.get(MACHINE, ()))))

    def is_rest_of_read(self, offset: int) -> bool:
        """Whether a read at that offset may be for the rest of the segments of a readv."""
        return offset >= self._pages  # there were so many before, and a byte in each

    def is_whole_write(self, tid: int, size: int) -> bool:
        """Whether `size` bytes are all that a thread is writing, not a piece of it.

        The kernel splits what has too many pages for a request (`smallest_piece`), and some calls
        fetch what they write in pieces of their own. Nothing in the request tells. But if the first
        piece is refused, no other comes. So what is shorter than any first piece is whole, and for
        the rest this looks at the system call that the thread waits in:

        - write(2) says how long its one buffer is;
        - of writev(2) the number of segments is known: one, or so few that they fit in one request.
          How long each is stands in the caller's memory, and whoever reads that may have to wait
          for the caller, whose memory can be a file of a file system of his own;
        - io_submit(2) does not tell, but where requests have ENOUGH pages nothing of it is split;
        - sendfile(2), splice(2) and copy_file_range(2) say how much they are to move, and a piece
          that is shorter than the pieces they make is the last;
        - any other call (io_uring_enter, none at all) tells nothing: False.

        True where the kernel does not let us look: a private mount on a system with Yama. There a
        piece counts as whole, and the caller of writev sees from its result that it wrote a part.
        """
        try:
            call = system_calls.of(tid)
        except PermissionError:
            return True
        if len(call) < 7:
            return False
        number = call[0]
        if number in _ONE_BUFFER.get(MACHINE, ()):
            return int(call[3], 16) == size
        if number in _SEGMENTS.get(MACHINE, ()):
            segments = int(call[3], 16)
            return segments == 1 or 2 * segments + size // PAGE_SIZE <= self._pages
        if number in _SUBMITTING.get(MACHINE, ()):
            return self._pages >= ENOUGH
        argument = _FETCHING.get(MACHINE, {}).get(number)
        if argument is None:
            return False
        return int(call[argument], 16) == size or size < _FETCHED_AT_ONCE
