"""The window of counters, against a set of all that was taken."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.net.trust.window import WINDOW, Window
from msfs_fuse.net.trust.wire import Reason, Refused

# A step from the counter before: to the next one, near it, about a window away, and far.
_STEPS = st.one_of(
    st.just(1),
    st.integers(-20, 20),
    st.sampled_from([-WINDOW - 1, -WINDOW, WINDOW, WINDOW + 8, WINDOW + 16]).flatmap(
        lambda far: st.integers(far - 9, far + 9)
    ),
    st.integers(-(1 << 20), 1 << 20),
)


def taken(window: Window, counter: int) -> Reason | None:
    """Take a datagram with this counter; why it was refused, if it was."""
    try:
        window.check(counter)
    except Refused as refused:
        return refused.reason
    window.mark(counter)
    return None


@given(st.integers(0, 1 << 48), st.integers(0, 100), st.lists(_STEPS, max_size=200))
def test_each_counter_once_and_none_lost_within_the_window(
    floor: int, first: int, steps: list[int]
) -> None:
    window, seen, highest = Window(floor), set[int](), -1
    counter = floor + first
    for step in [0, *steps]:
        counter = max(0, counter + step)
        if counter < floor:
            wanted: Reason | None = Reason.BELOW_FLOOR
        elif highest - counter > WINDOW:
            wanted = Reason.OVERTAKEN
        else:
            wanted = Reason.REPLAYED if counter in seen else None
        assert taken(window, counter) == wanted
        if wanted is None:
            seen.add(counter)
            highest = max(highest, counter)
        with contextlib.suppress(Refused):
            window.check(counter)
            raise AssertionError("twice")


def test_what_waited_behind_a_whole_window_is_not_lost() -> None:
    """By another way, later, and all of it."""
    window = Window()
    for counter in (*range(5000, WINDOW + 1), *range(5000)):
        assert taken(window, counter) is None
    for counter in range(WINDOW + 1):
        assert taken(window, counter) is Reason.REPLAYED
