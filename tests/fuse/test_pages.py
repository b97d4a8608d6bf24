"""How the kernel splits a write, and what the first piece of it has at least."""

from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.core.limits import MESSAGE_SIZE_CEILING
from msfs_fuse.fuse import pages
from msfs_fuse.fuse.pages import ENOUGH, PAGE_SIZE, longest_write, smallest_piece

LONGEST = longest_write(MESSAGE_SIZE_CEILING)

# A segment: where on its first page it begins, and how many bytes it has.
SEGMENT = st.tuples(
    st.integers(0, PAGE_SIZE - 1),
    st.one_of(st.integers(1, 3), st.integers(1, 3 * PAGE_SIZE), st.just(LONGEST)),
)


def first_request(segments: list[tuple[int, int]], most_pages: int) -> int:
    """The bytes that the kernel passes first: of so many pages, and LONGEST, at most."""
    count, left = 0, most_pages
    for offset, length in segments:
        fits = min(length, left * PAGE_SIZE - offset, LONGEST - count)
        count += max(fits, 0)
        if fits < length:
            break
        left -= (offset + length + PAGE_SIZE - 1) // PAGE_SIZE
    return count


@given(
    st.lists(SEGMENT, min_size=1, max_size=1024),
    st.integers(1, 1024),
    st.sampled_from([64, 256, 1000, 2048, 2100, ENOUGH, 5000]),
)
def test_what_is_shorter_is_no_piece(
    segments: list[tuple[int, int]], times: int, most_pages: int
) -> None:
    segments = (segments * times)[:1024]
    whole = sum(length for _, length in segments)
    first = first_request(segments, most_pages)
    assert first == whole or first >= smallest_piece(most_pages, LONGEST)


def test_enough_pages_are_enough() -> None:
    """Then only what has more bytes than a request is split, and no message has so many."""
    assert smallest_piece(ENOUGH, LONGEST) == LONGEST
    assert smallest_piece(ENOUGH - 1, LONGEST) < LONGEST
    tiny = [(PAGE_SIZE - 1, 2)] * 1023
    assert first_request([*tiny, (1, LONGEST)], ENOUGH) == LONGEST


def test_mounting_without_the_right_to_raise_the_limit() -> None:
    """What cannot be had is not counted on."""
    done = []
    got = pages.mounted_with(1, lambda: done.append(1))
    assert (got, done) == (1, [1])
